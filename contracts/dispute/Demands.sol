// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Demand, DemandBook, IDisputeCourt, Item, NodeBook, Opening} from "../interfaces/IDisputeCourt.sol";
import {LeaseInfo} from "../interfaces/ITaskMarket.sol";
import {LeaseId} from "../types/LeaseId.sol";
import {Clock} from "./Clock.sol";
import {Court, CourtStorage} from "./CourtStorage.sol";
import {Leases} from "./Leases.sol";
import {Merkle} from "./Merkle.sol";
import {Payments} from "./Payments.sol";
import {Roots} from "./Roots.sol";
import {Schedule} from "./Schedule.sol";
import {Verdicts} from "./Verdicts.sol";

/// @notice Hashes that a node must show of what it revealed. Linked.
library Demands {
    uint256 private constant LEVELS = 7;
    uint256 private constant PART = 128;

    function demand(Demand calldata item, Opening calldata opening) external returns (bytes32 id) {
        CourtStorage storage s = Court.stored();
        id = idOf(item);
        DemandBook storage book = s.demands[id];
        if (book.demander != address(0)) revert IDisputeCourt.DemandExists(id);
        NodeBook storage node = s.nodes[item.lease.node()];
        uint256 prepaid = Schedule.crowded(Schedule.priceAtCap(s, Schedule.DEMAND), node.demands);
        if (msg.value < prepaid) revert IDisputeCourt.BondShort(prepaid, msg.value);
        LeaseInfo memory info = s.market.leaseOf(item.lease);
        uint256 count = info.shards;
        if (item.item == Item.Checkpoints) {
            (count, book.shard) = _checkpoints(s, info, item, opening);
        } else if (item.position != 0) {
            revert IDisputeCourt.OutsideCount(item.position, 1);
        }
        if (PART * item.part >= count) revert IDisputeCourt.OutsideCount(PART * item.part, count);
        (book.demander, book.prepaid, book.count) = (msg.sender, uint96(prepaid), uint40(count));
        (book.deadline, book.blockNumber) = (uint40(block.timestamp + info.moveTime), uint40(block.number));
        ++node.demands;
        emit IDisputeCourt.Demanded(id, item.lease, item, book.deadline);
        Payments.credit(s, msg.sender, msg.value - prepaid);
        s.market.gameOpened(item.lease);
    }

    function answerDemand(
        Demand calldata item,
        bytes32[] calldata entries,
        bytes32[] calldata path,
        bytes32[] calldata resultPath
    ) external {
        CourtStorage storage s = Court.stored();
        (bytes32 id, DemandBook storage book) = _pending(s, item);
        if (s.leases[item.lease].conviction.time != 0) revert IDisputeCourt.AlreadyConvicted(item.lease);
        if (Clock.passed(book.deadline, book.blockNumber)) revert IDisputeCourt.TooLate(book.deadline);
        uint32 node = item.lease.node();
        if (!s.registry.isOperator(node, msg.sender)) revert IDisputeCourt.NotOperator(node, msg.sender);
        bytes32 result = _requireAnswer(s, book, item, entries, path, resultPath);
        (uint96 prepaid, address demander) = _close(s, book, node);
        uint96 paid = Schedule.price(s, Schedule.DISCLOSURE + Schedule.WORD * entries.length);
        if (paid > prepaid) paid = prepaid;
        emit IDisputeCourt.DemandAnswered(id, result, entries, path);
        s.market.gameClosed(item.lease);
        Payments.credit(s, demander, prepaid - paid);
        Payments.pay(s, msg.sender, paid);
    }

    /// @dev Late: a conviction of which nobody profits. After another's conviction it only gives back what was prepaid.
    // The market and the token are the protocol's own and call nobody.
    // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function timeoutDemand(Demand calldata item) external {
        CourtStorage storage s = Court.stored();
        (bytes32 id, DemandBook storage book) = _pending(s, item);
        bool convicted = s.leases[item.lease].conviction.time != 0;
        if (!convicted && !Clock.passed(book.deadline, book.blockNumber)) revert IDisputeCourt.NotYet(book.deadline);
        (uint96 prepaid, address demander) = _close(s, book, item.lease.node());
        emit IDisputeCourt.DemandMissed(id, item.lease);
        Payments.credit(s, demander, prepaid);
        if (convicted) return;
        uint24 moveTime = s.market.leaseOf(item.lease).moveTime;
        Verdicts.convict(s, 0, address(0), item.lease, moveTime, 0);
        uint96 bounty = s.leases[item.lease].conviction.bounty;
        s.leases[item.lease].conviction.bounty = 0;
        if (bounty != 0) s.token.burn(bounty);
    }

    function idOf(Demand calldata item) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), item));
    }

    function _pending(CourtStorage storage s, Demand calldata item)
        private
        view
        returns (bytes32 id, DemandBook storage book)
    {
        id = idOf(item);
        book = s.demands[id];
        if (book.demander == address(0) || book.answered) revert IDisputeCourt.NoDemand(id);
    }

    function _close(CourtStorage storage s, DemandBook storage book, uint32 node)
        private
        returns (uint96 prepaid, address demander)
    {
        (prepaid, demander) = (book.prepaid, book.demander);
        (book.prepaid, book.answered) = (0, true);
        --s.nodes[node].demands;
    }

    function _checkpoints(
        CourtStorage storage s,
        LeaseInfo memory info,
        Demand calldata item,
        Opening calldata opening
    ) private view returns (uint256 count, bytes32 shard) {
        if (
            LeaseId.unwrap(opening.lease) != LeaseId.unwrap(item.lease) || opening.position != item.position
        ) revert IDisputeCourt.OutsideCount(opening.position, item.position);
        shard = Leases.requirePlanned(s, info, opening);
        count = Roots.checkpoints(opening.shard.steps, opening.shard.interval);
    }

    /// @dev The part's entries, up to the lease's root. @return result The shard's result hash, for checkpoints.
    function _requireAnswer(
        CourtStorage storage s,
        DemandBook storage book,
        Demand calldata item,
        bytes32[] calldata entries,
        bytes32[] calldata path,
        bytes32[] calldata resultPath
    ) private view returns (bytes32 result) {
        LeaseInfo memory info = s.market.leaseOf(item.lease);
        uint256 count = book.count;
        bool results = item.item == Item.Results;
        uint256 height = results ? Leases.height(s, info) : Merkle.height(count);
        uint256 depth = height < LEVELS ? height : LEVELS;
        uint256 rest = count - PART * item.part;
        uint256 expected = rest < PART ? rest : PART;
        if (entries.length != expected) revert IDisputeCourt.WrongCount(entries.length, expected);
        Merkle.requireLength(path.length, height - depth);
        bytes32 raw = Merkle.fold(Merkle.root(entries, depth), item.part, path);
        if (results) {
            Merkle.requireLength(resultPath.length, 0);
            Leases.requireRoot(info, raw);
        } else {
            result = Roots.result(book.shard, Roots.list(Roots.CHECKPOINTS, count, raw));
            Leases.requireResult(s, info, result, item.position, resultPath);
        }
    }
}
