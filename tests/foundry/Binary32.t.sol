// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "../../contracts/dispute/Binary32.sol";
import {requireEqual, requireThat} from "./Assertions.sol";
import {ExactRounding} from "./ExactRounding.sol";

/// @notice Arithmetic of finite floats, and of NaNs and infinities, beside the exact numbers.
contract Binary32Test {
    uint256 private constant SIGN = 1 << 31;
    uint256 private constant INFINITY = 0x7f800000;
    uint256 private constant NAN = 0x7fc00000;

    function testFuzz_add(uint256 seed) external pure {
        (uint256 a, uint256 b) = _pair(seed);
        requireEqual("sum", Binary32.add(a, b), _sum(a, b));
        requireEqual("difference", Binary32.sub(a, b), _isNan(b) ? NAN : _sum(a, b ^ SIGN));
    }

    function testFuzz_mul(uint256 seed) external pure {
        (uint256 a, uint256 b) = _pair(seed);
        requireEqual("product", Binary32.mul(a, b), _product(a, b));
    }

    function testFuzz_div(uint256 seed) external pure {
        (uint256 a, uint256 b) = _pair(seed);
        requireEqual("quotient", Binary32.div(a, b), _quotient(a, b));
    }

    /// @dev The root's square lies between those of the halves on its both sides.
    function testFuzz_sqrt(uint256 seed) external pure {
        uint256 a = _float(seed);
        uint256 root = Binary32.sqrt(a);
        if (_isNan(a) || (a >> 31 == 1 && a != SIGN)) return requireEqual("no root", root, NAN);
        if (a & (SIGN - 1) == 0 || a == INFINITY) return requireEqual("itself", root, a);
        (, uint256 m, int256 e) = ExactRounding.number(a);
        (, uint256 r, int256 f) = ExactRounding.number(root);
        requireThat("normal", r >= 2 ** 23 && root >> 31 == 0);
        // 4 m 2^e against ((2 r -+ 1) 2^f)^2, all as integers times 2^(2f).
        if (e < 2 * f) (r, f) = (r * 2 ** uint256(2 * f - e), 2 * f - e);
        else (m, f) = (m * 2 ** uint256(e - 2 * f), 0);
        _requireRoot(m, r, uint256(f));
    }

    function _requireRoot(uint256 m, uint256 r, uint256 scale) private pure {
        // A root of 24 digits is far from a tie, so neither bound is met. `scale` is 0: a root has twice the digits.
        requireEqual("scale", scale, 0);
        requireThat("not too great", (2 * r - 1) * (2 * r - 1) < 4 * m);
        requireThat("not too small", 4 * m < (2 * r + 1) * (2 * r + 1));
    }

    function testFuzz_fromInt64(int64 value) external pure {
        bool negative = value < 0;
        uint256 magnitude = negative ? uint256(-int256(value)) : uint256(int256(value));
        requireEqual("float", Binary32.fromInt64(value), ExactRounding.nearest(negative, magnitude, 0, false));
    }

    function testFuzz_toInt64(uint256 seed) external pure {
        uint256 a = _float(seed);
        int256 given = Binary32.toInt64(a);
        if (_isNan(a)) return requireThat("NaN", given == 0);
        if (a & (SIGN - 1) == INFINITY) return _requireLast(given, a >> 31 == 1);
        (bool negative, uint256 m, int256 e) = ExactRounding.number(a);
        uint256 magnitude = e < 0 ? _halfEven(m, uint256(-e)) : m * 2 ** uint256(e);
        if (magnitude >= 2 ** 63) return _requireLast(given, negative);
        requireThat("integer", given == (negative ? -int256(magnitude) : int256(magnitude)));
    }

    function _requireLast(int256 given, bool negative) private pure {
        requireThat("last", given == (negative ? type(int64).min : type(int64).max));
    }

    function testFuzz_roundHalfEven(uint256 seed) external pure {
        uint256 a = _float(seed);
        uint256 given = Binary32.roundHalfEven(a);
        if (_isNan(a)) return requireEqual("NaN", given, NAN);
        (bool negative, uint256 m, int256 e) = ExactRounding.number(a);
        if (a & (SIGN - 1) == INFINITY || e >= 0) return requireEqual("itself", given, a);
        uint256 expected = ExactRounding.nearest(negative, _halfEven(m, uint256(-e)), 0, false);
        requireEqual("integral", given, expected);
    }

    function testFuzz_order(uint256 seed) external pure {
        (uint256 a, uint256 b) = _pair(seed);
        bool nan = _isNan(a) || _isNan(b);
        (int256 x, int256 y) = (_rank(a), _rank(b));
        requireEqual("lt", Binary32.lt(a, b), !nan && x < y ? 1 : 0);
        requireEqual("le", Binary32.le(a, b), !nan && x <= y ? 1 : 0);
        requireEqual("eq", Binary32.eq(a, b), !nan && x == y ? 1 : 0);
        uint256 lesser = x < y || (x == y && a > b) ? a : b;
        requireEqual("min", Binary32.min(a, b), nan ? NAN : lesser);
        requireEqual("max", Binary32.max(a, b), nan ? NAN : lesser == a ? b : a);
    }

    /* EXACT NUMBERS */

    function _sum(uint256 a, uint256 b) private pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        (bool endless, bool other) = (a & (SIGN - 1) == INFINITY, b & (SIGN - 1) == INFINITY);
        if (endless || other) return endless && other && a != b ? NAN : endless ? a : b;
        if (a & (SIGN - 1) < b & (SIGN - 1)) (a, b) = (b, a);
        (bool negative, uint256 m, int256 e) = ExactRounding.number(a);
        (bool opposed, uint256 n, int256 f) = ExactRounding.number(b);
        if (m == 0) return a == b ? a : 0;
        // Beyond so many places the lesser one cannot matter.
        if (n == 0 || e - f > 200) return a;
        m *= 2 ** uint256(e - f);
        if (negative != opposed && m == n) return 0;
        return ExactRounding.nearest(negative, negative == opposed ? m + n : m - n, f, false);
    }

    function _product(uint256 a, uint256 b) private pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        (uint256 x, uint256 y) = (a & (SIGN - 1), b & (SIGN - 1));
        if (x == INFINITY || y == INFINITY) return x == 0 || y == 0 ? NAN : sign | INFINITY;
        (, uint256 m, int256 e) = ExactRounding.number(a);
        (, uint256 n, int256 f) = ExactRounding.number(b);
        return ExactRounding.nearest(sign != 0, m * n, e + f, false);
    }

    function _quotient(uint256 a, uint256 b) private pure returns (uint256) {
        if (_isNan(a) || _isNan(b)) return NAN;
        uint256 sign = (a ^ b) & SIGN;
        (uint256 x, uint256 y) = (a & (SIGN - 1), b & (SIGN - 1));
        if (x == INFINITY) return y == INFINITY ? NAN : sign | INFINITY;
        if (y == INFINITY) return sign;
        if (y == 0) return x == 0 ? NAN : sign | INFINITY;
        (, uint256 m, int256 e) = ExactRounding.number(a);
        (, uint256 n, int256 f) = ExactRounding.number(b);
        m *= 2 ** 100;
        return ExactRounding.nearest(sign != 0, m / n, e - f - 100, m % n != 0);
    }

    function _halfEven(uint256 m, uint256 places) private pure returns (uint256 kept) {
        if (places > 30) return 0;
        uint256 unit = 2 ** places;
        kept = m / unit;
        uint256 rest = m % unit;
        if (2 * rest > unit || (2 * rest == unit && kept % 2 == 1)) ++kept;
    }

    /// @dev The order of the numbers; both zeros are one.
    function _rank(uint256 a) private pure returns (int256) {
        int256 magnitude = int256(a & (SIGN - 1));
        return a >> 31 == 1 ? -magnitude : magnitude;
    }

    function _isNan(uint256 a) private pure returns (bool) {
        return a & (SIGN - 1) > INFINITY;
    }

    /* FLOATS WORTH A TRY */

    /// @dev Two of like size, or of sizes of which products and quotients come near both ends.
    function _pair(uint256 seed) private pure returns (uint256 a, uint256 b) {
        (a, b) = (_float(seed), _float(seed >> 128));
        uint256 kind = (seed >> 96) % 8;
        uint256 exponent = (a >> 23) & 0xff;
        uint256 near = (seed >> 100) % 28;
        if (kind == 0) return (a, a ^ (1 << near));
        if (kind == 1) exponent = exponent > near ? exponent - near : 0;
        else if (kind == 2) exponent = (127 + 254 - exponent - near) & 0xff;
        else if (kind == 3) exponent = (130 + near + 256 - exponent) & 0xff;
        else if (kind == 4) exponent = (exponent + 128 + near) & 0xff;
        else return (a, b);
        b = (b & 0x807fffff) | (exponent << 23);
    }

    /// @dev Few digits, all digits, or any; each exponent as likely as any other, zero's and infinity's more.
    function _float(uint256 seed) private pure returns (uint256 bits) {
        bits = seed & 0xffffffff;
        uint256 kind = (seed >> 32) % 16;
        if (kind == 0) bits &= 0x807fffff;
        else if (kind == 1) bits |= INFINITY;
        uint256 digits = (seed >> 40) % 32;
        if (digits < 23) {
            uint256 low = (1 << (23 - digits)) - 1;
            bits = (seed >> 48) % 3 == 0 ? bits | low : bits & ~low;
            if ((seed >> 50) % 3 == 0) bits ^= 1;
        }
    }
}
