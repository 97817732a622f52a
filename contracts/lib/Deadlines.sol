// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LeaseState} from "../interfaces/ITaskMarket.sol";
import {LeaseWord} from "../types/LeaseWord.sol";
import {TermsWord} from "../types/TermsWord.sol";

/// @notice When a deadline has passed: by the clock and by the count of blocks, so that neither a stalled sequencer nor
/// a jumpy clock costs anyone stake.
library Deadlines {
    /// @dev Blocks that must follow a state's own before its deadline can have passed.
    uint256 internal constant BLOCKS = 32;

    function passed(LeaseWord word) internal view returns (bool) {
        return _passed(word, 0, BLOCKS);
    }

    /// @dev A lone commit: replicas may take it up to `draw block + L`, and only then is its owner free to reveal.
    function commitPassed(LeaseWord word, TermsWord terms) internal view returns (bool) {
        return _passed(word, 0, BLOCKS + terms.drawDelay() + terms.lotteryBlocks());
    }

    /// @dev The primary's turn, once its replica's deadline has passed: another reveal time, another 32 blocks.
    function turnPassed(LeaseWord word, TermsWord terms) internal view returns (bool) {
        return _passed(word, terms.revealSeconds(), 2 * BLOCKS);
    }

    /// @dev A slashed slot rests until its deadline.
    function isFree(LeaseWord word) internal view returns (bool) {
        LeaseState state = word.state();
        return state == LeaseState.Free || (state == LeaseState.Slashed && passed(word));
    }

    function _passed(LeaseWord word, uint256 moreSeconds, uint256 blocks) private view returns (bool) {
        unchecked {
            return block.timestamp > word.stamp() + moreSeconds && block.number > word.blockNumber() + blocks;
        }
    }
}
