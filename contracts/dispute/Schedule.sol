// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {CourtStorage} from "./CourtStorage.sol";

/// @notice What moves are paid for, in gas: a fixed figure for each kind of move and each word that it posts, a little
/// above what was measured (snapshots/court.json). Only the evaluation of a node is metered.
library Schedule {
    uint256 internal constant ANSWER = 112_000;
    uint256 internal constant DESCENT = 91_500;
    uint256 internal constant TENSOR = 130_000;
    uint256 internal constant LEAF = 82_000;
    uint256 internal constant CHOICE = 85_000;
    uint256 internal constant EVALUATION = 84_000;
    uint256 internal constant REFUTATION = 270_000;
    uint256 internal constant INVALIDITY = 200_000;
    /// @dev To say that a challenger is silent.
    uint256 internal constant TIMEOUT = 110_000;
    /// @dev The answer to a demand.
    uint256 internal constant DISCLOSURE = 132_000;
    /// @dev 32 bytes posted.
    uint256 internal constant WORD = 1_180;
    /// @dev A byte of a descriptor, of reads or of partial results.
    uint256 internal constant BYTE = 36;
    /// @dev The longest game: 9 moves a side.
    uint256 internal constant DEFENDER = 2_250_000;
    uint256 internal constant GAME = 4_500_000;
    /// @dev The largest answer to a demand.
    uint256 internal constant DEMAND = 330_000;
    /// @dev Every so many open at once double what the next costs.
    uint256 internal constant CROWD = 16;
    uint256 private constant MOST_DOUBLINGS = 64;
    uint256 private constant TIP = 2 gwei;

    /// @dev What so much gas costs now, with the margin that makes moving worth the while.
    function price(CourtStorage storage s, uint256 units) internal view returns (uint96) {
        uint256 most = block.basefee + TIP;
        uint256 cap = s.gasPriceCap;
        if (cap < most) most = cap;
        if (tx.gasprice < most) most = tx.gasprice;
        return uint96((units * most * 5) / 4);
    }

    /// @dev The same at the cap.
    function priceAtCap(CourtStorage storage s, uint256 units) internal view returns (uint256) {
        return (units * s.gasPriceCap * 5) / 4;
    }

    /// @dev What the next of many at once costs: a crowd that no node could answer in time is dear.
    function crowded(uint256 amount, uint256 open) internal pure returns (uint256) {
        uint256 doublings = open / CROWD;
        return amount << (doublings < MOST_DOUBLINGS ? doublings : MOST_DOUBLINGS);
    }
}
