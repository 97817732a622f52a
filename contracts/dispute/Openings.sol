// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {
    Game,
    GameBook,
    IDisputeCourt,
    Interval,
    Opening,
    Phase,
    Precommitment,
    Side
} from "../interfaces/IDisputeCourt.sol";
import {ITaskMarket, LeaseInfo} from "../interfaces/ITaskMarket.sol";
import {LeaseId} from "../types/LeaseId.sol";
import {Court, CourtStorage, PrecommitBook} from "./CourtStorage.sol";
import {Games} from "./Games.sol";
import {Leases} from "./Leases.sol";
import {Merkle} from "./Merkle.sol";
import {Payments} from "./Payments.sol";
import {Roots} from "./Roots.sol";
import {Schedule} from "./Schedule.sol";

/// @notice How games begin. Linked.
library Openings {
    /// @dev Rank of the other of a pair, whose commit came before anything was revealed.
    uint40 private constant PAIRED = 1;

    function precommit(bytes32 hash) external returns (uint40 order) {
        CourtStorage storage s = Court.stored();
        PrecommitBook storage book = s.precommitments[hash];
        if (book.order != 0) return book.order;
        order = PAIRED + ++s.precommits;
        (book.order, book.blockNumber) = (order, uint40(block.number));
        emit IDisputeCourt.Precommitted(hash, order);
    }

    function open(Opening calldata opening, Precommitment calldata precommitment) external returns (bytes32 id) {
        CourtStorage storage s = Court.stored();
        (LeaseInfo memory info, Game memory game) = _start(s, opening);
        (game.phase, game.turn) = (Phase.Result, Side.Defender);
        return _enter(s, info, game, precommitment);
    }

    function openAt(Opening calldata opening, Precommitment calldata precommitment, Interval calldata interval)
        external
        returns (bytes32 id)
    {
        CourtStorage storage s = Court.stored();
        (LeaseInfo memory info, Game memory game) = _start(s, opening);
        (game.phase, game.turn) = (Phase.Picked, Side.Challenger);
        _pickInterval(s, info, game, interval);
        return _enter(s, info, game, precommitment);
    }

    /// @dev The bond that the next game costs. @return party The key under which an exemption would be used up, if any.
    function bondOf(CourtStorage storage s, LeaseId lease, LeaseInfo memory info, address who)
        internal
        view
        returns (uint256 bond, bytes32 party)
    {
        bond = Schedule.priceAtCap(s, 2 * Schedule.DEFENDER);
        uint256 games = s.nodes[lease.node()].games;
        if (games < Schedule.CROWD) return (bond, 0);
        party = _partyOf(s, lease, info, who);
        if (party == 0 || s.exempted[party]) return (Schedule.crowded(bond, games), 0);
    }

    /// @dev The accused shard, where it was planned.
    function _start(CourtStorage storage s, Opening calldata opening)
        private
        view
        returns (LeaseInfo memory info, Game memory game)
    {
        info = s.market.leaseOf(opening.lease);
        game.shard = Leases.requirePlanned(s, info, opening);
        (game.lease, game.position) = (opening.lease, opening.position);
        (game.challenger, game.opened, game.moveTime) = (msg.sender, uint40(block.number), info.moveTime);
        (game.steps, game.interval) = (opening.shard.steps, opening.shard.interval);
        (game.program, game.pred) = (opening.shard.program, opening.shard.state);
    }

    /// @dev Both ends of an interval, under the defender's checkpoints, under its result.
    function _pickInterval(
        CourtStorage storage s,
        LeaseInfo memory info,
        Game memory game,
        Interval calldata interval
    ) private view {
        uint256 i = interval.checkpoint;
        uint256 count = Roots.checkpoints(game.steps, game.interval);
        bytes32 raw = Merkle.top(interval.claim, i, count, interval.claimPath);
        bytes32 result = Roots.result(game.shard, Roots.list(Roots.CHECKPOINTS, count, raw));
        Leases.requireResult(s, info, result, game.position, interval.resultPath);
        if (i != 0) {
            Merkle.requireEqual(Merkle.top(interval.before, i - 1, count, interval.beforePath), raw);
            game.pred = interval.before;
        }
        game.checkpoint = interval.checkpoint;
        game.last.root = interval.claim;
        game.firstStep = uint40(i * game.interval);
        uint256 end = (i + 1) * game.interval;
        game.lastStep = uint40(end < game.steps ? end : game.steps);
    }

    function _enter(
        CourtStorage storage s,
        LeaseInfo memory info,
        Game memory game,
        Precommitment calldata precommitment
    ) private returns (bytes32 id) {
        LeaseId lease = game.lease;
        id = keccak256(
            abi.encode(block.chainid, address(this), lease, info.root, game.position, game.challenger)
        );
        GameBook storage book = s.games[id];
        if (book.state != 0) revert IDisputeCourt.GameExists(id);
        uint256 bond = _takeBond(s, lease, info);
        uint40 order = _rank(s, info, game, precommitment);
        game.own = precommitment.checkpoints;
        (book.bond, book.order) = (uint96(bond), order);
        ++s.leases[lease].conviction.games;
        ++s.nodes[lease.node()].games;
        emit IDisputeCourt.Opened(id, lease, game.challenger, uint96(bond), order);
        Games.save(s, id, game, Games.nothing(), Games.nothing());
        Payments.credit(s, msg.sender, msg.value - bond);
        s.market.gameOpened(lease);
    }

    function _takeBond(CourtStorage storage s, LeaseId lease, LeaseInfo memory info) private returns (uint256 bond) {
        bytes32 party;
        (bond, party) = bondOf(s, lease, info, msg.sender);
        if (msg.value < bond) revert IDisputeCourt.BondShort(bond, msg.value);
        if (party != 0) s.exempted[party] = true;
    }

    /// @dev When the challenger committed to its own checkpoints; 0: never.
    function _rank(
        CourtStorage storage s,
        LeaseInfo memory info,
        Game memory game,
        Precommitment calldata precommitment
    ) private view returns (uint40) {
        bytes32 own = precommitment.checkpoints;
        if (own == 0) return 0;
        if (precommitment.paired) {
            _requirePaired(s, info, game, precommitment);
            return PAIRED;
        }
        bytes32 hash = keccak256(
            abi.encode(
                block.chainid,
                address(this),
                game.lease,
                info.root,
                game.position,
                own,
                msg.sender,
                precommitment.salt
            )
        );
        PrecommitBook memory book = s.precommitments[hash];
        if (book.order == 0) revert IDisputeCourt.UnknownPrecommitment(hash);
        if (book.blockNumber >= block.number) revert IDisputeCourt.PrecommittedTooLate(hash);
        return book.order;
    }

    /// @dev The other of the pair opens the same shard's result under its own root.
    function _requirePaired(
        CourtStorage storage s,
        LeaseInfo memory info,
        Game memory game,
        Precommitment calldata precommitment
    ) private view {
        if (!_isPeer(s, info, msg.sender)) revert IDisputeCourt.NotPaired(game.lease);
        LeaseInfo memory peer = s.market.leaseOf(info.peer);
        uint256 position = uint256(info.firstShard) + game.position - peer.firstShard;
        bytes32 result = Roots.result(game.shard, precommitment.checkpoints);
        Leases.requireResult(s, peer, result, position, precommitment.path);
    }

    function _isPeer(CourtStorage storage s, LeaseInfo memory info, address who) private view returns (bool) {
        return LeaseId.unwrap(info.peer) != 0 && s.registry.isOperator(info.peer.node(), who);
    }

    /// @dev The lease's requester, or the other of its pair; zero for anybody else.
    function _partyOf(CourtStorage storage s, LeaseId lease, LeaseInfo memory info, address who)
        private
        view
        returns (bytes32)
    {
        if (_isPeer(s, info, who)) return keccak256(abi.encode(lease, info.peer));
        ITaskMarket market = s.market;
        address requester = market.taskOf(market.batchOf(info.batch).task).requester;
        return who == requester ? keccak256(abi.encode(lease, uint256(0))) : bytes32(0);
    }
}
