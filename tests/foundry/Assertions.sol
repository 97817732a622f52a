// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

error Differs(string what, uint256 given, uint256 expected);
error Exceeds(string what, uint256 given, uint256 most);
error Untrue(string what);

function requireEqual(string memory what, uint256 given, uint256 expected) pure {
    if (given != expected) revert Differs(what, given, expected);
}

function requireAtMost(string memory what, uint256 given, uint256 most) pure {
    if (given > most) revert Exceeds(what, given, most);
}

function requireThat(string memory what, bool holds) pure {
    if (!holds) revert Untrue(what);
}

/// @dev One of [least, most], each as likely as any other, and the ends more so.
function between(uint256 seed, uint256 least, uint256 most) pure returns (uint256) {
    if (seed % 16 == 0) return least;
    if (seed % 16 == 1) return most;
    return least + (seed >> 4) % (most - least + 1);
}
