// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IEEE 754 binary32 arithmetic
/// @notice Single precision floats as every CPU and GPU computes them: the exact result rounded once to nearest, ties
/// to even, subnormals and infinities included. It depends on nothing and may be imported anywhere.
///
/// A float is its 32 bits in a `uint256`; the bits above must be zero, and are in every result. A NaN of any payload is
/// taken, and every function whose result is a float gives the one NaN `0x7fc00000`: payloads are where hardware
/// differs. A comparison gives 1 or 0 rather than a bool: a word, like every other result.
///
/// Nothing here reverts, loops or touches memory, so an operation's gas is bounded: `snapshots/binary32.json` has it.
///
/// The way it works: a magnitude's bits are monotonic in its value, so a significand that rounding carries to 2^24 is
/// right when it is *added* to its exponent's bits, hidden bit and all, and the largest one becomes infinity. An
/// exponent is therefore kept as its distance from the least one, which subnormals share. And 256 bits hold any
/// intermediate exactly: one routine rounds, and there are no sticky bits.
library Binary32 {
    uint256 internal constant NAN = 0x7fc00000;
    uint256 internal constant INFINITY = 0x7f800000;
    uint256 internal constant ONE = 0x3f800000;

    uint256 private constant SIGN = 0x80000000;
    uint256 private constant MAGNITUDE = 0x7fffffff;
    uint256 private constant FRACTION = 0x007fffff;
    uint256 private constant HIDDEN = 0x00800000;
    /// @dev One bit for each exponent; set for the two that are no normal number's.
    uint256 private constant EXTREME = (1 << 255) | 1;

    /* ARITHMETIC */

    function add(uint256 a, uint256 b) internal pure returns (uint256) {
        unchecked {
            uint256 larger = a & MAGNITUDE;
            uint256 smaller = b & MAGNITUDE;
            if (larger < smaller) (a, b, larger, smaller) = (b, a, smaller, larger);
            if (larger >= INFINITY) {
                return larger > INFINITY || (smaller == INFINITY && a != b) ? NAN : a;
            }
            uint256 exponent = _aboveLeast(larger);
            uint256 gap = exponent - _aboveLeast(smaller);
            // Less than a quarter of a unit in the last place, which is half of one below a power of two.
            if (gap > 25) return a;
            larger = (larger - (exponent << 23)) << 25;
            smaller = (smaller - ((exponent - gap) << 23)) << (25 - gap);
            if ((a ^ b) & SIGN == 0) return _sum(a & SIGN, larger + smaller, exponent);
            return larger == smaller ? 0 : _difference(a & SIGN, larger - smaller, exponent);
        }
    }

    function sub(uint256 a, uint256 b) internal pure returns (uint256) {
        return add(a, b ^ SIGN);
    }

    function mul(uint256 a, uint256 b) internal pure returns (uint256) {
        unchecked {
            uint256 sign = (a ^ b) & SIGN;
            uint256 x = (a >> 23) & 0xff;
            uint256 y = (b >> 23) & 0xff;
            uint256 m = (a & FRACTION) | HIDDEN;
            uint256 n = (b & FRACTION) | HIDDEN;
            if (((EXTREME >> x) | (EXTREME >> y)) & 1 != 0) {
                a &= MAGNITUDE;
                b &= MAGNITUDE;
                if (x == 0xff || y == 0xff) {
                    return a > INFINITY || b > INFINITY || a == 0 || b == 0 ? NAN : sign | INFINITY;
                }
                if (a == 0 || b == 0) return sign;
                (m, x) = _normalised(a);
                (n, y) = _normalised(b);
            }
            m *= n;
            n = m >> 47;
            return _rounded(sign, m, 23 + n, int256(x + y + n) - 128);
        }
    }

    function div(uint256 a, uint256 b) internal pure returns (uint256) {
        unchecked {
            uint256 sign = (a ^ b) & SIGN;
            uint256 x = (a >> 23) & 0xff;
            uint256 y = (b >> 23) & 0xff;
            uint256 m = (a & FRACTION) | HIDDEN;
            uint256 n = (b & FRACTION) | HIDDEN;
            if (((EXTREME >> x) | (EXTREME >> y)) & 1 != 0) {
                a &= MAGNITUDE;
                b &= MAGNITUDE;
                if (a > INFINITY || b > INFINITY || (a == b && (a == 0 || a == INFINITY))) return NAN;
                if (a == INFINITY || b == 0) return sign | INFINITY;
                if (a == 0 || b == INFINITY) return sign;
                (m, x) = _normalised(a);
                (n, y) = _normalised(b);
            }
            // A quotient that is no tie differs from one by 2^-49 at least, so 64 digits tell them apart.
            assembly ("memory-safe") {
                m := div(shl(64, m), n)
            }
            n = m >> 64;
            return _rounded(sign, m, 40 + n, int256(x + n) - int256(y) + 125);
        }
    }

    /// @notice The square root; of -0 it is -0, of anything else below zero NaN.
    function sqrt(uint256 a) internal pure returns (uint256) {
        unchecked {
            if (a - HIDDEN >= INFINITY - HIDDEN) {
                if (a == INFINITY || a & MAGNITUDE == 0) return a;
                if (a > INFINITY) return NAN;
            }
            (uint256 m, uint256 x) = _normalised(a);
            // From 2^78 to 2^80, times an even power of two.
            m <<= 56 - (x & 1);
            uint256 root = 1 << 40;
            assembly ("memory-safe") {
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
            }
            // No root is a tie.
            root = (root + (1 << 15)) >> 16;
            return (((x + 127) >> 1) << 23) + root - HIDDEN;
        }
    }

    /* SIGNS */

    function neg(uint256 a) internal pure returns (uint256) {
        return canonical(a ^ SIGN);
    }

    function abs(uint256 a) internal pure returns (uint256) {
        return canonical(a & MAGNITUDE);
    }

    /// @notice The same float, `0x7fc00000` for every NaN.
    function canonical(uint256 a) internal pure returns (uint256) {
        return isNan(a) ? NAN : a;
    }

    function isNan(uint256 a) internal pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }

    /* ORDER */

    /// @notice 1 if a < b, else 0; 0 with a NaN; -0 equals +0.
    function lt(uint256 a, uint256 b) internal pure returns (uint256 result) {
        if (isNan(a) || isNan(b) || (a | b) & MAGNITUDE == 0) return 0;
        return _bit((a | b) & SIGN == 0 ? a < b : a > b);
    }

    /// @notice 1 if a <= b, else 0; 0 with a NaN; -0 equals +0.
    function le(uint256 a, uint256 b) internal pure returns (uint256 result) {
        if (isNan(a) || isNan(b)) return 0;
        if ((a | b) & MAGNITUDE == 0) return 1;
        return _bit((a | b) & SIGN == 0 ? a <= b : a >= b);
    }

    /// @notice 1 if a = b, else 0; 0 with a NaN; -0 equals +0.
    function eq(uint256 a, uint256 b) internal pure returns (uint256 result) {
        if (isNan(a) || isNan(b)) return 0;
        return _bit(a == b || (a | b) & MAGNITUDE == 0);
    }

    /// @notice The lesser, -0 below +0; NaN if either is.
    function min(uint256 a, uint256 b) internal pure returns (uint256) {
        if (isNan(a) || isNan(b)) return NAN;
        return ((a | b) & SIGN == 0) == (a < b) ? a : b;
    }

    /// @notice The greater, -0 below +0; NaN if either is.
    function max(uint256 a, uint256 b) internal pure returns (uint256) {
        if (isNan(a) || isNan(b)) return NAN;
        return ((a | b) & SIGN == 0) == (a < b) ? b : a;
    }

    /* INTEGERS */

    /// @notice The nearest integral float, ties to even, with the argument's sign even when it is zero.
    function roundHalfEven(uint256 a) internal pure returns (uint256) {
        unchecked {
            uint256 magnitude = a & MAGNITUDE;
            if (magnitude >= 150 << 23) return magnitude > INFINITY ? NAN : a;
            if (magnitude < ONE) return (a & SIGN) | (magnitude > 0x3f000000 ? ONE : 0);
            // The unit's digit may be the hidden one, of 1 to 2, in whose place an odd exponent has a one as well.
            uint256 shift = 150 - (magnitude >> 23);
            return _halfEven(a, shift) << shift;
        }
    }

    /// @notice The nearest 64-bit integer, ties to even; beyond their range the last one, and 0 of a NaN.
    function toInt64(uint256 a) internal pure returns (int256) {
        unchecked {
            uint256 magnitude = a & MAGNITUDE;
            if (magnitude >= 190 << 23) {
                if (magnitude > INFINITY) return 0;
                return a == magnitude ? int256(type(int64).max) : int256(type(int64).min);
            }
            // A subnormal's hidden bit is not there, but it rounds to zero with it.
            uint256 result = _halfEven(((a & FRACTION) | HIDDEN) << (magnitude >> 23), 150);
            return a == magnitude ? int256(result) : -int256(result);
        }
    }

    /// @notice The nearest float to an integer of the 64-bit range, ties to even.
    function fromInt64(int256 value) internal pure returns (uint256) {
        unchecked {
            if (value == 0) return 0;
            uint256 sign = value < 0 ? SIGN : 0;
            uint256 magnitude = uint256(value < 0 ? -value : value);
            uint256 highest = _highest(magnitude);
            return (sign | ((highest + 126) << 23)) + _halfEven(magnitude << (63 - highest), 40);
        }
    }

    /* PARTS */

    /// @dev The exponent's distance from the least one, which zeros and subnormals share with the smallest normals.
    function _aboveLeast(uint256 magnitude) private pure returns (uint256) {
        unchecked {
            return (magnitude >> 23) - _bit(magnitude >= HIDDEN);
        }
    }

    /// @dev Of two significands shifted left by 25 at the same exponent, below 2^50.
    function _sum(uint256 sign, uint256 significand, uint256 exponent) private pure returns (uint256) {
        unchecked {
            uint256 carry = significand >> 49;
            significand = ((exponent + carry) << 23) + _halfEven(significand, 25 + carry);
            return sign | (significand > INFINITY ? INFINITY : significand);
        }
    }

    /// @dev Likewise, from 1 to 2^49. Where two leading digits or more cancel, exponents differed by one at most.
    function _difference(uint256 sign, uint256 significand, uint256 exponent) private pure returns (uint256) {
        unchecked {
            if (significand >= 1 << 48 || exponent == 0) {
                return sign | ((exponent << 23) + _halfEven(significand, 25));
            }
            if (significand >= 1 << 47) return sign | (((exponent - 1) << 23) + _halfEven(significand, 24));
            significand >>= 24;
            uint256 shift = 23 - _highest(significand);
            --exponent;
            if (shift > exponent) shift = exponent;
            return sign | (((exponent - shift) << 23) + (significand << shift));
        }
    }

    /// @dev The float nearest to a positive significand whose digit 24 from the top is its bit `shift`, and whose
    /// leading digit belongs to an exponent as far above the least one as it says.
    function _rounded(uint256 sign, uint256 significand, uint256 shift, int256 exponent)
        private
        pure
        returns (uint256)
    {
        unchecked {
            if (exponent < 0) {
                shift += uint256(-exponent);
                exponent = 0;
            }
            significand = (uint256(exponent) << 23) + _halfEven(significand, shift);
            return sign | (significand > INFINITY ? INFINITY : significand);
        }
    }

    /// @dev Significand from 2^23 to 2^24 and biased exponent, modulo 2^256, of a positive finite float.
    function _normalised(uint256 magnitude) private pure returns (uint256 significand, uint256 exponent) {
        unchecked {
            if (magnitude >= HIDDEN) return ((magnitude & FRACTION) | HIDDEN, magnitude >> 23);
            uint256 shift = 23 - _highest(magnitude);
            return (magnitude << shift, 1 - shift);
        }
    }

    /// @dev value / 2^shift, rounded half to even.
    function _halfEven(uint256 value, uint256 shift) private pure returns (uint256) {
        unchecked {
            return (value + (1 << (shift - 1)) - 1 + ((value >> shift) & 1)) >> shift;
        }
    }

    /// @dev Number of the highest bit set, of a value from 1 to 2^64 - 1.
    function _highest(uint256 value) private pure returns (uint256 highest) {
        assembly ("memory-safe") {
            highest := shl(5, lt(0xffffffff, value))
            highest := or(highest, shl(4, lt(0xffff, shr(highest, value))))
            highest := or(highest, shl(3, lt(0xff, shr(highest, value))))
            value := shr(highest, value)
            highest := or(highest, shl(2, lt(0xf, value)))
            value := shr(and(highest, 4), value)
            highest := or(highest, byte(value, 0x0000010102020202030303030303030300000000000000000000000000000000))
        }
    }

    function _bit(bool condition) private pure returns (uint256 bit) {
        assembly ("memory-safe") {
            bit := condition
        }
    }
}
