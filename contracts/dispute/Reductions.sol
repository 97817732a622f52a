// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "./Binary32.sol";
import {Reads} from "./Reads.sol";
import {Types} from "./Types.sol";

/// @notice Sums and maxima over posted reads in calldata, from `place` up to `end`; each function takes the operands'
/// types. Sums are words of which the low 64 bits count: fewer than 2^16 terms of 128 bits cannot leave 256.
library Reductions {
    uint256 private constant EACH_BYTE = 0x0001000100010001000100010001000100010001000100010001000100010001;
    uint256 private constant EACH_PAIR = 0x0000000100000001000000010000000100000001000000010000000100000001;
    /// @dev Of fewer values than these, adding up bytes costs more than adding one value after the other.
    uint256 private constant FEW = 32;
    uint256 private constant LOW_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff00ff;

    /// @dev Of at most 8 KiB.
    function sum(uint256 place, uint256 end, uint256 dtype) internal pure returns (uint256 total) {
        unchecked {
            uint256 width = Types.width(dtype);
            uint256 sign = Types.sign(dtype);
            if (end - place >= FEW * width) return _sumBytes(place, end, width, sign);
            for (; place < end; place += width) {
                total += Reads.integer(place, width, sign);
            }
        }
    }

    function dot(uint256 place, uint256 end, uint256 a, uint256 b) internal pure returns (uint256 total) {
        unchecked {
            uint256 width = Types.width(a);
            uint256 other = Types.width(b);
            if (width + other == 2) return _dotBytes(place, end, Types.sign(a), Types.sign(b));
            if (width == 2 && other == 2) return _dotPairs(place, end, Types.sign(a), Types.sign(b));
            (a, b) = (Types.sign(a), Types.sign(b));
            while (place < end) {
                uint256 product = Reads.integer(place, width, a);
                place += width;
                total += product * Reads.integer(place, other, b);
                place += other;
            }
        }
    }

    /// @dev The greatest of values of a type that stand `stride` bytes apart.
    function max(uint256 place, uint256 end, uint256 dtype, uint256 stride) internal pure returns (uint256 best) {
        unchecked {
            best = Reads.load(place, dtype);
            uint256 width = Types.width(dtype);
            uint256 sign = Types.sign(dtype);
            for (place += stride; place < end; place += stride) {
                best = greater(dtype, best, Reads.integer(place, width, sign));
            }
        }
    }

    /// @dev The sum of the sources whose index is `row`.
    function scatterSum(uint256 place, uint256 end, uint256 index, uint256 source, uint256 row)
        internal
        pure
        returns (uint256 total)
    {
        unchecked {
            uint256 width = Types.width(index);
            uint256 other = Types.width(source);
            (index, source) = (Types.sign(index), Types.sign(source));
            while (place < end) {
                bool lands = Reads.integer(place, width, index) == row;
                place += width;
                if (lands) total += Reads.integer(place, other, source);
                place += other;
            }
        }
    }

    /// @dev The greatest of `best` and the sources whose index is `row`.
    function scatterMax(uint256 place, uint256 end, uint256 index, uint256 source, uint256 row, uint256 best)
        internal
        pure
        returns (uint256)
    {
        unchecked {
            uint256 width = Types.width(index);
            index = Types.sign(index);
            uint256 other = Types.width(source);
            uint256 sign = Types.sign(source);
            while (place < end) {
                bool lands = Reads.integer(place, width, index) == row;
                place += width;
                if (lands) best = greater(source, best, Reads.integer(place, other, sign));
                place += other;
            }
            return best;
        }
    }

    function greater(uint256 dtype, uint256 a, uint256 b) internal pure returns (uint256 result) {
        if (dtype == Types.F32) result = Binary32.max(a, b);
        else result = int256(a) > int256(b) ? a : b;
    }

    /// @dev Each of a word's bytes is summed over all words, in 16 bits, then shifted to its place.
    function _sumBytes(uint256 place, uint256 end, uint256 width, uint256 sign) private pure returns (uint256 total) {
        unchecked {
            uint256 flips = sign == 0 ? 0 : (type(uint256).max / ((1 << (8 * width)) - 1)) << 7;
            total -= ((end - place + 31) / 32) * (32 / width) * sign;
            uint256 even;
            uint256 odd;
            assembly ("memory-safe") {
                for { let whole := sub(end, 31) } lt(place, whole) { place := add(place, 32) } {
                    let word := xor(calldataload(place), flips)
                    even := add(even, and(shr(8, word), LOW_BYTES))
                    odd := add(odd, and(word, LOW_BYTES))
                }
            }
            if (place < end) {
                // Behind the end are zeros, which count as such.
                uint256 word = _word(place, end) ^ flips;
                even += (word >> 8) & LOW_BYTES;
                odd += word & LOW_BYTES;
            }
            // From a word's last byte on, which is a value's highest.
            for (uint256 i = 32; i != 0; even >>= 16) {
                total += (odd & 0xffff) << (8 * (--i % width));
                total += (even & 0xffff) << (8 * (--i % width));
                odd >>= 16;
            }
        }
    }

    /// @dev Sixteen positions a word; behind the end are zeros, whose products are none.
    function _dotBytes(uint256 place, uint256 end, uint256 signA, uint256 signB) private pure returns (uint256 total) {
        unchecked {
            uint256 flips = ((signA << 8) | signB) * EACH_BYTE;
            for (; place < end; place += 32) {
                uint256 word = _word(place, end) ^ flips;
                assembly ("memory-safe") {
                    function term(w, i, a, b) -> product {
                        product := mul(sub(byte(i, w), a), sub(byte(add(i, 1), w), b))
                    }
                    total := add(total, term(word, 0, signA, signB))
                    total := add(total, term(word, 2, signA, signB))
                    total := add(total, term(word, 4, signA, signB))
                    total := add(total, term(word, 6, signA, signB))
                    total := add(total, term(word, 8, signA, signB))
                    total := add(total, term(word, 10, signA, signB))
                    total := add(total, term(word, 12, signA, signB))
                    total := add(total, term(word, 14, signA, signB))
                    total := add(total, term(word, 16, signA, signB))
                    total := add(total, term(word, 18, signA, signB))
                    total := add(total, term(word, 20, signA, signB))
                    total := add(total, term(word, 22, signA, signB))
                    total := add(total, term(word, 24, signA, signB))
                    total := add(total, term(word, 26, signA, signB))
                    total := add(total, term(word, 28, signA, signB))
                    total := add(total, term(word, 30, signA, signB))
                }
            }
        }
    }

    /// @dev Eight positions a word, likewise.
    function _dotPairs(uint256 place, uint256 end, uint256 signA, uint256 signB) private pure returns (uint256 total) {
        unchecked {
            uint256 flips = ((signA << 16) | signB) * EACH_PAIR;
            for (; place < end; place += 32) {
                uint256 word = _word(place, end);
                word = (((word & LOW_BYTES) << 8) | ((word >> 8) & LOW_BYTES)) ^ flips;
                assembly ("memory-safe") {
                    function term(w, a, b) -> product {
                        product := mul(sub(and(shr(16, w), 0xffff), a), sub(and(w, 0xffff), b))
                    }
                    total := add(total, term(word, signA, signB))
                    total := add(total, term(shr(32, word), signA, signB))
                    total := add(total, term(shr(64, word), signA, signB))
                    total := add(total, term(shr(96, word), signA, signB))
                    total := add(total, term(shr(128, word), signA, signB))
                    total := add(total, term(shr(160, word), signA, signB))
                    total := add(total, term(shr(192, word), signA, signB))
                    total := add(total, term(shr(224, word), signA, signB))
                }
            }
        }
    }

    /// @dev 32 bytes of calldata, zero from `end` on.
    function _word(uint256 place, uint256 end) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(place)
            let left := sub(end, place)
            if lt(left, 32) {
                let behind := sub(256, shl(3, left))
                word := shl(behind, shr(behind, word))
            }
        }
    }
}
