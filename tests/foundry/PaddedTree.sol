// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Trees by the book (docs/protocol.md, 1): all leaves written out to a power of two, zeros behind the last.
library PaddedTree {
    function height(uint256 count) internal pure returns (uint256 levels) {
        while ((1 << levels) < count) ++levels;
    }

    /// @dev All nodes of one level.
    function level(bytes32[] memory entries, uint256 above) internal pure returns (bytes32[] memory nodes) {
        nodes = new bytes32[](1 << height(entries.length));
        for (uint256 i; i < entries.length; ++i) nodes[i] = entries[i];
        for (; above != 0; --above) {
            bytes32[] memory parents = new bytes32[](nodes.length / 2);
            for (uint256 i; i < parents.length; ++i) parents[i] = parent(nodes[2 * i], nodes[2 * i + 1]);
            nodes = parents;
        }
    }

    function root(bytes32[] memory entries) internal pure returns (bytes32) {
        return level(entries, height(entries.length))[0];
    }

    /// @dev Siblings from that node of that level up to the root.
    function path(bytes32[] memory entries, uint256 above, uint256 index)
        internal
        pure
        returns (bytes32[] memory siblings)
    {
        siblings = new bytes32[](height(entries.length) - above);
        for (uint256 i; i < siblings.length; ++i) siblings[i] = level(entries, above + i)[(index >> i) ^ 1];
    }

    function parent(bytes32 left, bytes32 right) internal pure returns (bytes32) {
        if (left == 0 && right == 0) return 0;
        return sha256(abi.encodePacked(uint8(1), left, right));
    }

    /// @dev The raw root under its tag, kind and count.
    function finalised(uint8 kind, uint256 count, bytes32 raw) internal pure returns (bytes32) {
        bytes memory littleEndian = new bytes(8);
        for (uint256 i; i < 8; ++i) littleEndian[i] = bytes1(uint8(count >> (8 * i)));
        return sha256(abi.encodePacked(uint8(3), kind, littleEndian, raw));
    }
}
