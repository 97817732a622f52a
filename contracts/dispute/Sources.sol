// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, IDisputeCourt, Shard, Source} from "../interfaces/IDisputeCourt.sol";
import {Read} from "../interfaces/INodeEvaluator.sol";
import {ProgramHeader} from "../interfaces/IProgramValidity.sol";
import {Merkle} from "./Merkle.sol";
import {Picks} from "./Picks.sol";
import {Roots} from "./Roots.sol";
import {Words} from "./Words.sol";

/// @notice Where a read's true value is: under the state before the step, the shard's constants or parameters, or the
/// deepest posting above an earlier node.
library Sources {
    uint256 private constant FIXED = 35;

    /// @dev The node that an operand reads: it stands before the disputed one.
    function producer(Game memory game, bytes calldata operands, uint256 operand)
        internal
        pure
        returns (uint256 number)
    {
        bytes32 given = keccak256(operands);
        if (given != game.tensor.operands) revert IDisputeCourt.WrongOpening(game.tensor.operands, given);
        if (operand >= operands.length / 4) revert IDisputeCourt.OutsideCount(operand, operands.length / 4);
        number = Words.number(operands, 4 * operand, 4);
        if (number >= game.tensor.node) revert IDisputeCourt.OperandNotBefore(number, game.tensor.node);
    }

    /// @dev The value that a read should have.
    function value(Game memory game, uint256 node, Read memory read, Source calldata source)
        internal
        view
        returns (uint256)
    {
        bytes32 root = sha256(source.head);
        _requireTensor(game, node, root, source);
        _requireHead(root, source.head, read);
        uint256 size = read.elements * read.width;
        uint256 offset = read.source * read.width;
        uint256 index = offset / Merkle.LEAF;
        uint256 rest = size - index * Merkle.LEAF;
        uint256 length = rest < Merkle.LEAF ? rest : Merkle.LEAF;
        if (source.leaf.length != length) revert IDisputeCourt.WrongLength(source.leaf.length, length);
        bytes32 raw = Merkle.top(Merkle.leafHash(source.leaf), index, Picks.leaves(size), source.leafPath);
        Merkle.requireEqual(raw, bytes32(source.head[source.head.length - 32:]));
        return Words.number(source.leaf, offset % Merkle.LEAF, read.width);
    }

    /// @dev Requires that the node's output is this tensor, under what is agreed.
    function _requireTensor(Game memory game, uint256 node, bytes32 root, Source calldata source) private view {
        ProgramHeader memory counts = Roots.counts(game.header);
        uint256 place = node;
        if (place < counts.state) return _requireListed(Roots.STATE, counts.state, game.pred, root, place, source.path);
        place -= counts.state;
        if (place < counts.constants) {
            bytes32 list = _shard(game, source.shard).constants;
            return _requireListed(Roots.CONSTANTS, counts.constants, list, root, place, source.path);
        }
        place -= counts.constants;
        if (place < counts.parameters) {
            bytes32 list = _shard(game, source.shard).parameters;
            return _requireListed(Roots.PARAMETERS, counts.parameters, list, root, place, source.path);
        }
        place -= counts.parameters;
        if (place >= counts.nodes - counts.newState) revert IDisputeCourt.OperandNotBefore(node, game.tensor.node);
        Picks.openBelow(Picks.deepest(game.stack, place), root, place, source.path);
    }

    function _requireListed(
        uint8 kind,
        uint256 count,
        bytes32 list,
        bytes32 root,
        uint256 place,
        bytes32[] calldata path
    ) private view {
        Merkle.requireEqual(Roots.list(kind, count, Merkle.top(root, place, count, path)), list);
    }

    function _shard(Game memory game, Shard calldata shard) private pure returns (Shard calldata) {
        Merkle.requireEqual(Roots.shard(shard), game.shard);
        return shard;
    }

    /// @dev Requires a tensor of the operand's type and size: `02 || type || rank || dimensions || raw root`.
    function _requireHead(bytes32 root, bytes calldata head, Read memory read) private pure {
        bool fits = head.length >= FIXED && head[0] == 0x02 && uint8(head[1]) == read.dtype
            && head.length == FIXED + 8 * uint256(uint8(head[2])) && uint8(head[2]) <= 8;
        uint256 elements = 1;
        for (uint256 i = 3; fits && i + 32 < head.length; i += 8) {
            uint256 extent = Roots.le64(uint64(bytes8(head[i:i + 8])));
            // Together at most 2^41 before the comparison fails, so that nothing overflows.
            fits = extent != 0 && extent <= read.elements && (elements *= extent) <= read.elements;
        }
        if (!fits || elements != read.elements) revert IDisputeCourt.WrongHead(root);
    }
}
