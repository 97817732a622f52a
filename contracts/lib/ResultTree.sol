// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {Pricing} from "./Pricing.sol";

/// @notice The tree of a lease's result hashes: entries are its leaves, nodes `sha256(0x01 || left || right)`, an empty
/// subtree 32 zero bytes, and the root binds tag, kind and count: `sha256(0x03 || 0x02 || uint64-LE count || raw
/// root)`.
library ResultTree {
    bytes2 private constant TAG = 0x0302;

    /// @dev Aligned blocks of 2^log2 shards in `shards`; the last may be short.
    function blocks(uint256 shards, uint256 log2) internal pure returns (uint256) {
        unchecked {
            return (shards + (1 << log2) - 1) >> log2;
        }
    }

    /// @dev The result root into which `node`, at `index` of the level `log2`, opens by exactly its siblings.
    function open(bytes32 node, uint256 index, bytes32[] calldata path, uint256 shards, uint256 log2)
        internal
        pure
        returns (bytes32)
    {
        uint256 height = Pricing.ceilLog2(shards) - log2;
        if (path.length != height) revert ITaskMarket.WrongPathLength(path.length, height);
        for (uint256 i; i < height; ++i) {
            (bytes32 left, bytes32 right) = (index >> i) & 1 == 0 ? (node, path[i]) : (path[i], node);
            node = sha256(abi.encodePacked(bytes1(0x01), left, right));
        }
        return sha256(abi.encodePacked(TAG, littleEndian(uint16(shards)), bytes6(0), node));
    }

    /// @dev A lease has at most 8,192 shards, so its count fits two bytes.
    function littleEndian(uint16 n) private pure returns (uint16) {
        return (n << 8) | (n >> 8);
    }
}
