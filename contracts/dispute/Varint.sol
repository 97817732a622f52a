// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Variable-length integers in calldata: seven bits a byte, least significant first; signed ones are zigzag.
/// @dev A place is a byte's offset in calldata. Reading trusts that the form is canonical, which `ProgramValidity`
/// tells; of other bytes it makes some number and ends. Skipping and checking work on 32 bytes at once: a byte of a
/// word that ends an integer is one without its high bit, and bytes are counted by multiplication.
library Varint {
    uint256 private constant EACH = 0x0101010101010101010101010101010101010101010101010101010101010101;
    uint256 private constant HIGH = EACH << 7;
    /// @dev Bytes of the longest integer but its last one.
    uint256 private constant LONGEST = 9;
    /// @dev Digits of four bytes are put together by arithmetic: copies side by side, the i-th byte's digits taken of
    /// the i-th copy, and the residue modulo 2^32 - 1, which folds each of them to its place.
    uint256 private constant COPIES = (1 << 8) | (1 << 55) | (1 << 102) | (1 << 149);
    uint256 private constant DIGITS = (0x7f << 32) | (0x7f << 71) | (0x7f << 110) | (0x7f << 149);
    uint256 private constant FOLD = 0xffffffff;

    function unsigned(uint256 place) internal pure returns (uint256 value, uint256 next) {
        assembly ("memory-safe") {
            value := byte(0, calldataload(place))
            next := add(place, 1)
        }
        if (value > 0x7f) {
            next = skip(place, 1);
            value = _digits(place, next);
        }
    }

    function signed(uint256 place) internal pure returns (int256 value, uint256 next) {
        uint256 zigzag;
        (zigzag, next) = unsigned(place);
        assembly ("memory-safe") {
            value := xor(shr(1, zigzag), sub(0, and(zigzag, 1)))
        }
    }

    /// @dev The place behind the next `count` integers.
    function skip(uint256 place, uint256 count) internal pure returns (uint256 next) {
        assembly ("memory-safe") {
            next := place
            if count {
                let each := EACH
                let sums
                let found
                for {} 1 {} {
                    // Each byte holds how many integers end in it and the bytes behind it; the first one, in the word.
                    sums := mul(and(shr(7, not(calldataload(next))), each), each)
                    found := shr(248, sums)
                    if iszero(lt(found, count)) { break }
                    count := sub(count, found)
                    next := add(next, 32)
                }
                // A byte stands before the last one's end if more than the rest of the word's end behind it.
                sums := add(shl(8, sums), mul(each, sub(add(127, count), found)))
                next := add(add(next, 1), shr(248, mul(and(shr(7, sums), each), each)))
            }
        }
    }

    /// @dev Whether the bytes from `place` up to `next`, where an integer ends, are integers of at most 64 bits in
    /// their shortest form: none of more than one byte ends in a zero, and behind nine that go on stands a one.
    function canonical(uint256 place, uint256 next) internal pure returns (bool) {
        unchecked {
            uint256 first = place;
            for (; place < next; place += 32) {
                uint256 word = _word(place);
                uint256 left = next - place;
                if (left < 32) word = ((word >> (256 - 8 * left)) << (256 - 8 * left)) | (EACH >> (8 * left));
                uint256 goesOn = place == first ? word >> 8 : _word(place - 1);
                if (_zeros(word) & goesOn != 0) return false;
                for (uint256 i = 2; goesOn & HIGH != 0; ++i) {
                    goesOn &= place == first ? word >> (8 * i) : _word(place - i);
                    if (i == LONGEST) {
                        goesOn &= HIGH;
                        if (_zeros(word ^ EACH) & goesOn != goesOn) return false;
                        break;
                    }
                }
            }
            return true;
        }
    }

    /// @dev How many of the bytes from `place` up to `end` are zero.
    function zeroBytes(uint256 place, uint256 end) internal pure returns (uint256 count) {
        unchecked {
            for (; place < end; place += 32) {
                uint256 word = _word(place);
                if (end - place < 32) word |= type(uint256).max >> (8 * (end - place));
                count += ((_zeros(word) >> 7) * EACH) >> 248;
            }
        }
    }

    /// @dev The low 64 bits of an integer of several bytes.
    function _digits(uint256 place, uint256 next) private pure returns (uint256 value) {
        assembly ("memory-safe") {
            let behind := sub(256, shl(3, sub(next, place)))
            let word := shl(behind, shr(behind, calldataload(place)))
            value := mod(and(mul(shr(224, word), COPIES), DIGITS), FOLD)
            word := shl(32, word)
            if word {
                value := or(value, shl(28, mod(and(mul(shr(224, word), COPIES), DIGITS), FOLD)))
                word := and(shr(192, word), FOLD)
                value := or(value, shl(56, mod(and(mul(word, COPIES), DIGITS), FOLD)))
                value := and(value, 0xffffffffffffffff)
            }
        }
    }

    /// @dev The high bit of every byte that is zero.
    function _zeros(uint256 word) private pure returns (uint256) {
        unchecked {
            return ~(((word & ~HIGH) + ~HIGH) | word) & HIGH;
        }
    }

    function _word(uint256 place) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := calldataload(place)
        }
    }
}
