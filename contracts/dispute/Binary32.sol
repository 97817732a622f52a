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
/// How it works: a magnitude's bits are monotonic in its value, so a significand that rounding carries to 2^24 is
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

    /// @notice The sum; an exact zero is +0 unless both terms are -0.
    function add(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            if ((a & MAGNITUDE) < (b & MAGNITUDE)) (a, b) = (b, a);
            result = a & SIGN;
            uint256 opposed = (a ^ b) & SIGN;
            a &= MAGNITUDE;
            b &= MAGNITUDE;
            if (a >= INFINITY) {
                if (a > INFINITY || opposed * b == INFINITY << 31) return NAN;
                return result | INFINITY;
            }
            uint256 exponent = _aboveLeast(a);
            a = (a - (exponent << 23)) << 25;
            uint256 other = _aboveLeast(b);
            // Digits are dropped only of what is less than a quarter of the larger one's last place: that is too little
            // to matter, be it half the last place of the sum, next below a power of two.
            b = ((b - (other << 23)) << 25) >> (exponent - other);
            uint256 total = a + b * (1 - (opposed >> 30));
            if (total >= 1 << 49) {
                if (exponent == 253) return result | INFINITY;
                return result | (((exponent + 1) << 23) + _halfEven(total, 26));
            }
            if (total >= 1 << 48) return result | ((exponent << 23) + _halfEven(total, 25));
            if (total == 0) return result & ~opposed;
            if (exponent == 0) return result | (total >> 25);
            --exponent;
            if (total >= 1 << 47) return result | ((exponent << 23) + _halfEven(total, 24));
            // Only where exponents differ by one at most do more leading digits cancel, so nothing is lost here.
            total >>= 24;
            uint256 shift = _toHidden(total);
            if (shift > exponent) shift = exponent;
            result |= ((exponent - shift) << 23) + (total << shift);
        }
    }

    /// @notice The difference a - b.
    function sub(uint256 a, uint256 b) internal pure returns (uint256) {
        return add(a, b ^ SIGN);
    }

    /// @notice The product; NaN for zero times infinity.
    function mul(uint256 a, uint256 b) internal pure returns (uint256 result) {
        unchecked {
            result = (a ^ b) & SIGN;
            uint256 x = (a >> 23) & 0xff;
            uint256 y = (b >> 23) & 0xff;
            a &= FRACTION;
            b &= FRACTION;
            // Zeros, subnormals, infinities and NaNs have an exponent of 0 or 255.
            if ((x % 255) * (y % 255) == 0) return _extremeProduct(result, a, b, x, y);
            uint256 product = (a | HIDDEN) * (b | HIDDEN);
            uint256 carry = product >> 47;
            x += y + carry - 128;
            product <<= 1 - carry;
            if (x < 254) return result | ((x << 23) + _halfEven(product, 24));
            if (int256(x) > 0) return result | INFINITY;
            result |= _halfEven(product, 24 - x);
        }
    }

    /// @notice The quotient a / b; infinite by zero, and NaN for zero by zero or infinity by infinity.
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
                    if (b == 0) return (x | a) == 0 ? NAN : result | INFINITY;
                    y = _toHidden(b);
                    b <<= y;
                    y = 1 - y;
                }
                if (x == 0) {
                    if (a == 0) return result;
                    x = _toHidden(a);
                    a <<= x;
                    x = 1 - x;
                }
            }
            // A quotient that is no tie differs from one by 2^-49 at least, so 64 digits tell them apart.
            uint256 quotient = _quotient((a | HIDDEN) << 64, b | HIDDEN);
            uint256 carry = quotient >> 64;
            x = x + carry + 125 - y;
            quotient <<= 1 - carry;
            if (x < 254) return result | ((x << 23) + _halfEven(quotient, 41));
            if (int256(x) > 0) return result | INFINITY;
            result |= _halfEven(quotient, 41 - x);
        }
    }

    /// @notice The square root; of -0 it is -0, of anything else below zero NaN.
    function sqrt(uint256 a) internal pure returns (uint256 root) {
        unchecked {
            uint256 x = a >> 23;
            uint256 m = (a & FRACTION) | HIDDEN;
            if (a - HIDDEN >= INFINITY - HIDDEN) {
                if (a >= INFINITY) return a == INFINITY || a == SIGN ? a : NAN;
                if (a == 0) return 0;
                x = _toHidden(a);
                m = a << x;
                x = 1 - x;
                a = (x << 23) + m - HIDDEN;
            }
            // From 2^78 to 2^80, times an even power of two.
            m <<= 56 - (x & 1);
            // Nearly six digits by the exponent's last and the fraction's first four; 12, 26, 54 by Newton's method.
            assembly ("memory-safe") {
                root := shl(32, byte(and(shr(19, a), 31), ROOTS))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
                root := shr(1, add(root, div(m, root)))
            }
            // A root is never a tie, nor nearer to one than 2^-51 of itself.
            root = ((root + (1 << 15)) >> 16) + (((x + 125) >> 1) << 23);
        }
    }

    /* SIGNS */

    /// @notice The same magnitude with the other sign.
    function neg(uint256 a) internal pure returns (uint256) {
        return canonical(a ^ SIGN);
    }

    /// @notice The magnitude.
    function abs(uint256 a) internal pure returns (uint256) {
        return canonical(a & MAGNITUDE);
    }

    /// @notice The same float, `0x7fc00000` for every NaN.
    function canonical(uint256 a) internal pure returns (uint256 result) {
        result = a;
        if (isNan(a)) result = NAN;
    }

    function isNan(uint256 a) internal pure returns (bool) {
        return (a & MAGNITUDE) > INFINITY;
    }

    /* ORDER */

    /// @notice 1 if a < b, else 0; 0 with a NaN; -0 equals +0.
    function lt(uint256 a, uint256 b) internal pure returns (uint256) {
        return _bit(_precedes(a, b) > (_incomparable(a, b) | _bothZero(a, b)));
    }

    /// @notice 1 if a <= b, else 0; 0 with a NaN; -0 equals +0.
    function le(uint256 a, uint256 b) internal pure returns (uint256) {
        return _bit((_bit(_precedes(b, a) == 0) | _bothZero(a, b)) > _incomparable(a, b));
    }

    /// @notice 1 if a = b, else 0; 0 with a NaN; -0 equals +0.
    function eq(uint256 a, uint256 b) internal pure returns (uint256) {
        return _bit((_bit(a == b) | _bothZero(a, b)) > _incomparable(a, b));
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
                return int256(uint256(int256(type(int64).max)) ^ (0 - (a >> 31)));
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
            uint256 shift;
            assembly ("memory-safe") {
                shift := shl(5, lt(0xffffffff, magnitude))
                shift := or(shift, shl(4, lt(0xffff, shr(shift, magnitude))))
            }
            // Left, until the highest bit is bit 63.
            shift = 40 - shift + _toHidden(magnitude >> shift);
            return (((sign << 8) + 189 - shift) << 23) + _halfEven(magnitude << shift, 40);
        }
    }

    /* PARTS */

    /// @dev A sign, and fractions and exponents of which one at least is that of no normal float.
    function _extremeProduct(uint256 sign, uint256 a, uint256 b, uint256 x, uint256 y) private pure returns (uint256) {
        unchecked {
            if (x + y >= 255) {
                a |= x << 23;
                b |= y << 23;
                return a > INFINITY || b > INFINITY || a == 0 || b == 0 ? NAN : sign | INFINITY;
            }
            // Of two subnormals only one is taken for it: their product is too little in any case.
            if (x != 0) (a, b, y) = (b, a, x);
            if (a == 0) return sign;
            uint256 product = a * (b | HIDDEN);
            if (product < 1 << (173 - y)) return sign | _halfEven(product, 150 - y);
            uint256 shift = _toHidden(a);
            product <<= shift;
            uint256 carry = product >> 47;
            return sign | (((y + carry - 127 - shift) << 23) + _halfEven(product << (1 - carry), 24));
        }
    }

    /// @dev The exponent's distance from the least one, which zeros and subnormals share with the smallest normals.
    function _aboveLeast(uint256 magnitude) private pure returns (uint256) {
        unchecked {
            return (magnitude >> 23) - _bit(magnitude >= HIDDEN);
        }
    }

    /// @dev value / 2^shift, rounded half to even.
    function _halfEven(uint256 value, uint256 shift) private pure returns (uint256) {
        unchecked {
            return (value + ((1 << (shift - 1)) - 1) + ((value >> shift) & 1)) >> shift;
        }
    }

    /// @dev By how many bits a value from 1 to 2^24 - 1 is shifted left to bring its highest one to the hidden place.
    function _toHidden(uint256 value) private pure returns (uint256 shift) {
        assembly ("memory-safe") {
            shift := shl(3, add(lt(0xff, value), lt(0xffff, value)))
            // For each place of the highest bit in its byte, the magic number shifted by the byte has five other bits.
            // slither-disable-next-line incorrect-shift
            value := and(0x1f, shr(shr(shift, value), 0x8421084210842108cc6318c6db6d54be))
            value := byte(value, 0x0706060506020504060203020504030106050205030304010505030400000000)
            shift := sub(sub(23, shift), value)
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

    /// @dev 1 if both are zeros, of either sign, else 0.
    function _bothZero(uint256 a, uint256 b) private pure returns (uint256) {
        return _bit(((a | b) & MAGNITUDE) == 0);
    }

    /// @dev Without the check that the divisor is not zero.
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
