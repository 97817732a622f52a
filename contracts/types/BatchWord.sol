// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice The first storage slot of a batch, from the lowest bit:
/// `task 40 | grains 8 | size - 1 6 | open 1 | keep 1 | free 128 | unsettled 8 | replicas paid 16 | posted 40 |
/// longest lease - 1 7 | gated 1`. The task's flags are copied so that no lease has to read them from the task.
type BatchWord is uint256;

uint256 constant FREE_SHIFT = 56;
uint256 constant UNSETTLED_SHIFT = 184;
uint256 constant REPLICAS_PAID_SHIFT = 192;
uint256 constant POSTED_SHIFT = 208;

using {
    task,
    grains,
    size,
    isOpenTask,
    keepsResults,
    free,
    unsettled,
    replicasPaid,
    posted,
    longest,
    isGated,
    withFree,
    withoutUnsettled,
    withReplicasPaid,
    closed
} for BatchWord global;

/// @dev `longest_`, at least 1, must not exceed 128; so `grains` and `size` are checked by the caller.
function newBatch(
    uint40 task_,
    uint8 grains_,
    uint8 size_,
    uint8 longest_,
    bool open,
    bool keep,
    bool gated
) view returns (BatchWord) {
    return BatchWord.wrap(
        uint256(task_) | (uint256(grains_) << 40) | (uint256(size_ - 1) << 48) | (open ? 1 << 54 : 0)
            | (keep ? 1 << 55 : 0) | (((uint256(1) << grains_) - 1) << FREE_SHIFT)
            | (uint256(grains_) << UNSETTLED_SHIFT) | (block.timestamp << POSTED_SHIFT)
            | (uint256(longest_ - 1) << 248) | (gated ? 1 << 255 : 0)
    );
}

/// @dev Bits of grains [first, first + count).
function run(uint8 first, uint8 count) pure returns (uint256) {
    return ((uint256(1) << count) - 1) << first;
}

function task(BatchWord word) pure returns (uint40) {
    return uint40(BatchWord.unwrap(word));
}

function grains(BatchWord word) pure returns (uint8) {
    return uint8(BatchWord.unwrap(word) >> 40);
}

function size(BatchWord word) pure returns (uint256) {
    unchecked {
        return ((BatchWord.unwrap(word) >> 48) & 63) + 1;
    }
}

function isOpenTask(BatchWord word) pure returns (bool) {
    return BatchWord.unwrap(word) & (1 << 54) != 0;
}

function keepsResults(BatchWord word) pure returns (bool) {
    return BatchWord.unwrap(word) & (1 << 55) != 0;
}

function free(BatchWord word) pure returns (uint128) {
    return uint128(BatchWord.unwrap(word) >> FREE_SHIFT);
}

function unsettled(BatchWord word) pure returns (uint8) {
    return uint8(BatchWord.unwrap(word) >> UNSETTLED_SHIFT);
}

function replicasPaid(BatchWord word) pure returns (uint16) {
    return uint16(BatchWord.unwrap(word) >> REPLICAS_PAID_SHIFT);
}

function posted(BatchWord word) pure returns (uint40) {
    return uint40(BatchWord.unwrap(word) >> POSTED_SHIFT);
}

function longest(BatchWord word) pure returns (uint256) {
    unchecked {
        return ((BatchWord.unwrap(word) >> 248) & 127) + 1;
    }
}

function isGated(BatchWord word) pure returns (bool) {
    return BatchWord.unwrap(word) >> 255 != 0;
}

function withFree(BatchWord word, uint128 free_) pure returns (BatchWord) {
    uint256 kept = BatchWord.unwrap(word) & ~(uint256(type(uint128).max) << FREE_SHIFT);
    return BatchWord.wrap(kept | (uint256(free_) << FREE_SHIFT));
}

/// @dev `count` grains fewer are unsettled. Reverts below zero.
function withoutUnsettled(BatchWord word, uint256 count) pure returns (BatchWord) {
    uint256 left = unsettled(word) - count;
    uint256 kept = BatchWord.unwrap(word) & ~(uint256(type(uint8).max) << UNSETTLED_SHIFT);
    return BatchWord.wrap(kept | (left << UNSETTLED_SHIFT));
}

function withReplicasPaid(BatchWord word, uint16 paid) pure returns (BatchWord) {
    uint256 kept = BatchWord.unwrap(word) & ~(uint256(type(uint16).max) << REPLICAS_PAID_SHIFT);
    return BatchWord.wrap(kept | (uint256(paid) << REPLICAS_PAID_SHIFT));
}

function closed(BatchWord word) pure returns (BatchWord) {
    return BatchWord.wrap(BatchWord.unwrap(word) & ~(uint256(type(uint40).max) << POSTED_SHIFT));
}
