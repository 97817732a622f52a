// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Clauses} from "./Clauses.sol";
import {Descriptor, Node} from "./Descriptor.sol";
import {Kinds} from "./Kinds.sol";
import {Prices} from "./Prices.sol";
import {Types} from "./Types.sol";
import {Typing} from "./Typing.sol";
import {Varint} from "./Varint.sol";

/// @notice Clauses about a descriptor alone, of bytes that are one. Those that are also about an operand look at the
/// one that is meant and no other.
library DescriptorRules {
    int256 private constant BOUND = 1 << 62;
    uint256 private constant PARAMETER = 2;
    uint256 private constant MAX_PARAMETER_BYTES = 1024;
    /// @dev By kind, a digit each: which operands are integers, a bit each.
    uint256 private constant INTEGERS = 0x13101300;

    /// @dev A descriptor in calldata, and the operand that is meant.
    struct Subject {
        uint256 start;
        uint256 end;
        uint256 operand;
        /// Whether there is such an operand, and where it stands.
        bool exists;
        uint256 place;
    }

    function breaks(uint256 clause, Node memory node, Subject memory subject) internal pure returns (bool) {
        subject.exists = subject.operand < node.operands;
        if (subject.exists) subject.place = Descriptor.operand(node, subject.operand);
        if (clause == Clauses.DIMENSION) return _dimension(node, subject);
        if (clause == Clauses.ELEMENTS) return _elements(node, subject);
        if (clause == Clauses.PARAMETER_SIZE) return _parameterSize(node);
        if (node.kind == Kinds.INPUT) return false;
        if (clause == Clauses.RANK) return Kinds.scatters(node.kind) && node.rank == 0;
        if (clause == Clauses.REDUCTION) return _reduction(node);
        if (clause == Clauses.AFFINE_BOUNDS) return subject.exists && _affineBounds(node, subject);
        if (clause == Clauses.FILL) return subject.exists && _fill(node, subject);
        if (clause == Clauses.KIND_TYPES) return _kindTypes(node, subject);
        if (clause == Clauses.PRICE) return Prices.justifyGas(node, subject.start, subject.end) > Prices.MOVE_LIMIT;
        if (clause == Clauses.GAME_LENGTH) {
            return Prices.partialRounds(node, subject.start, subject.end) > Prices.PARTIAL_ROUNDS;
        }
        // Whatever has the form of a descriptor keeps the others.
        return false;
    }

    /* SHAPES */

    function _dimension(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            (bool zero,) = _product(node.space, node.axes);
            if (zero || !subject.exists) return zero;
            (uint256 rank,,) = Descriptor.dimensions(subject.place + 1, node.space);
            (zero,) = _product(node.space, rank);
            return zero;
        }
    }

    function _elements(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            (, uint256 elements) = _product(node.space, node.rank);
            if (elements > Descriptor.MAX_ELEMENTS || !subject.exists) return elements > Descriptor.MAX_ELEMENTS;
            (uint256 rank,,) = Descriptor.dimensions(subject.place + 1, node.space);
            (, elements) = _product(node.space, rank);
            return elements > Descriptor.MAX_ELEMENTS;
        }
    }

    function _reduction(Node memory node) private pure returns (bool) {
        unchecked {
            if (!Kinds.reduces(node.kind)) return false;
            (, uint256 positions) = _product(node.space + 32 * node.rank, node.axes - node.rank);
            return node.axes == node.rank || positions > Descriptor.MAX_ELEMENTS;
        }
    }

    /// @dev Whether an extent is zero, and the product; once beyond any limit it stays there.
    function _product(uint256 extents, uint256 rank) private pure returns (bool zero, uint256 product) {
        unchecked {
            product = 1;
            for (uint256 end = extents + 32 * rank; extents < end; extents += 32) {
                uint256 extent;
                assembly ("memory-safe") {
                    extent := mload(extents)
                }
                if (extent == 0) zero = true;
                product *= extent;
                if (product > Descriptor.MAX_ELEMENTS) product = Descriptor.MAX_ELEMENTS + 1;
            }
        }
    }

    function _parameterSize(Node memory node) private pure returns (bool) {
        unchecked {
            return node.kind == Kinds.INPUT && Descriptor.byteAt(node.first) == PARAMETER
                && node.elements * Types.width(node.dtype) > MAX_PARAMETER_BYTES;
        }
    }

    /* INDEX MAPS */

    function _affineBounds(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            (uint256 axes, uint256 place) = _map(node, subject);
            for (; axes != 0; --axes) {
                int256 low;
                int256 high;
                (low, high, place) = _bounds(node, place);
                uint256 divisor;
                (divisor, place) = Varint.unsigned(place);
                if (low <= -BOUND || high >= BOUND || divisor + 1 >= uint256(BOUND)) return true;
            }
            return false;
        }
    }

    /// @dev The least and the greatest n of an axis over the whole space. Nothing overflows: 16 terms below 2^127.
    function _bounds(Node memory node, uint256 place) private pure returns (int256 low, int256 high, uint256 next) {
        unchecked {
            (low, next) = Varint.signed(place);
            high = low;
            for (uint256 axis; axis < node.axes; ++axis) {
                int256 reach;
                (reach, next) = Varint.signed(next);
                uint256 extents = node.space;
                assembly ("memory-safe") {
                    reach := mul(reach, sub(mload(add(extents, shl(5, axis))), 1))
                }
                if (reach < 0) low += reach;
                else high += reach;
            }
        }
    }

    function _fill(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            uint256 dtype = Descriptor.byteAt(subject.place);
            uint256 fill = Descriptor.fill(Descriptor.skipMap(node, subject.place, _unmapped(node, subject), 0), dtype);
            if (dtype == Types.F32) return !Types.isFloat(fill);
            uint256 sign = Types.sign(dtype);
            return (((fill & Types.mask(dtype)) ^ sign) - sign) != fill;
        }
    }

    /// @dev Whether the operand's map uses one of the first `count` axes of the space.
    function _uses(Node memory node, Subject memory subject, uint256 count) private pure returns (bool) {
        unchecked {
            (uint256 axes, uint256 place) = _map(node, subject);
            for (; axes != 0; --axes) {
                place = Varint.skip(place, 1);
                for (uint256 axis; axis < count; ++axis) {
                    uint256 coefficient;
                    (coefficient, place) = Varint.unsigned(place);
                    if (coefficient != 0) return true;
                }
                place = Varint.skip(place, node.axes - count + 1);
            }
            return false;
        }
    }

    /// @dev How many axes the operand's map has, and where it stands.
    function _map(Node memory node, Subject memory subject) private pure returns (uint256 axes, uint256 place) {
        unchecked {
            axes = Descriptor.byteAt(subject.place + 1);
            place = Varint.skip(subject.place + Descriptor.CODES, axes);
            axes -= _unmapped(node, subject);
        }
    }

    function _unmapped(Node memory node, Subject memory subject) private pure returns (uint256) {
        return node.kind == Kinds.GATHER && subject.operand == 1 ? 1 : 0;
    }

    /* TYPES */

    function _kindTypes(Node memory node, Subject memory subject) private pure returns (bool) {
        return _outputType(node, subject) || (subject.exists && _operandType(node, subject));
    }

    function _outputType(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            if (node.kind == Kinds.MAP) {
                (, bool float) = Typing.check(Descriptor.operand(node, node.operands), subject.end, node);
                return float != (node.dtype == Types.F32);
            }
            if (Kinds.sums(node.kind)) return node.dtype != Types.I64;
            return node.dtype != Descriptor.byteAt(Descriptor.operand(node, node.operands - 1));
        }
    }

    /// @dev Sums and indices are of integers; where a scatter's parts go depends on where they come from alone.
    function _operandType(Node memory node, Subject memory subject) private pure returns (bool) {
        unchecked {
            if (node.kind == Kinds.MAP) return false;
            bool integer = (INTEGERS >> (4 * node.kind + subject.operand)) & 1 != 0;
            if (integer && Descriptor.byteAt(subject.place) == Types.F32) return true;
            if (!Kinds.scatters(node.kind) || node.rank == 0) return false;
            return _uses(node, subject, subject.operand == 0 ? node.rank : 1);
        }
    }
}
