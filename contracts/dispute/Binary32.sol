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
    /// @dev First digits of square roots, a byte each: of 2 to 4, then of 1 to 2, times 128, in sixteenths.
    uint256 private constant ROOTS = 0xb8bdc3c8cdd2d7dbe0e5e9edf2f6fafe82868a8d9194989b9ea2a5a8abaeb1b4;

    /* ARITHMETIC */

    function add(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = a & SIGN;
            uint256 opposed = (a ^ b) & SIGN;
            a &= MAGNITUDE;
            b &= MAGNITUDE;
            if (a < b) {
                (a, b) = (b, a);
                result ^= opposed;
            }
            if (a >= INFINITY) {
                if (a > INFINITY || opposed * b == INFINITY << 31) return NAN;
                return result | INFINITY;
            }
            uint256 exponent = _aboveLeast(a);
            uint256 gap = _aboveLeast(b);
            // Digits are dropped only of what is less than a quarter of the larger one's last place: that is too little
            // to matter, be it half the last place of the sum, next below a power of two.
            b = ((b - (gap << 23)) << 25) >> (exponent - gap);
            a = ((a - (exponent << 23)) << 25) + b * (1 - (opposed >> 30));
            if (a >= 1 << 49) {
                a = ((exponent + 1) << 23) + _halfEven(a, 26);
                if (a > INFINITY) a = INFINITY;
                return result | a;
            }
            if (a >= 1 << 48) return result | ((exponent << 23) + _halfEven(a, 25));
            if (a == 0) return result & ~opposed;
            if (exponent == 0) return result | (a >> 25);
            --exponent;
            if (a >= 1 << 47) return result | ((exponent << 23) + _halfEven(a, 24));
            // Only where exponents differ by one at most do more leading digits cancel.
            a >>= 24;
            gap = 23 - _highest24(a);
            if (gap > exponent) gap = exponent;
            result |= ((exponent - gap) << 23) + (a << gap);
        }
    }

    function sub(uint256 a, uint256 b) internal pure returns (uint256) {
        return add(a, b ^ SIGN);
    }

    function mul(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = (a ^ b) & SIGN;
            uint256 x = (a >> 23) & 0xff;
            uint256 y = (b >> 23) & 0xff;
            a &= FRACTION;
            b &= FRACTION;
            if ((x % 255) * (y % 255) == 0) {
                if (x + y == 0) return result;
                if (x + y >= 255) {
                    a |= x << 23;
                    b |= y << 23;
                    return a > INFINITY || b > INFINITY || a == 0 || b == 0 ? NAN : result | INFINITY;
                }
                if (x == 0) {
                    if (a == 0) return result;
                    (a, x) = _subnormal(a);
                } else {
                    if (b == 0) return result;
                    (b, y) = _subnormal(b);
                }
            }
            a = (a | HIDDEN) * (b | HIDDEN);
            b = a >> 47;
            x += y + b - 128;
            a <<= 1 - b;
            if (x < 254) return result | ((x << 23) + _halfEven(a, 24));
            return result | (x >> 255 == 0 ? INFINITY : _halfEven(a, 24 - x));
        }
    }

    function div(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = (a ^ b) & SIGN;
            uint256 x = (a >> 23) & 0xff;
            uint256 y = (b >> 23) & 0xff;
            a &= FRACTION;
            b &= FRACTION;
            if ((x % 255) * (y % 255) == 0) {
                if (x == 255) return a != 0 || y == 255 ? NAN : result | INFINITY;
                if (y == 255) return b != 0 ? NAN : result;
                if (y == 0) {
                    if (b == 0) return x | a == 0 ? NAN : result | INFINITY;
                    (b, y) = _subnormal(b);
                }
                if (x == 0) {
                    if (a == 0) return result;
                    (a, x) = _subnormal(a);
                }
            }
            // A quotient that is no tie differs from one by 2^-49 at least, so 64 digits tell them apart.
            a = _quotient((a | HIDDEN) << 64, b | HIDDEN);
            b = a >> 64;
            x = x + b + 125 - y;
            a <<= 1 - b;
            if (x < 254) return result | ((x << 23) + _halfEven(a, 41));
            return result | (x >> 255 == 0 ? INFINITY : _halfEven(a, 41 - x));
        }
    }

    /// @notice The square root; of -0 it is -0, of anything else below zero NaN.
    function sqrt(uint256 a) internal pure returns (uint256 root) {
        unchecked {
            uint256 x = a >> 23;
            uint256 m = (a & FRACTION) | HIDDEN;
            if (a - HIDDEN >= INFINITY - HIDDEN) {
                if (a == INFINITY || a & MAGNITUDE == 0) return a;
                if (a > INFINITY) return NAN;
                (m, x) = _subnormal(a);
                a = (x << 23) + m - HIDDEN;
            }
            // From 2^78 to 2^80, times an even power of two.
            m <<= 56 - (x & 1);
            // Seven digits by the exponent's last digit and the fraction's first four; 14, 29, 60 by Newton's method.
            assembly ("memory-safe") {
                root := shl(32, byte(and(shr(19, a), 31), ROOTS))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
            }
            // A root is never a tie, nor nearer to one than 2^-51 of it.
            root = ((root + (1 << 15)) >> 16) + (((x + 125) >> 1) << 23);
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
    function canonical(uint256 a) internal pure returns (uint256 result) {
        result = a;
        if (isNan(a)) result = NAN;
    }

    function isNan(uint256 a) internal pure returns (bool) {
        return a & MAGNITUDE > INFINITY;
    }

    /* ORDER */

    /// @notice 1 if a < b, else 0; 0 with a NaN; -0 equals +0.
    function lt(uint256 a, uint256 b) internal pure returns (uint256 result) {
        result = _precedes(a, b);
        if (_incomparable(a, b) | _bit((a | b) & MAGNITUDE == 0) != 0) result = 0;
    }

    /// @notice 1 if a <= b, else 0; 0 with a NaN; -0 equals +0.
    function le(uint256 a, uint256 b) internal pure returns (uint256 result) {
        result = (_precedes(b, a) ^ 1) | _bit((a | b) & MAGNITUDE == 0);
        if (_incomparable(a, b) != 0) result = 0;
    }

    /// @notice 1 if a = b, else 0; 0 with a NaN; -0 equals +0.
    function eq(uint256 a, uint256 b) internal pure returns (uint256 result) {
        result = _bit(a == b) | _bit((a | b) & MAGNITUDE == 0);
        if (_incomparable(a, b) != 0) result = 0;
    }

    /// @notice The lesser, -0 below +0; NaN if either is.
    function min(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = b ^ ((a ^ b) * _precedes(a, b));
            if (_incomparable(a, b) != 0) result = NAN;
        }
    }

    /// @notice The greater, -0 below +0; NaN if either is.
    function max(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = a ^ ((a ^ b) * _precedes(a, b));
            if (_incomparable(a, b) != 0) result = NAN;
        }
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
                return int256(uint256(int256(type(int64).max)) + (a >> 31));
            }
            // A subnormal's hidden bit is not there, but it rounds to zero with it.
            uint256 result = _halfEven(((a & FRACTION) | HIDDEN) << (magnitude >> 23), 150);
            return int256(_signed(result, a >> 31));
        }
    }

    /// @notice The nearest float to an integer of the 64-bit range, ties to even.
    function fromInt64(int256 value) internal pure returns (uint256 result) {
        unchecked {
            if (value == 0) return 0;
            uint256 sign = uint256(value) >> 255;
            uint256 magnitude = _signed(uint256(value), sign);
            uint256 highest;
            assembly ("memory-safe") {
                highest := shl(5, lt(0xffffffff, magnitude))
                highest := or(highest, shl(4, lt(0xffff, shr(highest, magnitude))))
            }
            highest += _highest24(magnitude >> highest);
            return (((sign << 8) + highest + 126) << 23) + _halfEven(magnitude << (63 - highest), 40);
        }
    }

    /* PARTS */

    /// @dev The exponent's distance from the least one, which zeros and subnormals share with the smallest normals.
    function _aboveLeast(uint256 magnitude) private pure returns (uint256) {
        unchecked {
            return (magnitude >> 23) - _bit(magnitude >= HIDDEN);
        }
    }

    /// @dev Significand from 2^23 to 2^24 and biased exponent, modulo 2^256, of a subnormal that is not zero.
    function _subnormal(uint256 magnitude) private pure returns (uint256 significand, uint256 exponent) {
        unchecked {
            exponent = 23 - _highest24(magnitude);
            significand = magnitude << exponent;
            exponent = 1 - exponent;
        }
    }

    /// @dev value / 2^shift, rounded half to even.
    function _halfEven(uint256 value, uint256 shift) private pure returns (uint256) {
        unchecked {
            return (value + ((1 << (shift - 1)) - 1) + ((value >> shift) & 1)) >> shift;
        }
    }

    /// @dev Number of the highest bit set, of a value from 1 to 2^24 - 1.
    function _highest24(uint256 value) private pure returns (uint256 highest) {
        assembly ("memory-safe") {
            highest := shl(3, add(lt(0xff, value), lt(0xffff, value)))
            value := shr(highest, value)
            highest := add(
                highest,
                byte(
                    and(0x1f, shr(value, 0x8421084210842108cc6318c6db6d54be)),
                    0x0706060506020504060203020504030106050205030304010505030400000000
                )
            )
        }
    }

    /// @dev The value, negated if the bit is 1.
    function _signed(uint256 value, uint256 bit) private pure returns (uint256) {
        unchecked {
            return (value ^ (0 - bit)) + bit;
        }
    }

    /// @dev 1 if a comes before b in the order of the numbers, -0 before +0, else 0. With a sign among them the greater
    /// bits come first.
    function _precedes(uint256 a, uint256 b) private pure returns (uint256) {
        unchecked {
            uint256 flip = 0 - ((a | b) >> 31);
            return _bit((a ^ flip) < (b ^ flip));
        }
    }

    /// @dev 1 if either is a NaN, else 0.
    function _incomparable(uint256 a, uint256 b) private pure returns (uint256) {
        return _bit(isNan(a)) | _bit(isNan(b));
    }

    function _quotient(uint256 a, uint256 b) private pure returns (uint256 result) {
        assembly ("memory-safe") {
            result := div(a, b)
        }
    }

    function _bit(bool condition) private pure returns (uint256 bit) {
        assembly ("memory-safe") {
            bit := condition
        }
    }
}
