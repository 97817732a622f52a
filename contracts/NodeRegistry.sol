// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {IArbiter} from "./interfaces/IArbiter.sol";
import {INodeRegistry, NodeInfo} from "./interfaces/INodeRegistry.sol";
import {TokenAI} from "./TokenAI.sol";

/// @title NodeRegistry: holds the nodes' stakes, which the market locks behind leases and takes on fault.
contract NodeRegistry is INodeRegistry {
    using SafeERC20 for TokenAI;
    using SafeCast for uint256;

    struct Node {
        uint96 stake;
        uint96 locked;
        uint40 since;
        bool deposited;
        uint16 live;
        address operator;
        uint96 unbonding;
        address payee;
        uint40 unbondedAt;
        address owner;
        string url;
        string capabilities;
    }

    /// @dev Up to so many leases, the arbiter's bit suffices.
    uint16 private constant FLAT_LEASES = 32;

    TokenAI public immutable TOKEN;
    address public immutable MARKET;
    IArbiter public immutable ARBITER;
    uint40 public immutable UNBONDING_SECONDS;

    /// @inheritdoc INodeRegistry
    uint32 public override nodeCount;
    /// @inheritdoc INodeRegistry
    uint96 public override totalStake;

    mapping(uint32 id => Node) private _nodes;

    modifier onlyOwner(uint32 node) {
        if (msg.sender != _nodes[node].owner) revert NotOwner(node, msg.sender);
        _;
    }

    modifier onlyMarket() {
        if (msg.sender != MARKET) revert NotMarket(msg.sender);
        _;
    }

    constructor(TokenAI token, address market, IArbiter arbiter, uint40 unbondingSeconds_) {
        if (address(token) == address(0) || market == address(0) || address(arbiter) == address(0)) {
            revert ZeroAddress();
        }
        TOKEN = token;
        MARKET = market;
        ARBITER = arbiter;
        UNBONDING_SECONDS = unbondingSeconds_;
    }

    /* OWNER */

    /// @inheritdoc INodeRegistry
    function register(address operator, string calldata url, string calldata capabilities, uint96 amount)
        external
        returns (uint32 node)
    {
        if (operator == address(0)) revert ZeroAddress();
        node = ++nodeCount;
        Node storage self = _nodes[node];
        (self.owner, self.payee, self.operator) = (msg.sender, msg.sender, operator);
        (self.url, self.capabilities) = (url, capabilities);
        emit NodeRegistered(node, msg.sender, operator, url, capabilities);
        _raise(self, amount);
        emit StakeAdded(node, amount, amount);
        if (amount != 0) TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        ARBITER.nodeRegistered(node);
    }

    /// @inheritdoc INodeRegistry
    function setOperator(uint32 node, address operator) external onlyOwner(node) {
        if (operator == address(0)) revert ZeroAddress();
        _nodes[node].operator = operator;
        emit OperatorSet(node, operator);
    }

    /// @inheritdoc INodeRegistry
    function setPayee(uint32 node, address payee) external onlyOwner(node) {
        if (payee == address(0)) revert ZeroAddress();
        _nodes[node].payee = payee;
        emit PayeeSet(node, payee);
    }

    /// @inheritdoc INodeRegistry
    function describe(uint32 node, string calldata url, string calldata capabilities) external {
        if (!isOperator(node, msg.sender)) revert NotOperator(node, msg.sender);
        (_nodes[node].url, _nodes[node].capabilities) = (url, capabilities);
        emit NodeDescribed(node, url, capabilities);
    }

    /// @inheritdoc INodeRegistry
    function addStake(uint32 node, uint96 amount) external onlyOwner(node) {
        Node storage self = _nodes[node];
        _raise(self, amount);
        emit StakeAdded(node, amount, self.stake);
        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc INodeRegistry
    function unbond(uint32 node, uint96 amount) external onlyOwner(node) {
        Node storage self = _nodes[node];
        uint96 available = self.stake - self.locked;
        if (amount > available) revert StakeShort(node, amount, available);
        uint40 unbondedAt = uint40(block.timestamp) + UNBONDING_SECONDS;
        self.stake -= amount;
        totalStake -= amount;
        self.unbonding += amount;
        self.unbondedAt = unbondedAt;
        emit UnbondStarted(node, amount, unbondedAt);
    }

    /// @inheritdoc INodeRegistry
    function cancelUnbond(uint32 node) external onlyOwner(node) {
        Node storage self = _nodes[node];
        uint96 amount = self.unbonding;
        if (amount == 0) revert NothingUnbonding(node);
        self.unbonding = 0;
        _raise(self, amount);
        emit UnbondCancelled(node, amount);
    }

    /// @inheritdoc INodeRegistry
    function withdrawStake(uint32 node) external {
        Node storage self = _nodes[node];
        uint96 amount = self.unbonding;
        if (amount == 0) revert NothingUnbonding(node);
        if (block.timestamp < self.unbondedAt) revert StillUnbonding(node, self.unbondedAt);
        self.unbonding = 0;
        emit StakeWithdrawn(node, self.payee, amount);
        TOKEN.safeTransfer(self.payee, amount);
    }

    /// @inheritdoc INodeRegistry
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try TOKEN.permit(msg.sender, address(this), value, deadline, v, r, s) {
            return;
        } catch {
            uint256 allowance = TOKEN.allowance(msg.sender, address(this));
            if (allowance < value) revert PermitFailed(value, allowance);
        }
    }

    /* THE MARKET */

    /// @inheritdoc INodeRegistry
    function lock(uint32 node, address caller, uint256 amount) external onlyMarket {
        _lock(node, caller, amount);
    }

    /// @inheritdoc INodeRegistry
    function lockReplica(uint32 node, address caller, uint256 amount)
        external
        onlyMarket
        returns (uint96 stake, uint40 since, uint96 total)
    {
        Node storage self = _lock(node, caller, amount);
        return (self.stake, self.since, totalStake);
    }

    /// @inheritdoc INodeRegistry
    function unlock(uint32 node, uint256 amount) external onlyMarket {
        _nodes[node].locked -= uint96(amount);
        --_nodes[node].live;
    }

    /// @inheritdoc INodeRegistry
    function seize(uint32 node, uint256 unlocked, uint256 amount, uint256 toMarket, uint256 toArbiter)
        external
        onlyMarket
    {
        Node storage self = _nodes[node];
        self.locked -= uint96(unlocked);
        --self.live;
        self.stake -= uint96(amount);
        totalStake -= uint96(amount);
        uint256 burnt = amount - toMarket - toArbiter;
        emit StakeTaken(node, uint96(amount), uint96(toMarket), uint96(toArbiter), uint96(burnt));
        if (toMarket != 0) TOKEN.safeTransfer(MARKET, toMarket);
        if (toArbiter != 0) TOKEN.safeTransfer(address(ARBITER), toArbiter);
        if (burnt != 0) TOKEN.burn(burnt);
    }

    /* THE JUDGE */

    /// @inheritdoc INodeRegistry
    function setDeposited(uint32 node, bool deposited) external {
        if (msg.sender != address(ARBITER)) revert NotArbiter(msg.sender);
        _nodes[node].deposited = deposited;
        emit DepositBitSet(node, deposited);
    }

    /* VIEWS */

    /// @inheritdoc INodeRegistry
    function nodeOf(uint32 node) external view returns (NodeInfo memory) {
        Node storage self = _nodes[node];
        return NodeInfo({
            owner: self.owner,
            operator: self.operator,
            payee: self.payee,
            stake: self.stake,
            locked: self.locked,
            since: self.since,
            unbonding: self.unbonding,
            unbondedAt: self.unbondedAt,
            deposited: self.deposited,
            url: self.url,
            capabilities: self.capabilities
        });
    }

    /// @inheritdoc INodeRegistry
    function isOperator(uint32 node, address who) public view returns (bool) {
        Node storage self = _nodes[node];
        return who == self.operator || who == self.owner;
    }

    /// @inheritdoc INodeRegistry
    function payeeOf(uint32 node) external view returns (address) {
        return _nodes[node].payee;
    }

    /// @inheritdoc INodeRegistry
    function liveLeases(uint32 node) external view returns (uint16) {
        return _nodes[node].live;
    }

    /// @inheritdoc INodeRegistry
    function unbondingSeconds() external view returns (uint40) {
        return UNBONDING_SECONDS;
    }

    function _lock(uint32 node, address caller, uint256 amount) private returns (Node storage self) {
        if (!isOperator(node, caller)) revert NotOperator(node, caller);
        self = _nodes[node];
        if (!self.deposited) revert NoDeposit(node);
        uint96 locked = self.locked;
        uint96 available = self.stake - locked;
        if (amount > available) revert StakeShort(node, amount, available);
        self.locked = locked + uint96(amount);
        // The bit tells of the deposit's least floor; a node with many leases needs more.
        uint16 live = ++self.live;
        if (live > FLAT_LEASES && live % 8 == 0 && !ARBITER.covers(node, live)) revert NoDeposit(node);
    }

    /// @dev Stake that was raised has no lottery weight for commits of this block or before.
    function _raise(Node storage self, uint96 amount) private {
        self.stake += amount;
        self.since = block.number.toUint40();
        totalStake += amount;
    }
}
