// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Kinds} from "./Kinds.sol";
import {Types} from "./Types.sol";
import {Varint} from "./Varint.sol";

/// @notice A descriptor as far as its operands: all but an input has these parts.
struct Node {
    uint256 kind;
    uint256 dtype;
    /// Axes of the output.
    uint256 rank;
    uint256 elements;
    /// Axes of the output and of the reduction.
    uint256 axes;
    /// Positions of the reduction, 1 where there is none.
    uint256 length;
    uint256 operands;
    /// Where the first operand stands in calldata.
    uint256 first;
    /// Where the extents of the iteration space stand in memory, a word each.
    uint256 space;
}

/// @notice Reads canonical descriptors (docs/protocol.md, 4) from calldata.
library Descriptor {
    uint256 internal constant MAX_BYTES = 4096;
    uint256 internal constant MAX_RANK = 8;
    uint256 internal constant MAX_OPERANDS = 32;
    uint256 internal constant MAX_ELEMENTS = 1 << 40;
    /// @dev Kind and type, in front of the dimensions; type and rank of an operand.
    uint256 internal constant CODES = 2;

    /// @dev The parts in front of the operands. An input's body is not read.
    function parse(uint256 place) internal pure returns (Node memory node) {
        unchecked {
            node.kind = byteAt(place);
            node.dtype = byteAt(place + 1);
            assembly ("memory-safe") {
                mstore(add(node, 0x100), mload(0x40))
                mstore(0x40, add(mload(0x40), 512))
            }
            place += CODES;
            (node.rank, node.elements, place) = dimensions(place, node.space);
            node.axes = node.rank;
            node.length = 1;
            if (node.kind == Kinds.MAP) {
                node.operands = byteAt(place);
                ++place;
            } else {
                node.operands = Kinds.arity(node.kind);
                if (Kinds.reduces(node.kind)) {
                    uint256 reduced;
                    (reduced, node.length, place) = dimensions(place, node.space + 32 * node.rank);
                    node.axes += reduced;
                }
            }
            node.first = place;
        }
    }

    /// @dev Reads a shape of at most 8 axes and writes its extents to memory. The product is exact if it is valid.
    function dimensions(uint256 place, uint256 to)
        internal
        pure
        returns (uint256 rank, uint256 product, uint256 next)
    {
        unchecked {
            rank = byteAt(place);
            if (rank > MAX_RANK) rank = MAX_RANK;
            product = 1;
            next = place + 1;
            for (uint256 end = to + 32 * rank; to < end; to += 32) {
                uint256 extent;
                (extent, next) = Varint.unsigned(next);
                product *= extent;
                assembly ("memory-safe") {
                    mstore(to, extent)
                }
            }
        }
    }

    /// @dev Where an operand stands; of the number behind the last one, where the expression does.
    function operand(Node memory node, uint256 index) internal pure returns (uint256 place) {
        unchecked {
            place = node.first;
            for (; index != 0; --index) {
                place = skipOperand(node, place, 0);
            }
        }
    }

    /// @dev The place behind an operand: its shape, its index map and its fill are one run of integers.
    function skipOperand(Node memory node, uint256 place, uint256 unmapped) internal pure returns (uint256) {
        return skipMap(node, place, unmapped, 1);
    }

    /// @dev The place behind an operand's index map; `more` integers behind it are skipped as well. The second operand
    /// of a gather has an axis without a map.
    function skipMap(Node memory node, uint256 place, uint256 unmapped, uint256 more) internal pure returns (uint256) {
        unchecked {
            uint256 rank = byteAt(place + 1);
            uint256 mapped = rank < unmapped ? 0 : rank - unmapped;
            return Varint.skip(place + CODES, rank + mapped * (node.axes + 2) + more);
        }
    }

    /// @dev An operand's fill as what it is loaded as.
    function fill(uint256 place, uint256 dtype) internal pure returns (uint256 value) {
        if (dtype == Types.F32) {
            (value,) = Varint.unsigned(place);
        } else {
            (int256 integer,) = Varint.signed(place);
            value = uint256(integer);
        }
    }

    /// @dev So many bytes, the first one the highest.
    function bytesAt(uint256 place, uint256 count) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := shr(sub(256, shl(3, count)), calldataload(place))
        }
    }

    function byteAt(uint256 place) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := byte(0, calldataload(place))
        }
    }
}
