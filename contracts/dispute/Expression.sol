// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "./Binary32.sol";
import {Int64} from "./Int64.sol";
import {Op} from "./Op.sol";

/// @notice Evaluates straight-line expressions: a value a word of memory, an f32's bits or a sign-extended integer.
/// @dev An instruction's arguments are numbers of values, nearly always a byte each. The EVM has no computed jump that
/// the compiler would make, so operations are found by halving; and it inlines a function only where nothing returns
/// early.
library Expression {
    /// @dev What an expression sees of the element it is for.
    struct Scope {
        /// Where the operands' values stand in memory; results follow.
        uint256 values;
        uint256 operands;
        /// The element's row-major number, and where its coordinates stand in memory.
        uint256 flat;
        uint256 point;
    }

    /// @dev High bits of the second and the third byte: set in a number of a value above 127.
    uint256 private constant LONG = 0x8080 << 232;

    /// @dev The last value, of a checked expression that stands in memory with a zero byte behind it.
    function evaluate(uint256 place, Scope memory scope) internal pure returns (uint256 result) {
        unchecked {
            uint256 values = scope.values;
            uint256 top = values + 32 * scope.operands;
            while (true) {
                uint256 word = _load(place);
                uint256 op = word >> 248;
                if (op < Op.FADD) {
                    if (op == 0) return _load(top - 32);
                    (result, place) = _leaf(op, word, place, scope);
                } else {
                    uint256 a;
                    uint256 b;
                    if (word & LONG == 0) {
                        a = _value(values, (word >> 240) & 0xff);
                        b = _value(values, (word >> 232) & 0xff);
                        place += 3;
                    } else {
                        (a, b, place) = _long(values, place, word);
                    }
                    if (op < Op.IADD) {
                        if (op < Op.FSQRT) {
                            result = _arithmetic(op, a, b);
                        } else if ((Op.TWO >> op) & 1 != 0) {
                            result = _comparison(op, a, b);
                        } else {
                            --place;
                            result = _single(op, a);
                        }
                    } else if (op < Op.ISHL) {
                        if (op < Op.INEG) {
                            result = _sum(op, a, b);
                        } else {
                            if (op < Op.IAND) --place;
                            result = _bitwise(op, a, b);
                        }
                    } else if (op < Op.ILT) {
                        result = _shift(op, a, b);
                    } else if (op == Op.SELECT) {
                        (result, place) = _argument(values, place);
                        if (a != 0) result = b;
                    } else {
                        result = _integers(op, a, b);
                    }
                }
                _store(top, result);
                top += 32;
            }
        }
    }

    /* OPERATIONS */

    function _arithmetic(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        if (op < Op.FMUL) {
            if (op != Op.FADD) b ^= 1 << 31;
            result = Binary32.add(a, b);
        } else if (op == Op.FMUL) {
            result = Binary32.mul(a, b);
        } else {
            result = Binary32.div(a, b);
        }
    }

    function _comparison(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        if (op < Op.FLT) {
            if (op == Op.FMIN) result = Binary32.min(a, b);
            else result = Binary32.max(a, b);
        } else if (op == Op.FLT) {
            result = Binary32.lt(a, b);
        } else if (op == Op.FLE) {
            result = Binary32.le(a, b);
        } else {
            result = Binary32.eq(a, b);
        }
    }

    function _single(uint256 op, uint256 a) private pure returns (uint256 result) {
        if (op < Op.FROUND) {
            if (op == Op.FSQRT) result = Binary32.sqrt(a);
            else if (op == Op.FNEG) result = Binary32.neg(a);
            else result = Binary32.abs(a);
        } else if (op < Op.I_TO_F) {
            if (op == Op.FROUND) result = Binary32.roundHalfEven(a);
            else result = uint256(Binary32.toInt64(a));
        } else if (op == Op.I_TO_F) {
            result = Binary32.fromInt64(int256(a));
        } else if (op == Op.F_BITS) {
            result = a;
        } else {
            result = Binary32.canonical(a & 0xffffffff);
        }
    }

    function _sum(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        int256 wrapped;
        if (op == Op.IADD) wrapped = Int64.add(int256(a), int256(b));
        else if (op == Op.ISUB) wrapped = Int64.sub(int256(a), int256(b));
        else wrapped = Int64.mul(int256(a), int256(b));
        result = uint256(wrapped);
    }

    function _bitwise(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        if (op == Op.IXOR) result = a ^ b;
        else if (op == Op.IOR) result = a | b;
        else if (op == Op.IAND) result = a & b;
        else if (op == Op.INEG) result = uint256(Int64.neg(int256(a)));
        else result = uint256(Int64.abs(int256(a)));
    }

    function _shift(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        int256 shifted;
        if (op == Op.ROTL32) shifted = Int64.rotl32(int256(a), int256(b));
        else if (op == Op.ISAR) shifted = Int64.sar(int256(a), int256(b));
        else if (op == Op.ISHL) shifted = Int64.shl(int256(a), int256(b));
        else shifted = Int64.shr(int256(a), int256(b));
        result = uint256(shifted);
    }

    function _integers(uint256 op, uint256 a, uint256 b) private pure returns (uint256 result) {
        int256 x = int256(a);
        int256 y = int256(b);
        if (op < Op.IMIN) {
            if (op == Op.ILT) x = Int64.lt(x, y);
            else if (op == Op.ILE) x = Int64.le(x, y);
            else x = Int64.eq(x, y);
        } else if (op < Op.IDIV) {
            if (op == Op.IMIN) x = Int64.min(x, y);
            else x = Int64.max(x, y);
        } else if (op == Op.IDIV) {
            x = Int64.div(x, y);
        } else {
            x = Int64.rem(x, y);
        }
        result = uint256(x);
    }

    function _leaf(uint256 op, uint256 word, uint256 place, Scope memory scope)
        private
        pure
        returns (uint256 result, uint256 next)
    {
        unchecked {
            if (op == Op.CONST_F32) {
                result = _littleEndian(word);
                next = place + 5;
            } else if (op == Op.CONST_I64) {
                (result, next) = _signed(place + 1);
            } else if (op == Op.INDEX) {
                result = _value(scope.point, (word >> 240) & 0xff);
                next = place + 2;
            } else {
                result = scope.flat;
                next = place + 1;
            }
        }
    }

    /* ARGUMENTS */

    /// @dev Two arguments that are not both of one byte; the second is nothing to an operation that takes one.
    function _long(uint256 values, uint256 place, uint256 word)
        private
        pure
        returns (uint256 a, uint256 b, uint256 next)
    {
        assembly ("memory-safe") {
            // A number's low seven digits and its high ones, each times the 32 bytes of a value.
            a := and(shr(235, word), 0xfe0)
            next := add(place, 4)
            switch and(shr(247, word), 1)
            case 0 { b := or(and(shr(227, word), 0xfe0), and(shr(212, word), 0x7f000)) }
            default {
                a := or(a, and(shr(220, word), 0x7f000))
                b := and(shr(219, word), 0xfe0)
                if and(shr(231, word), 1) {
                    b := or(b, and(shr(204, word), 0x7f000))
                    next := add(place, 5)
                }
            }
            a := mload(add(values, a))
            b := mload(add(values, b))
        }
    }

    /// @dev No expression has as many values as two bytes can number.
    function _argument(uint256 values, uint256 place) private pure returns (uint256 value, uint256 next) {
        assembly ("memory-safe") {
            let word := mload(place)
            let index := byte(0, word)
            next := add(place, 1)
            if gt(index, 0x7f) {
                index := or(and(index, 0x7f), shl(7, byte(1, word)))
                next := add(place, 2)
            }
            value := mload(add(values, shl(5, index)))
        }
    }

    /// @dev A zigzag integer.
    function _signed(uint256 place) private pure returns (uint256 value, uint256 next) {
        assembly ("memory-safe") {
            let word := mload(place)
            next := add(place, 1)
            value := byte(0, word)
            if gt(value, 0x7f) {
                value := and(value, 0x7f)
                for { let shift := 7 } 1 { shift := add(shift, 7) } {
                    word := shl(8, word)
                    next := add(next, 1)
                    let digit := byte(0, word)
                    value := or(value, shl(shift, and(digit, 0x7f)))
                    if lt(digit, 0x80) { break }
                }
            }
            value := xor(shr(1, value), sub(0, and(value, 1)))
        }
    }

    /* MEMORY */

    function _value(uint256 values, uint256 index) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(values, shl(5, index)))
        }
    }

    /// @dev Bytes 1 to 4.
    function _littleEndian(uint256 word) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := or(
                or(byte(1, word), shl(8, byte(2, word))), or(shl(16, byte(3, word)), shl(24, byte(4, word)))
            )
        }
    }

    function _load(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(place)
        }
    }

    function _store(uint256 place, uint256 word) private pure {
        assembly ("memory-safe") {
            mstore(place, word)
        }
    }
}
