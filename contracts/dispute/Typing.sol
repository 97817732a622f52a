// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Descriptor, Node} from "./Descriptor.sol";
import {Op} from "./Op.sol";
import {Reads} from "./Reads.sol";
import {Types} from "./Types.sol";
import {Varint} from "./Varint.sol";

/// @notice Whether bytes are an expression, and whether it gives a float: as orebit/program/expression.py.
library Typing {
    /// @dev Types of the values so far.
    struct Values {
        /// Where they stand in memory: a byte each, 1 of a float.
        uint256 first;
        uint256 count;
        /// Axes of the output, for indices.
        uint256 rank;
        bool wellFormed;
    }

    /// @dev Types the expression from `place` up to `end`, of at most 4,096 bytes.
    function check(uint256 place, uint256 end, Node memory node) internal pure returns (bool wellFormed, bool float) {
        unchecked {
            Values memory values = _operands(node);
            while (place < end && values.wellFormed) {
                place = _instruction(place, values);
            }
            if (values.count == 0) return (false, false);
            return (values.wellFormed && place == end, _isFloat(values, values.count - 1));
        }
    }

    function _operands(Node memory node) private pure returns (Values memory values) {
        unchecked {
            assembly ("memory-safe") {
                mstore(values, mload(0x40))
                // An instruction takes a byte at least.
                mstore(0x40, add(mload(0x40), 8192))
            }
            values.rank = node.rank;
            values.wellFormed = true;
            uint256 place = node.first;
            for (uint256 operand; operand < node.operands; ++operand) {
                _push(values, Descriptor.byteAt(place) == Types.F32);
                place = Descriptor.skipOperand(node, place, 0);
            }
        }
    }

    function _instruction(uint256 place, Values memory values) private pure returns (uint256 next) {
        unchecked {
            uint256 op = Descriptor.byteAt(place);
            next = place + 1;
            bool takesFloats = (Op.TAKE_FLOATS >> op) & 1 != 0;
            bool float = (Op.GIVE_FLOATS >> op) & 1 != 0;
            if ((Op.TWO >> op) & 1 != 0) {
                next = _arguments(next, values, takesFloats);
            } else if ((Op.LEAVES >> op) & 1 != 0) {
                next = _leaf(op, next, values);
            } else if ((Op.ONE >> op) & 1 != 0) {
                next = _argument(next, values, takesFloats);
            } else if (op == Op.SELECT) {
                next = _argument(next, values, false);
                (uint256 taken,) = _number(next);
                float = _isFloat(values, taken);
                next = _argument(_argument(next, values, float), values, float);
            } else {
                values.wellFormed = false;
            }
            _push(values, float);
        }
    }

    function _leaf(uint256 op, uint256 place, Values memory values) private pure returns (uint256 next) {
        unchecked {
            next = place;
            if (op == Op.CONST_F32) {
                next += 4;
                if (!Types.isFloat(Reads.raw(place, 4))) values.wellFormed = false;
            } else if (op == Op.CONST_I64) {
                next = Varint.skip(place, 1);
                if (!Varint.canonical(place, next)) values.wellFormed = false;
            } else if (op == Op.INDEX) {
                ++next;
                if (Descriptor.byteAt(place) >= values.rank) values.wellFormed = false;
            }
        }
    }

    /// @dev Two of one type; most are numbered by a byte each.
    function _arguments(uint256 place, Values memory values, bool float) private pure returns (uint256 next) {
        bool long;
        bool wrong;
        assembly ("memory-safe") {
            let word := calldataload(place)
            let a := byte(0, word)
            let b := byte(1, word)
            next := add(place, 2)
            long := gt(or(a, b), 0x7f)
            let types := mload(values)
            let count := mload(add(values, 32))
            wrong := iszero(and(lt(a, count), lt(b, count)))
            wrong := or(wrong, xor(byte(0, mload(add(types, a))), float))
            wrong := or(wrong, xor(byte(0, mload(add(types, b))), float))
        }
        if (long) return _argument(_argument(place, values, float), values, float);
        if (wrong) values.wellFormed = false;
    }

    function _argument(uint256 place, Values memory values, bool float) private pure returns (uint256 next) {
        unchecked {
            uint256 index = Descriptor.byteAt(place);
            next = place + 1;
            if (index > 0x7f) (index, next) = _number(place);
            if (index >= values.count || _isFloat(values, index) != float) values.wellFormed = false;
        }
    }

    /// @dev Number of a value; one that no expression has where the form is not the shortest.
    function _number(uint256 place) private pure returns (uint256 value, uint256 next) {
        unchecked {
            value = Descriptor.byteAt(place);
            next = place + 1;
            if (value > 0x7f) {
                uint256 high = Descriptor.byteAt(next);
                ++next;
                value = high == 0 || high > 0x7f ? 0x3fff : (value & 0x7f) | (high << 7);
            }
        }
    }

    function _push(Values memory values, bool float) private pure {
        assembly ("memory-safe") {
            let count := mload(add(values, 32))
            mstore8(add(mload(values), count), float)
            mstore(add(values, 32), add(count, 1))
        }
    }

    function _isFloat(Values memory values, uint256 index) private pure returns (bool float) {
        assembly ("memory-safe") {
            float := eq(byte(0, mload(add(mload(values), index))), 1)
        }
    }
}
