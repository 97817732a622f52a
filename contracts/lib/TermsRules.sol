// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {FLAG_KEEP_RESULTS, FLAG_GATED, FLAG_OPEN, ITaskMarket, Policy, Terms} from "../interfaces/ITaskMarket.sol";

/// @notice What a market accepts as terms.
library TermsRules {
    uint256 internal constant WHOLE_LEASE = 255;
    uint256 internal constant MAX_BLOCK_LOG2 = 13;
    uint256 internal constant MAX_GRAINS = 128;
    uint256 internal constant MAX_SIZE = 64;

    /// @dev Reverts with the first term out of its range.
    function check(Terms calldata terms, Policy memory policy) internal pure {
        bool open = terms.flags & FLAG_OPEN != 0;
        within("price", terms.price, 1, type(uint96).max);
        within("computeSeconds", terms.computeSeconds, 1, type(uint24).max);
        within("revealSeconds", terms.revealSeconds, 1, type(uint24).max);
        within("moveTime", terms.moveTime, policy.minMoveTime, policy.maxMoveTime);
        within("challengeSeconds", terms.challengeSeconds, leastWindow(terms, policy), type(uint24).max);
        within("stakeFactor", terms.stakeFactor, 1, type(uint16).max);
        within("lateBp", terms.lateBp, 100, 2000);
        within("drawBp", terms.drawBp, 0, open || policy.weakBlockHashes ? 0 : 10_000);
        within("feePercent", terms.feePercent, 0, open ? 0 : type(uint16).max);
        within("drawDelay", terms.drawDelay, 1, type(uint8).max);
        within("lotteryBlocks", terms.lotteryBlocks, 1, 200);
        if (terms.blockLog2 != WHOLE_LEASE) within("blockLog2", terms.blockLog2, 0, MAX_BLOCK_LOG2);
        within("maxGrains", terms.maxGrains, 1, MAX_GRAINS);
        within("flags", terms.flags, 0, FLAG_OPEN | FLAG_GATED | FLAG_KEEP_RESULTS);
    }

    function within(string memory term, uint256 value, uint256 least, uint256 most) internal pure {
        if (value < least || value > most) revert ITaskMarket.TermOutOfRange(term, value, least, most);
    }

    /// @dev Time for the court: four moves, and the computation that an auditor repeats.
    function leastWindow(Terms calldata terms, Policy memory policy) private pure returns (uint256) {
        return policy.courtWindows ? 4 * uint256(terms.moveTime) + terms.computeSeconds : 1;
    }
}
