// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Descriptor, Node} from "./Descriptor.sol";
import {Varint} from "./Varint.sol";

/// @notice Where an operand's index map leads from a point of the iteration space.
/// @dev Per source axis `n = offset + sum(coefficient[k] * i[k])`; the coordinate is `n / divisor`. If the divisor does
/// not divide n, which is tested first, or the coordinate is out of range, the fill is read. In valid descriptors no
/// sum leaves 63 bits, so 256 never overflow.
library IndexMap {
    /// @dev Which view is read, and where.
    struct Lookup {
        /// Where the operand stands in calldata.
        uint256 operand;
        /// Where the point's coordinates stand in memory.
        uint256 point;
        /// Whether axis 0 is read at `row` rather than through the map: the second operand of a gather.
        bool gathered;
        int256 row;
    }

    /// @return inside Whether it leads to an element.
    /// @return source The element's row-major number, 0 outside.
    /// @return elements Of the view.
    /// @return fillAt Where the operand's fill stands in calldata.
    function locate(Node memory node, Lookup memory lookup)
        internal
        pure
        returns (bool inside, uint256 source, uint256 elements, uint256 fillAt)
    {
        unchecked {
            uint256 rank = Descriptor.byteAt(lookup.operand + 1);
            uint256 extents = lookup.operand + Descriptor.CODES;
            fillAt = Varint.skip(extents, rank);
            inside = true;
            elements = 1;
            for (uint256 axis; axis < rank; ++axis) {
                uint256 extent;
                int256 coordinate = lookup.row;
                (extent, extents) = Varint.unsigned(extents);
                if (axis != 0 || !lookup.gathered) {
                    bool divides;
                    (coordinate, divides, fillAt) = _coordinate(fillAt, node.axes, lookup.point);
                    inside = inside && divides;
                }
                // A negative coordinate is a huge unsigned one.
                inside = inside && uint256(coordinate) < extent;
                source = source * extent + uint256(coordinate);
                elements *= extent;
            }
            if (!inside) source = 0;
        }
    }

    function _coordinate(uint256 place, uint256 axes, uint256 point)
        private
        pure
        returns (int256 coordinate, bool divides, uint256 next)
    {
        unchecked {
            (coordinate, next) = Varint.signed(place);
            for (uint256 end = point + 32 * axes; point < end; point += 32) {
                int256 coefficient;
                (coefficient, next) = Varint.signed(next);
                assembly ("memory-safe") {
                    coordinate := add(coordinate, mul(coefficient, mload(point)))
                }
            }
            uint256 divisor;
            (divisor, next) = Varint.unsigned(next);
            ++divisor;
            assembly ("memory-safe") {
                divides := iszero(smod(coordinate, divisor))
                coordinate := sdiv(coordinate, divisor)
            }
        }
    }
}
