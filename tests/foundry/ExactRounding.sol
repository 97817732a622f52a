// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice IEEE 754 by its definition, bit by bit and with loops: of an exact number the nearest float, ties to even.
library ExactRounding {
    int256 private constant LEAST = -149;

    /// @dev Of `significand * 2^exponent`, and a little more of it if `inexact`. The significand has at least 26 bits
    /// then.
    function nearest(bool negative, uint256 significand, int256 exponent, bool inexact)
        internal
        pure
        returns (uint256 bits)
    {
        uint256 sign = negative ? 1 << 31 : 0;
        if (significand == 0) return sign;
        uint256 length;
        while (length < 256 && (significand >> length) != 0) ++length;
        // The last place of a result with 24 digits, or of a subnormal one.
        int256 place = exponent + int256(length) - 24;
        if (place < LEAST) place = LEAST;
        uint256 kept;
        if (place <= exponent) {
            kept = significand * 2 ** uint256(exponent - place);
        } else {
            uint256 dropped = uint256(place - exponent);
            // All of it lies below half of the least place.
            if (dropped > 255) return sign;
            uint256 unit = 2 ** dropped;
            kept = significand / unit;
            uint256 rest = significand % unit;
            bool up = rest > unit / 2 || (rest == unit / 2 && (inexact || kept % 2 == 1));
            if (up) ++kept;
        }
        if (kept == 2 ** 24) (kept, place) = (2 ** 23, place + 1);
        if (kept < 2 ** 23) return sign | kept;
        int256 field = place + 150;
        if (field >= 255) return sign | 0x7f800000;
        return sign | (uint256(field) << 23) | (kept - 2 ** 23);
    }

    /// @dev The number that finite bits stand for.
    function number(uint256 bits) internal pure returns (bool negative, uint256 significand, int256 exponent) {
        uint256 field = (bits >> 23) & 0xff;
        significand = bits & 0x7fffff;
        negative = bits >> 31 == 1;
        if (field == 0) return (negative, significand, LEAST);
        return (negative, significand + 2 ** 23, int256(field) - 150);
    }
}
