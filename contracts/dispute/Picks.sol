// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {Game, IDisputeCourt, Phase, Pick, Posting, Side} from "../interfaces/IDisputeCourt.sol";
import {ProgramHeader} from "../interfaces/IProgramValidity.sol";
import {Games} from "./Games.sol";
import {Merkle} from "./Merkle.sol";
import {Roots} from "./Roots.sol";

/// @notice Which entry of the opponent's last posting is disputed, and what lies left of it.
library Picks {
    /// @dev Of a section, at most 32 states.
    uint256 private constant LEVELS = 5;

    /// @dev Leaves of a tensor of that many bytes.
    function leaves(uint256 size) internal pure returns (uint256) {
        return (size + Merkle.LEAF - 1) / Merkle.LEAF;
    }

    /// @dev Requires that the entry is number `index` of its level, of `count` entries on the tree's lowest.
    function requireIn(Posting memory posting, uint256 count, uint256 index, Pick calldata pick) internal view {
        uint256 width = Merkle.width(count, posting.level);
        uint256 end = posting.first + (uint256(1) << posting.depth);
        if (end > width) end = width;
        if (index < posting.first || index >= end) revert IDisputeCourt.OutsideCount(index, end);
        Merkle.requireLength(pick.path.length, posting.depth);
        Merkle.requireEqual(Merkle.fold(pick.entry, index - posting.first, pick.path), posting.root);
    }

    /// @dev The root above entry `index` of the tree's lowest level, up to a posting that covers it.
    function openBelow(Posting memory posting, bytes32 entry, uint256 index, bytes32[] calldata path) internal view {
        uint256 levels = uint256(posting.level) + posting.depth;
        Merkle.requireLength(path.length, levels);
        Merkle.requireEqual(Merkle.fold(entry, index & ((1 << levels) - 1), path), posting.root);
    }

    /// @dev Whether entry `index` of the tree's lowest level stands below this posting.
    function covers(Posting memory posting, uint256 index) internal pure returns (bool) {
        return index >> (uint256(posting.level) + posting.depth) == uint256(posting.first) >> posting.depth;
    }

    /* STATES */

    /// @dev How many states of a section of so many steps are posted: as of a tree with the steps as leaves.
    function states(uint256 steps) internal pure returns (uint256) {
        return Math.min(steps, 1 << Merkle.share(Merkle.height(steps), LEVELS));
    }

    /// @dev Whether a state is picked now, of a checkpoint or within a section.
    function isState(Game memory game) internal pure returns (bool) {
        Phase phase = game.phase;
        return phase == Phase.States || phase == Phase.Picked || (phase == Phase.Checkpoints && game.last.level == 0);
    }

    /// @dev Moves to the section whose end is picked. @return claim The opponent's state there.
    function state(Game memory game, Game memory next, Pick calldata pick) internal view returns (bytes32 claim) {
        if (game.phase == Phase.Picked) return game.last.root;
        uint256 i = pick.index;
        if (game.phase == Phase.States) _section(game, next, pick);
        else _checkpoint(game, next, pick);
        if (i == 0) {
            if (pick.before != 0) revert IDisputeCourt.WrongOpening(0, pick.before);
            Merkle.requireLength(pick.beforePath.length, 0);
        } else {
            next.pred = pick.before;
        }
        return pick.entry;
    }

    function _section(Game memory game, Game memory next, Pick calldata pick) private view {
        uint256 i = pick.index;
        uint256 steps = game.lastStep - game.firstStep;
        uint256 count = states(steps);
        requireIn(game.last, count, i, pick);
        if (i != 0) openBelow(game.last, pick.before, i - 1, pick.beforePath);
        next.firstStep = uint40(game.firstStep + (i * steps) / count);
        next.lastStep = uint40(game.firstStep + ((i + 1) * steps) / count);
    }

    function _checkpoint(Game memory game, Game memory next, Pick calldata pick) private view {
        uint256 i = pick.index;
        uint256 count = Roots.checkpoints(game.steps, game.interval);
        requireIn(game.last, count, i, pick);
        if (i != 0) {
            Posting memory above = covers(game.last, i - 1) ? game.last : deepest(game.stack, i - 1);
            openBelow(above, pick.before, i - 1, pick.beforePath);
        }
        // Picked by the defender, it is the challenger's own.
        if (game.turn == Side.Defender) next.entry = pick.entry;
        next.checkpoint = uint40(i);
        uint256 end = (i + 1) * game.interval;
        next.firstStep = uint40(i * game.interval);
        next.lastStep = uint40(end < game.steps ? end : game.steps);
    }

    /// @dev The lowest posting of the stack above that entry of the tree's lowest level: left of its pick, hence
    /// agreed, whenever the entry stands left of what is disputed.
    function deepest(Posting[] memory stack, uint256 index) internal pure returns (Posting memory posting) {
        for (uint256 i = stack.length; i != 0; --i) {
            posting = stack[i - 1];
            if (covers(posting, index)) return posting;
        }
        revert IDisputeCourt.OutsideCount(index, 0);
    }

    /* HASHES */

    /// @dev The posting that the pick is in, its tree's count, and the index there. Sets the phase that follows.
    function hash(bytes32 id, Game memory game, Game memory next, Pick calldata pick)
        internal
        view
        returns (Posting memory parent, uint256 count, uint256 index)
    {
        Phase phase = game.phase;
        (parent, index) = (game.last, pick.index);
        if (phase == Phase.Checkpoints) {
            count = Roots.checkpoints(game.steps, game.interval);
            next.stack = Games.push(next.stack, next.last);
        } else if (phase == Phase.Tensor) {
            count = leaves(game.tensor.size);
        } else {
            ProgramHeader memory counts = Roots.counts(game.header);
            uint256 others = counts.nodes - counts.newState;
            count = counts.newState;
            if (phase == Phase.Nodes) {
                count = others;
                next.stack = Games.push(next.stack, next.last);
            } else if (phase == Phase.Trace) {
                (parent, count, index) = _half(game, next, index, others, count);
            } else if (phase != Phase.NewState) {
                revert IDisputeCourt.WrongPhase(id, phase);
            }
        }
        requireIn(parent, count, index, pick);
    }

    /// @dev Entries of the node half stand first.
    function _half(Game memory game, Game memory next, uint256 index, uint256 others, uint256 newState)
        private
        pure
        returns (Posting memory, uint256 count, uint256)
    {
        uint256 entries;
        if (others != 0) {
            Posting memory half = game.stack[0];
            entries = Merkle.width(others, half.level);
            if (index < entries) {
                next.phase = Phase.Nodes;
                return (half, others, index);
            }
        }
        next.phase = Phase.NewState;
        return (game.last, newState, index - entries);
    }

    /* TENSORS */

    /// @dev The number of the node whose tensor is picked.
    function tensor(bytes32 id, Game memory game, Game memory next, Pick calldata pick)
        internal
        view
        returns (uint256)
    {
        if (game.phase != Phase.Nodes && game.phase != Phase.NewState && game.phase != Phase.Trace) {
            revert IDisputeCourt.WrongPhase(id, game.phase);
        }
        (Posting memory parent,, uint256 index) = hash(id, game, next, pick);
        if (parent.level != 0) revert IDisputeCourt.WrongPhase(id, game.phase);
        ProgramHeader memory counts = Roots.counts(game.header);
        uint256 inputs = uint256(counts.state) + counts.constants + counts.parameters;
        return next.phase == Phase.Nodes ? inputs + index : inputs + counts.nodes - counts.newState + index;
    }
}
