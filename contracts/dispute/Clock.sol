// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Deadlines in seconds and blocks, so that neither a stalled chain nor a jumpy clock costs anyone a game.
library Clock {
    uint256 internal constant BLOCKS = 32;
    /// @dev How many of its own task's moves' times a move may wait for other games of the same node.
    uint256 internal constant MOST_MOVES = 32;

    function passed(uint256 deadline, uint256 blockNumber) internal view returns (bool) {
        return block.timestamp > deadline && block.number > blockNumber + BLOCKS;
    }

    /// @dev When a move is due that waits for the node's other re-executions.
    function queued(uint256 busyUntil, uint256 moveTime) internal view returns (uint40) {
        uint256 start = busyUntil > block.timestamp ? busyUntil : block.timestamp;
        uint256 most = block.timestamp + MOST_MOVES * moveTime;
        return uint40(start + moveTime < most ? start + moveTime : most);
    }
}
