// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

struct NodeInfo {
    address owner;
    address operator;
    /// Where balances and unbonded stake are paid.
    address payee;
    uint96 stake;
    uint96 locked;
    /// Block in which stake was last raised, registration included.
    uint40 since;
    uint96 unbonding;
    /// Timestamp from which unbonding stake can be withdrawn.
    uint40 unbondedAt;
    /// The arbiter's bit: its court deposit is above the floor.
    bool deposited;
    string url;
    string capabilities;
}

/// @title Nodes: who owns and operates them, their stake, and where they serve blobs.
/// @notice Node identifiers start at 1. Only the owner adds stake, unbonds, cancels unbonding and says where money
/// goes.
interface INodeRegistry {
    event NodeRegistered(uint32 indexed node, address indexed owner, address operator, string url, string capabilities);
    event OperatorSet(uint32 indexed node, address operator);
    event PayeeSet(uint32 indexed node, address payee);
    event NodeDescribed(uint32 indexed node, string url, string capabilities);
    event StakeAdded(uint32 indexed node, uint96 amount, uint96 stake);
    event UnbondStarted(uint32 indexed node, uint96 amount, uint40 unbondedAt);
    event UnbondCancelled(uint32 indexed node, uint96 amount);
    event StakeWithdrawn(uint32 indexed node, address indexed to, uint96 amount);
    /// @notice Stake left the node: `toMarket` (requester's half, fees, reserve), `toArbiter` (bounty), the rest burnt.
    event StakeTaken(uint32 indexed node, uint96 amount, uint96 toMarket, uint96 toArbiter, uint96 burnt);
    event DepositBitSet(uint32 indexed node, bool deposited);

    error NotOwner(uint32 node, address caller);
    error NotOperator(uint32 node, address caller);
    error NotMarket(address caller);
    error NotArbiter(address caller);
    error ZeroAddress();
    /// @notice The node's stake beyond what its leases lock does not cover `needed`.
    error StakeShort(uint32 node, uint256 needed, uint256 available);
    /// @notice The node's deposit with the arbiter is below the floor, so it may not lease.
    error NoDeposit(uint32 node);
    error NothingUnbonding(uint32 node);
    error StillUnbonding(uint32 node, uint40 unbondedAt);
    error PermitFailed(uint256 value, uint256 allowance);

    /// @notice Registers a node owned by the caller with `amount` of stake (may be 0). @return node Its identifier.
    function register(address operator, string calldata url, string calldata capabilities, uint96 amount)
        external
        returns (uint32 node);
    /// @notice Names the key that leases, commits and takes for the node, beside its owner's.
    function setOperator(uint32 node, address operator) external;
    /// @notice Names where balances and unbonded stake are paid.
    function setPayee(uint32 node, address payee) external;
    /// @notice By the owner or the operator.
    function describe(uint32 node, string calldata url, string calldata capabilities) external;
    /// @notice Adds stake; commits made up to this block are no lottery of the node's.
    function addStake(uint32 node, uint96 amount) external;
    /// @notice Starts unbonding part of `stake - locked`; it loses its lottery weight at once.
    function unbond(uint32 node, uint96 amount) external;
    /// @notice Turns all unbonding stake back into stake, as if it had been added now.
    function cancelUnbond(uint32 node) external;
    /// @notice Pays unbonded stake to the payee once its time has come, by anyone.
    function withdrawStake(uint32 node) external;
    /// @notice EIP-2612 permit of the token for the registry; ignored if it fails and the allowance suffices.
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /* THE MARKET */

    /// @notice Locks `amount` behind a lease; `caller` must be the node's operator or owner, its deposit bit set.
    function lock(uint32 node, address caller, uint256 amount) external;

    /// @notice As `lock`, for a replica: also tells what the lottery needs.
    function lockReplica(uint32 node, address caller, uint256 amount)
        external
        returns (uint96 stake, uint40 since, uint96 total);

    /// @notice Unlocks what a lease had locked.
    function unlock(uint32 node, uint256 amount) external;

    /// @notice Unlocks `unlocked` and takes `amount` of it: to the market, to the arbiter, the rest burnt.
    function seize(uint32 node, uint256 unlocked, uint256 amount, uint256 toMarket, uint256 toArbiter) external;

    /* THE JUDGE */

    /// @notice Sets or clears the bit that lets a node lease.
    function setDeposited(uint32 node, bool deposited) external;

    /* EVERYONE */

    function nodeOf(uint32 node) external view returns (NodeInfo memory);
    /// @notice Whether `who` may act for the node: its operator or its owner.
    function isOperator(uint32 node, address who) external view returns (bool);
    function payeeOf(uint32 node) external view returns (address);
    /// @notice Leases and replicas of the node that are neither final nor otherwise over.
    function liveLeases(uint32 node) external view returns (uint16);
    function nodeCount() external view returns (uint32);
    function totalStake() external view returns (uint96);
    function unbondingSeconds() external view returns (uint40);
}
