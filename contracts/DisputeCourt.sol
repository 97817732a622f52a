// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Claims} from "./dispute/Claims.sol";
import {CourtStorage, PrecommitBook} from "./dispute/CourtStorage.sol";
import {Defences} from "./dispute/Defences.sol";
import {Demands} from "./dispute/Demands.sol";
import {Deposits} from "./dispute/Deposits.sol";
import {Element} from "./dispute/Element.sol";
import {Openings} from "./dispute/Openings.sol";
import {Payments} from "./dispute/Payments.sol";
import {Schedule} from "./dispute/Schedule.sol";
import {Walk} from "./dispute/Walk.sol";
import {IArbiter} from "./interfaces/IArbiter.sol";
import {
    Conviction,
    Demand,
    DemandBook,
    Evidence,
    GameBook,
    IDisputeCourt,
    Interval,
    Naming,
    NodeBook,
    NodeOpening,
    Opening,
    Pick,
    Precommitment,
    Segment,
    Source
} from "./interfaces/IDisputeCourt.sol";
import {INodeEvaluator} from "./interfaces/INodeEvaluator.sol";
import {INodeRegistry} from "./interfaces/INodeRegistry.sol";
import {IProgramValidity} from "./interfaces/IProgramValidity.sol";
import {ITaskMarket} from "./interfaces/ITaskMarket.sol";
import {TokenAI} from "./TokenAI.sol";
import {LeaseId} from "./types/LeaseId.sol";

/// @title DisputeCourt: settles challenges by recomputing one element.
/// @notice The moves are in linked libraries, whose functions have the same arguments: the calldata is passed on as it
/// came, under their selector.
contract DisputeCourt is IDisputeCourt {
    /// @dev The only storage, from slot 0: the libraries look for it there.
    CourtStorage private _s;

    constructor(
        TokenAI token_,
        INodeRegistry registry_,
        ITaskMarket market_,
        INodeEvaluator evaluator_,
        IProgramValidity validity_,
        uint96 gasPriceCap_
    ) {
        if (
            address(token_) == address(0) || address(registry_) == address(0) || address(market_) == address(0)
                || address(evaluator_) == address(0) || address(validity_) == address(0)
        ) revert ZeroAddress();
        (_s.token, _s.registry, _s.market) = (token_, registry_, market_);
        (_s.evaluator, _s.validity, _s.gasPriceCap) = (evaluator_, validity_, gasPriceCap_);
    }

    /* OPENING */

    /// @inheritdoc IDisputeCourt
    function precommit(bytes32) external returns (uint40) {
        _pass(address(Openings), Openings.precommit.selector);
    }

    /// @inheritdoc IDisputeCourt
    function open(Opening calldata, Precommitment calldata) external payable returns (bytes32) {
        _pass(address(Openings), Openings.open.selector);
    }

    /// @inheritdoc IDisputeCourt
    function openAt(Opening calldata, Precommitment calldata, Interval calldata) external payable returns (bytes32) {
        _pass(address(Openings), Openings.openAt.selector);
    }

    /* THE WALK */

    /// @inheritdoc IDisputeCourt
    function answer(bytes32, bytes calldata, bytes32[] calldata, bytes32[] calldata) external {
        _pass(address(Walk), Walk.answer.selector);
    }

    /// @inheritdoc IDisputeCourt
    function descend(bytes32, bytes calldata, Pick calldata, bytes32[] calldata) external {
        _pass(address(Walk), Walk.descend.selector);
    }

    /// @inheritdoc IDisputeCourt
    function trace(
        bytes32,
        bytes calldata,
        Pick calldata,
        bytes24,
        bytes32,
        bytes32[] calldata,
        bytes32[] calldata
    ) external {
        _pass(address(Walk), Walk.trace.selector);
    }

    /// @inheritdoc IDisputeCourt
    function tensor(bytes32, bytes calldata, Pick calldata, NodeOpening calldata, bytes calldata) external {
        _pass(address(Walk), Walk.tensor.selector);
    }

    /// @inheritdoc IDisputeCourt
    function leaf(bytes32, bytes calldata, Pick calldata, bytes calldata) external {
        _pass(address(Walk), Walk.leaf.selector);
    }

    /* THE ELEMENT */

    /// @inheritdoc IDisputeCourt
    function name(bytes32, bytes calldata, Naming calldata) external {
        _pass(address(Element), Element.name.selector);
    }

    /// @inheritdoc IDisputeCourt
    function partials(bytes32, bytes calldata, Naming calldata, bytes calldata, bytes calldata) external {
        _pass(address(Element), Element.partials.selector);
    }

    /// @inheritdoc IDisputeCourt
    function pickPartial(bytes32, bytes calldata, uint256, Segment calldata) external {
        _pass(address(Element), Element.pickPartial.selector);
    }

    /// @inheritdoc IDisputeCourt
    function justify(bytes32, bytes calldata, Naming calldata, bytes calldata, bytes calldata) external {
        _pass(address(Element), Element.justify.selector);
    }

    /// @inheritdoc IDisputeCourt
    function refute(
        bytes32,
        bytes calldata,
        bytes calldata,
        bytes calldata,
        uint256,
        uint256,
        Segment calldata,
        Source calldata
    ) external {
        _pass(address(Element), Element.refute.selector);
    }

    /* OTHER ENDS */

    /// @inheritdoc IDisputeCourt
    function invalid(bytes32, bytes calldata, Evidence calldata) external {
        _pass(address(Defences), Defences.invalid.selector);
    }

    /// @inheritdoc IDisputeCourt
    function timeout(bytes32, bytes calldata) external {
        _pass(address(Defences), Defences.timeout.selector);
    }

    /* AFTER A CONVICTION */

    /// @inheritdoc IDisputeCourt
    function claim(bytes32, bytes calldata, bytes32[] calldata, bytes32) external {
        _pass(address(Claims), Claims.claim.selector);
    }

    /// @inheritdoc IDisputeCourt
    function settle(LeaseId, uint256) external {
        _pass(address(Claims), Claims.settle.selector);
    }

    /// @inheritdoc IDisputeCourt
    function returnBond(bytes32, bytes calldata) external {
        _pass(address(Claims), Claims.returnBond.selector);
    }

    /* DEPOSITS */

    /// @inheritdoc IArbiter
    // A node is registered without a deposit, and its bit is clear.
    function nodeRegistered(uint32) external view {
        if (msg.sender != address(_s.registry)) revert NotRegistry(msg.sender);
    }

    /// @inheritdoc IDisputeCourt
    function deposit(uint32 node) external payable {
        Deposits.add(_s, node);
    }

    /// @inheritdoc IDisputeCourt
    function withdrawDeposit(uint32 node, uint96 amount) external {
        Deposits.withdraw(_s, node, amount);
    }

    /// @inheritdoc IDisputeCourt
    function refreshDeposit(uint32 node) external {
        Deposits.refresh(_s, node);
    }

    /* DEMANDS */

    /// @inheritdoc IDisputeCourt
    function demand(Demand calldata, Opening calldata) external payable returns (bytes32) {
        _pass(address(Demands), Demands.demand.selector);
    }

    /// @inheritdoc IDisputeCourt
    function answerDemand(Demand calldata, bytes32[] calldata, bytes32[] calldata, bytes32[] calldata) external {
        _pass(address(Demands), Demands.answerDemand.selector);
    }

    /// @inheritdoc IDisputeCourt
    function timeoutDemand(Demand calldata) external {
        _pass(address(Demands), Demands.timeoutDemand.selector);
    }

    /* EVERYONE */

    /// @inheritdoc IDisputeCourt
    function withdrawCredit(address payable to) external {
        uint256 amount = _s.credits[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        _s.credits[msg.sender] = 0;
        emit CreditWithdrawn(msg.sender, to, amount);
        if (!Payments.send(to, amount, gasleft())) revert PaymentFailed(to, amount);
    }

    /* VIEWS */

    /// @inheritdoc IArbiter
    function covers(uint32 node, uint256 leases) external view returns (bool) {
        return _s.nodes[node].deposit >= Deposits.floorFor(_s, leases);
    }

    /// @inheritdoc IDisputeCourt
    function gameOf(bytes32 id) external view returns (GameBook memory) {
        return _s.games[id];
    }

    /// @inheritdoc IDisputeCourt
    function nodeOf(uint32 node) external view returns (NodeBook memory) {
        return _s.nodes[node];
    }

    /// @inheritdoc IDisputeCourt
    function convictionOf(LeaseId lease) external view returns (Conviction memory) {
        return _s.leases[lease].conviction;
    }

    /// @inheritdoc IDisputeCourt
    function demandOf(bytes32 id) external view returns (DemandBook memory) {
        return _s.demands[id];
    }

    /// @inheritdoc IDisputeCourt
    function creditOf(address who) external view returns (uint256) {
        return _s.credits[who];
    }

    /// @inheritdoc IDisputeCourt
    function precommitOf(bytes32 hash) external view returns (uint40 order, uint40 blockNumber) {
        PrecommitBook storage book = _s.precommitments[hash];
        return (book.order, book.blockNumber);
    }

    /// @inheritdoc IDisputeCourt
    function bondOf(LeaseId lease, address challenger) external view returns (uint256 bond) {
        (bond,) = Openings.bondOf(_s, lease, _s.market.leaseOf(lease), challenger);
    }

    /// @inheritdoc IDisputeCourt
    function floorOf(uint32 node) external view returns (uint256) {
        return Deposits.floor(_s, node);
    }

    /// @inheritdoc IDisputeCourt
    function gamePrice() external view returns (uint256) {
        return Schedule.priceAtCap(_s, Schedule.GAME);
    }

    /// @inheritdoc IDisputeCourt
    function demandPriceOf(uint32 node) external view returns (uint256) {
        return Schedule.crowded(Schedule.priceAtCap(_s, Schedule.DEMAND), _s.nodes[node].demands);
    }

    /// @inheritdoc IDisputeCourt
    function gasPriceCap() external view returns (uint256) {
        return _s.gasPriceCap;
    }

    /// @inheritdoc IDisputeCourt
    function token() external view returns (address) {
        return address(_s.token);
    }

    /// @inheritdoc IDisputeCourt
    function registry() external view returns (address) {
        return address(_s.registry);
    }

    /// @inheritdoc IDisputeCourt
    function market() external view returns (address) {
        return address(_s.market);
    }

    /// @inheritdoc IDisputeCourt
    function evaluator() external view returns (address) {
        return address(_s.evaluator);
    }

    /// @inheritdoc IDisputeCourt
    function validity() external view returns (address) {
        return address(_s.validity);
    }

    /// @dev Runs the library's function of that selector on this call's own arguments, in place of this function.
    function _pass(address library_, bytes4 selector) private {
        assembly ("memory-safe") {
            let start := mload(0x40)
            calldatacopy(start, 0, calldatasize())
            mstore(start, or(selector, and(mload(start), shr(32, not(0)))))
            let done := delegatecall(gas(), library_, start, calldatasize(), 0, 0)
            returndatacopy(start, 0, returndatasize())
            if iszero(done) { revert(start, returndatasize()) }
            return(start, returndatasize())
        }
    }
}
