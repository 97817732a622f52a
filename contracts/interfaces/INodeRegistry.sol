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
/// @notice Node identifiers start at 1. Only the owner adds stake, unbonds, cancels unbonding and says where money goes.
interface INodeRegistry {
    event NodeRegistered(uint32 indexed node, address indexed owner, address operator, string url, string capabilities);
    event OperatorSet(uint32 indexed node, address operator);
    event PayeeSet(uint32 indexed node, address payee);
    event NodeDescribed(uint32 indexed node, string url, string capabilities);
    event StakeAdded(uint32 indexed node, uint96 amount, uint96 stake);
    event UnbondStarted(uint32 indexed node, uint96 amount, uint40 unbondedAt);
    event UnbondCancelled(uint32 indexed node, uint96 amount);
    event StakeWithdrawn(uint32 indexed node, address indexed to, uint96 amount);
    event StakeLocked(uint32 indexed node, uint96 amount);
    event StakeUnlocked(uint32 indexed node, uint96 amount);
    /// @notice Stake left the node: `toMarket` (requester's half, fees, reserve), `toArbiter` (bounty), the rest burnt.
    event StakeTaken(uint32 indexed node, uint96 amount, uint96 toMarket, uint96 toArbiter, uint96 burnt);
    event DepositBitSet(uint32 indexed node, bool deposited);

    /// @notice Registers a node owned by the caller with `amount` of stake (may be 0). @return node Its identifier.
    function register(address operator, string calldata url, string calldata capabilities, uint96 amount)
        external
        returns (uint32 node);
    function setOperator(uint32 node, address operator) external;
    function setPayee(uint32 node, address payee) external;
    /// @notice By the owner or the operator.
    function describe(uint32 node, string calldata url, string calldata capabilities) external;
    function addStake(uint32 node, uint96 amount) external;
    /// @notice Starts unbonding part of `stake - locked`; it loses its lottery weight at once.
    function unbond(uint32 node, uint96 amount) external;
    function cancelUnbond(uint32 node) external;
    /// @notice Pays unbonded stake to the payee once its time has come, by anyone.
    function withdrawStake(uint32 node) external;
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    function nodeOf(uint32 node) external view returns (NodeInfo memory);
    function nodeCount() external view returns (uint32);
    function totalStake() external view returns (uint96);
    function unbondingSeconds() external view returns (uint40);
}
