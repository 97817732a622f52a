// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Descriptor, Node} from "./Descriptor.sol";
import {Kinds} from "./Kinds.sol";
import {Types} from "./Types.sol";
import {Typing} from "./Typing.sol";
import {Varint} from "./Varint.sol";

/// @notice Whether bytes are a canonical descriptor: the strict form of what `Descriptor` reads. Exactly what
/// orebit/program/descriptor.py decodes.
library WellFormed {
    /// @dev Inputs come from the state, the constants or the parameters.
    uint256 private constant SOURCES = 3;

    /// @dev Whether `[place, end)` is a descriptor of which so many bytes are the head.
    function isDescriptor(uint256 place, uint256 end, uint256 headLength) internal pure returns (bool) {
        unchecked {
            uint256 split = place + headLength;
            if (end - place > Descriptor.MAX_BYTES || !_isHead(place, end, split)) return false;
            uint256 kind = Descriptor.byteAt(place);
            if (kind == Kinds.INPUT) return _isInput(split, end);
            Node memory node = Descriptor.parse(place);
            uint256 next = split;
            if (Kinds.reduces(kind)) next = _shape(split, end);
            else if (kind == Kinds.MAP) ++next;
            if (next > end || node.operands > Descriptor.MAX_OPERANDS) return false;
            for (uint256 operand; operand < node.operands; ++operand) {
                next = _operand(node, next, end, kind == Kinds.GATHER && operand == 1 ? 1 : 0);
                if (next > end) return false;
            }
            if (kind != Kinds.MAP) return next == end;
            (bool wellFormed,) = Typing.check(next, end, node);
            return wellFormed;
        }
    }

    function _isHead(uint256 place, uint256 end, uint256 split) private pure returns (bool) {
        unchecked {
            if (end - place < Descriptor.CODES) return false;
            if (Descriptor.byteAt(place) >= Kinds.COUNT || Descriptor.byteAt(place + 1) >= Types.COUNT) return false;
            return split <= end && _shape(place + Descriptor.CODES, end) == split;
        }
    }

    function _isInput(uint256 place, uint256 end) private pure returns (bool) {
        unchecked {
            return Descriptor.byteAt(place) < SOURCES && _integers(place + 1, end, 1) == end;
        }
    }

    /// @dev The place behind a rank and its dimensions; beyond `end` if they are not well formed.
    function _shape(uint256 place, uint256 end) private pure returns (uint256) {
        unchecked {
            uint256 rank = Descriptor.byteAt(place);
            if (rank > Descriptor.MAX_RANK) return end + 1;
            return _integers(place + 1, end, rank);
        }
    }

    /// @dev The place behind an operand, likewise.
    function _operand(Node memory node, uint256 place, uint256 end, uint256 unmapped) private pure returns (uint256) {
        unchecked {
            uint256 rank = Descriptor.byteAt(place + 1);
            if (Descriptor.byteAt(place) >= Types.COUNT) return end + 1;
            if (rank > Descriptor.MAX_RANK || rank < unmapped) return end + 1;
            return _integers(place + Descriptor.CODES, end, rank + (rank - unmapped) * (node.axes + 2) + 1);
        }
    }

    /// @dev The place behind so many integers, likewise.
    function _integers(uint256 place, uint256 end, uint256 count) private pure returns (uint256 next) {
        next = Varint.skip(place, count);
        if (next <= end && !Varint.canonical(place, next)) next = end + 1;
    }
}
