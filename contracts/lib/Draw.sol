// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseId} from "../types/LeaseId.sol";
import {SlotKey} from "../types/LeaseId.sol";

/// @notice Who is checked, and by whom: decided by a block hash that nobody knew when the lease was committed.
library Draw {
    /// @dev `drawBlock` must be one of the last 256 blocks, or its hash reads as zero.
    function seed(LeaseId lease, bytes32 commitment, uint256 drawBlock) internal view returns (bytes32) {
        return keccak256(
            abi.encode(blockhash(drawBlock), SlotKey.unwrap(lease.key()), lease.generation(), commitment)
        );
    }

    /// @dev A hash of zero never draws: the block is too old, or the chain has no block hashes.
    function isDrawn(bytes32 seed_, uint256 drawBlock, uint256 drawBp) internal view returns (bool) {
        return (uint256(seed_) >> 128) * 10_000 < drawBp << 128 && blockhash(drawBlock) != 0;
    }

    /// @dev Which of `blocks` aligned blocks the replica re-executes.
    function drawnBlock(bytes32 seed_, uint256 blocks) internal pure returns (uint16) {
        return uint16(uint128(uint256(seed_)) % blocks);
    }

    /// @dev One ticket a block: over the lottery's first half, stake `s` of `total` wins about `4 s / total` times.
    /// At most 128 + 96 + 8 bits on the left, 3 + 96 + 128 on the right.
    function wins(bytes32 seed_, uint32 node, uint256 attempt, uint256 stake, uint256 total, uint256 lotteryBlocks)
        internal
        pure
        returns (bool)
    {
        uint256 ticket = uint256(keccak256(abi.encode(seed_, node, attempt))) >> 128;
        return ticket * total * lotteryBlocks < (8 * stake) << 128;
    }
}
