// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "../../contracts/dispute/Binary32.sol";

/// @notice Rounding, for every argument there is: what the court computes beside what IEEE 754 says, by solver.
/// @dev A finite float is `significand(a) * 2^(scale(a) - 149)`.
contract RoundingCheck {
    uint256 private constant SIGN = 1 << 31;
    uint256 private constant INFINITY = 0x7f800000;
    uint256 private constant NAN = 0x7fc00000;
    uint256 private constant HIDDEN = 0x00800000;

    /// @dev Every 64-bit integer: its first 24 digits, rounded to even, and its length.
    function check_fromInt64(int64 value) external pure {
        uint256 result = Binary32.fromInt64(value);
        uint256 magnitude = uint256(value < 0 ? -int256(value) : int256(value));
        uint256 length = _length(magnitude);
        if (length == 0) return _assertEqual(result, 0);
        assert(result >> 31 == (value < 0 ? 1 : 0));
        uint256 kept = length > 24 ? _halfEven(magnitude, length - 24) : magnitude << (24 - length);
        // All ones carry into the exponent: so it is added.
        _assertEqual(result & (SIGN - 1), ((126 + length) << 23) + kept - HIDDEN);
    }

    /// @dev Every float: the nearest integral one.
    function check_roundHalfEven(uint32 bits) external pure {
        uint256 a = bits;
        uint256 result = Binary32.roundHalfEven(a);
        if (a & (SIGN - 1) > INFINITY) return _assertEqual(result, NAN);
        uint256 scale = _split(_scale(a));
        if (scale >= 149) return _assertEqual(result, a);
        assert(result >> 31 == a >> 31);
        uint256 whole = _halfEven(_significand(a), 149 - scale);
        uint256 length = _length(whole);
        uint256 expected = length == 0 ? 0 : ((126 + length) << 23) + (whole << (24 - length)) - HIDDEN;
        _assertEqual(result & (SIGN - 1), expected);
    }

    /// @dev Every float: the nearest 64-bit integer, or the last.
    function check_toInt64(uint32 bits) external pure {
        uint256 a = bits;
        int256 result = Binary32.toInt64(a);
        bool negative = a >> 31 == 1;
        if (a & (SIGN - 1) > INFINITY) return assert(result == 0);
        uint256 scale = _split(_scale(a));
        // 2^63 and more.
        if (scale >= 189) return assert(result == (negative ? type(int64).min : type(int64).max));
        uint256 whole = scale >= 149 ? _significand(a) << (scale - 149) : _halfEven(_significand(a), 149 - scale);
        assert(result == (negative ? -int256(whole) : int256(whole)));
    }

    /// @dev Sums of one sign, exponents of which lie less than 64 apart.
    function check_sumIsNearest(uint32 bits, uint32 others) external pure {
        (uint256 a, uint256 b) = (uint256(bits) & (SIGN - 1), uint256(others) & (SIGN - 1));
        if (a < b || a >= INFINITY || _scale(a) - _scale(b) > 63) return;
        uint256 low = _scale(b);
        uint256 exact = (_significand(a) << (_scale(a) - low)) + _significand(b);
        uint256 result = Binary32.add(a, b);
        if (result == INFINITY) {
            return _assertOverflows(exact, low);
        }
        _assertNearestAt(result, exact, low);
    }

    /// @dev Differences likewise: they may cancel.
    function check_differenceIsNearest(uint32 bits, uint32 others) external pure {
        (uint256 a, uint256 b) = (uint256(bits) & (SIGN - 1), uint256(others) & (SIGN - 1));
        if (a < b || a >= INFINITY || _scale(a) - _scale(b) > 63) return;
        uint256 low = _scale(b);
        uint256 exact = (_significand(a) << (_scale(a) - low)) - _significand(b);
        uint256 result = Binary32.sub(a, b);
        if (exact == 0) assert(result == 0);
        else _assertNearestAt(result, exact, low);
    }

    /// @dev Beyond any influence: the greater itself.
    function check_farSumIsTheGreater(uint32 bits, uint32 others) external pure {
        (uint256 a, uint256 b) = (uint256(bits), uint256(others));
        (uint256 x, uint256 y) = (a & (SIGN - 1), b & (SIGN - 1));
        if (x >= INFINITY || y > x || _scale(a) - _scale(b) < 27 || x < HIDDEN) return;
        assert(Binary32.add(a, b) == a);
        assert(Binary32.add(b, a) == a);
    }

    function check_sumCommutes(uint32 bits, uint32 others) external pure {
        assert(Binary32.add(bits, others) == Binary32.add(others, bits));
    }

    /// @dev Products of normal floats that are normal: the first 24 digits of the exact one, rounded to even.
    function check_product(uint32 bits, uint32 others) external pure {
        (uint256 a, uint256 b) = (uint256(bits) & (SIGN - 1), uint256(others) & (SIGN - 1));
        if (a < HIDDEN || b < HIDDEN || a >= INFINITY || b >= INFINITY) return;
        uint256 exact = ((a & (HIDDEN - 1)) | HIDDEN) * ((b & (HIDDEN - 1)) | HIDDEN);
        uint256 fields = (a >> 23) + (b >> 23);
        uint256 result = Binary32.mul(a, b);
        if (exact >> 47 == 1) {
            if (fields < 127 || fields > 379) return;
            _assertEqual(result, ((fields - 126) << 23) + _halfEven(exact, 24) - HIDDEN);
        } else {
            if (fields < 128 || fields > 380) return;
            _assertEqual(result, ((fields - 127) << 23) + _halfEven(exact, 23) - HIDDEN);
        }
    }

    function _assertOverflows(uint256 exact, uint256 scale) private pure {
        // (2^25 - 1) * 2^(253 - 1): halfway beyond the greatest.
        assert(scale >= 205 || exact >= 0x1ffffff << (252 - scale));
    }

    /* EXACT NUMBERS */

    function _significand(uint256 a) private pure returns (uint256) {
        return (a >> 23) & 0xff == 0 ? a & (HIDDEN - 1) : (a & (HIDDEN - 1)) | HIDDEN;
    }

    /// @dev Above the least place, 2^-149.
    function _scale(uint256 a) private pure returns (uint256) {
        uint256 field = (a >> 23) & 0xff;
        return field == 0 ? 0 : field - 1;
    }

    /// @dev `m / 2^places`, in the words of the standard: to the nearest, ties to even.
    function _halfEven(uint256 m, uint256 places) private pure returns (uint256 kept) {
        kept = m >> places;
        uint256 rest = m - (kept << places);
        uint256 half = (1 << places) >> 1;
        if (rest > half || (rest == half && kept & 1 == 1)) ++kept;
    }

    /// @dev Digits of a number; known on each path.
    function _length(uint256 number) private pure returns (uint256 length) {
        while (number >> length != 0) ++length;
    }

    /// @dev The same number; known on each path.
    function _split(uint256 scale) private pure returns (uint256 known) {
        while (known != scale) ++known;
    }

    function _assertEqual(uint256 given, uint256 expected) private pure {
        assert(given == expected);
    }

    /// @dev Of `exact * 2^(low - 149)`.
    function _assertNearestAt(uint256 result, uint256 exact, uint256 low) private pure {
        assert(result < INFINITY);
        uint256 scale = _scale(result);
        // A result of lesser places than its terms' is exact.
        if (scale <= low) {
            assert(_significand(result) == exact << (low - scale));
            return;
        }
        _assertNear(result, _significand(result) << (scale - low), exact, scale - low);
    }

    /// @dev @param place log2 of the result's last place.
    function _assertNear(uint256 result, uint256 given, uint256 exact, uint256 place) private pure {
        uint256 unit = 1 << place;
        uint256 distance = exact < given ? given - exact : exact - given;
        // Below a power of two places are half as wide, but not below the least normal one.
        bool narrow = exact < given && result & (HIDDEN - 1) == 0 && _scale(result) != 0;
        if (narrow) unit >>= 1;
        assert(2 * distance < unit || (2 * distance == unit && (narrow || result & 1 == 0)) || distance == 0);
    }
}
