// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The numbers of the protocol that say what a node is.
library Kinds {
    uint256 internal constant INPUT = 0;
    uint256 internal constant MAP = 1;
    uint256 internal constant DOT = 2;
    uint256 internal constant SUM = 3;
    uint256 internal constant MAX = 4;
    uint256 internal constant GATHER = 5;
    uint256 internal constant SCATTER_SUM = 6;
    uint256 internal constant SCATTER_MAX = 7;
    uint256 internal constant COUNT = 8;

    uint256 private constant REDUCING = (1 << DOT) | (1 << SUM) | (1 << MAX) | (1 << SCATTER_SUM) | (1 << SCATTER_MAX);
    uint256 private constant SUMMING = (1 << DOT) | (1 << SUM) | (1 << SCATTER_SUM);
    /// @dev Operands of each kind but `map`, a digit each.
    uint256 private constant ARITY = 0x22211200;

    function reduces(uint256 kind) internal pure returns (bool) {
        return (REDUCING >> kind) & 1 != 0;
    }

    function sums(uint256 kind) internal pure returns (bool) {
        return (SUMMING >> kind) & 1 != 0;
    }

    function scatters(uint256 kind) internal pure returns (bool) {
        return kind >= SCATTER_SUM;
    }

    function arity(uint256 kind) internal pure returns (uint256) {
        unchecked {
            return (ARITY >> (4 * kind)) & 0xf;
        }
    }
}
