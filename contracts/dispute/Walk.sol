// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Game, IDisputeCourt, NodeOpening, Phase, Pick, Posting, Side} from "../interfaces/IDisputeCourt.sol";
import {Output} from "../interfaces/INodeEvaluator.sol";
import {LeaseInfo} from "../interfaces/ITaskMarket.sol";
import {ProgramHeader} from "../interfaces/IProgramValidity.sol";
import {Court, CourtStorage} from "./CourtStorage.sol";
import {Games} from "./Games.sol";
import {Leases} from "./Leases.sol";
import {Merkle} from "./Merkle.sol";
import {Picks} from "./Picks.sol";
import {Roots} from "./Roots.sol";
import {Schedule} from "./Schedule.sol";
import {Words} from "./Words.sol";

/// @notice The walk from a lease's root to one leaf. Linked.
library Walk {
    /// @dev Of a trace's state half, so that both halves fit one move.
    uint256 private constant STATE_LEVELS = 5;

    function answer(bytes32 id, bytes calldata state, bytes32[] calldata path, bytes32[] calldata entries) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Games.requirePhase(id, game, Phase.Result);
        Game memory next = states[1];
        uint256 count = Roots.checkpoints(game.steps, game.interval);
        next.last = _top(entries, count, Merkle.LEVELS);
        bytes32 checkpoints = Roots.list(Roots.CHECKPOINTS, count, next.last.root);
        LeaseInfo memory info = s.market.leaseOf(game.lease);
        Leases.requireResult(s, info, Roots.result(game.shard, checkpoints), game.position, path);
        next.phase = Phase.Checkpoints;
        _finish(s, id, next, Schedule.ANSWER, entries);
    }

    function descend(bytes32 id, bytes calldata state, Pick calldata pick, bytes32[] calldata entries) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Game memory next = states[1];
        if (Picks.isState(game)) _states(game, next, pick, entries);
        else _below(id, game, next, pick, entries);
        _finish(s, id, next, Schedule.DESCENT, entries);
    }

    function trace(
        bytes32 id,
        bytes calldata state,
        Pick calldata pick,
        bytes24 header,
        bytes32 nodes,
        bytes32[] calldata nodeHalf,
        bytes32[] calldata stateHalf
    ) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        if (!Picks.isState(game)) revert IDisputeCourt.WrongPhase(id, game.phase);
        Game memory next = states[1];
        bytes32 claim = Picks.state(game, next, pick);
        if (next.lastStep - next.firstStep != 1) revert IDisputeCourt.WrongSection(next.firstStep, next.lastStep);
        Merkle.requireEqual(Roots.program(header, nodes), game.program);
        (next.header, next.program) = (header, nodes);
        ProgramHeader memory counts = Roots.counts(header);
        uint256 others = counts.nodes - counts.newState;
        Posting memory half = _top(nodeHalf, others, Merkle.LEVELS);
        next.stack = new Posting[](0);
        if (others != 0) next.stack = Games.push(next.stack, half);
        next.last = _top(stateHalf, counts.newState, STATE_LEVELS);
        bytes32 root = Roots.list(Roots.STATE, counts.newState, next.last.root);
        if (root == claim) revert IDisputeCourt.SameClaim(claim);
        if (game.turn == Side.Challenger && game.phase != Phase.States) next.entry = root;
        next.phase = Phase.Trace;
        Games.finish(s, id, next, Schedule.DESCENT, _bytes(nodeHalf), _bytes(stateHalf));
    }

    function tensor(
        bytes32 id,
        bytes calldata state,
        Pick calldata pick,
        NodeOpening calldata node,
        bytes calldata posting
    ) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Game memory next = states[1];
        uint256 number = Picks.tensor(id, game, next, pick);
        Output memory output = _openNode(s, game, next, number, node);
        bytes32 raw = _bytesOrTop(next, posting);
        bytes32 root = sha256(abi.encodePacked(output.prefix, raw));
        if (root == pick.entry) revert IDisputeCourt.SameClaim(root);
        Games.finish(s, id, next, Schedule.TENSOR, posting, Games.nothing());
    }

    function leaf(bytes32 id, bytes calldata state, Pick calldata pick, bytes calldata data) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Games.requirePhase(id, game, Phase.Tensor);
        if (game.last.level != 0) revert IDisputeCourt.WrongPhase(id, game.phase);
        Game memory next = states[1];
        Picks.requireIn(game.last, Picks.leaves(game.tensor.size), pick.index, pick);
        _leaf(next, pick.index, data);
        bytes32 hash = Merkle.leafHash(data);
        if (hash == pick.entry) revert IDisputeCourt.SameClaim(hash);
        Games.finish(s, id, next, Schedule.LEAF, data, Games.nothing());
    }

    /* POSTINGS */

    /// @dev States within the picked section, of which the last must differ.
    function _states(Game memory game, Game memory next, Pick calldata pick, bytes32[] calldata entries)
        private
        view
    {
        bytes32 claim = Picks.state(game, next, pick);
        uint256 steps = next.lastStep - next.firstStep;
        if (steps < 2) revert IDisputeCourt.WrongSection(next.firstStep, next.lastStep);
        uint256 count = Picks.states(steps);
        next.last = _top(entries, count, Merkle.LEVELS);
        bytes32 end = entries[count - 1];
        if (end == claim) revert IDisputeCourt.SameClaim(claim);
        if (game.turn == Side.Challenger && game.phase != Phase.States) next.entry = end;
        next.stack = new Posting[](0);
        next.phase = Phase.States;
    }

    /// @dev Hashes below a picked hash, of which the root must differ.
    function _below(bytes32 id, Game memory game, Game memory next, Pick calldata pick, bytes32[] calldata entries)
        private
        view
    {
        (Posting memory parent, uint256 count, uint256 index) = Picks.hash(id, game, next, pick);
        if (parent.level == 0) revert IDisputeCourt.WrongPhase(id, game.phase);
        uint256 depth = Merkle.share(parent.level, Merkle.LEVELS);
        uint256 level = parent.level - depth;
        uint256 first = index << depth;
        uint256 inside = Merkle.width(count, level) - first;
        _requireCount(entries.length, inside < 1 << depth ? inside : 1 << depth);
        bytes32 root = Merkle.root(entries, depth);
        if (root == pick.entry) revert IDisputeCourt.SameClaim(root);
        next.last = Posting(root, uint64(first), uint8(level), uint8(depth));
    }

    /// @dev The top of a tree, at most `most` levels below its root.
    function _top(bytes32[] calldata entries, uint256 count, uint256 most) private view returns (Posting memory) {
        uint256 height = Merkle.height(count);
        uint256 depth = Math.min(Merkle.share(height, Merkle.LEVELS), most);
        _requireCount(entries.length, Merkle.width(count, height - depth));
        return Posting(Merkle.root(entries, depth), 0, uint8(height - depth), uint8(depth));
    }

    /// @dev Opens the disputed node in the program.
    function _openNode(
        CourtStorage storage s,
        Game memory game,
        Game memory next,
        uint256 number,
        NodeOpening calldata node
    ) private view returns (Output memory output) {
        ProgramHeader memory counts = Roots.counts(game.header);
        uint256 total = uint256(counts.state) + counts.constants + counts.parameters + counts.nodes;
        bytes32 descriptor = Roots.descriptor(node.head, node.body);
        Merkle.requireEqual(
            Merkle.top(Roots.node(descriptor, node.operands), number, total, node.path), game.program
        );
        output = s.evaluator.outputOf(node.head);
        next.tensor.node = uint40(number);
        (next.tensor.dtype, next.tensor.width) = (output.dtype, output.width);
        next.tensor.size = uint64(output.elements * output.width);
        (next.tensor.descriptor, next.tensor.operands) = (descriptor, keccak256(node.operands));
    }

    /// @dev The raw root of a tensor from the top of its tree, or from all its bytes if it has one leaf.
    function _bytesOrTop(Game memory next, bytes calldata posting) private view returns (bytes32) {
        uint256 leaves = Picks.leaves(next.tensor.size);
        if (leaves == 1) {
            _leaf(next, 0, posting);
            return Merkle.leafHash(posting);
        }
        bytes32[] calldata entries;
        assembly ("memory-safe") {
            entries.offset := posting.offset
            entries.length := shr(5, posting.length)
        }
        next.last = _top(entries, leaves, Merkle.LEVELS);
        _requireLength(posting.length, entries.length * 32);
        next.phase = Phase.Tensor;
        return next.last.root;
    }

    function _leaf(Game memory next, uint256 index, bytes calldata data) private pure {
        uint256 rest = next.tensor.size - index * Merkle.LEAF;
        _requireLength(data.length, rest < Merkle.LEAF ? rest : Merkle.LEAF);
        next.last = Posting(Words.root(data), 0, 0, 0);
        next.value.leaf = uint64(index);
        next.phase = Phase.Leaf;
    }

    function _finish(CourtStorage storage s, bytes32 id, Game memory next, uint256 units, bytes32[] calldata entries)
        private
    {
        Games.finish(s, id, next, units, _bytes(entries), Games.nothing());
    }

    function _bytes(bytes32[] calldata entries) private pure returns (bytes calldata data) {
        assembly ("memory-safe") {
            data.offset := entries.offset
            data.length := shl(5, entries.length)
        }
    }

    function _requireCount(uint256 given, uint256 expected) private pure {
        if (given != expected) revert IDisputeCourt.WrongCount(given, expected);
    }

    function _requireLength(uint256 given, uint256 expected) private pure {
        if (given != expected) revert IDisputeCourt.WrongLength(given, expected);
    }
}
