// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {BatchWord} from "../types/BatchWord.sol";
import {LeaseWord} from "../types/LeaseWord.sol";
import {TermsWord} from "../types/TermsWord.sol";

/// @notice What a lease costs, locks and forfeits.
library Pricing {
    /// @dev ceil(log2 n), n at least 1.
    function ceilLog2(uint256 n) internal pure returns (uint256) {
        unchecked {
            return n == 1 ? 0 : Math.log2(n - 1) + 1;
        }
    }

    /// @dev b: log2 of the aligned block that a replica of `shards` re-executes.
    function blockLog2(TermsWord terms, uint256 shards) internal pure returns (uint256) {
        return Math.min(terms.blockLog2(), ceilLog2(shards));
    }

    /// @dev The same for every lease of a batch: of the block of its longest.
    function fee(TermsWord terms, BatchWord batch) internal pure returns (uint256) {
        uint256 percent = terms.feePercent();
        if (percent == 0) return 0;
        unchecked {
            return ((terms.price() * percent) << blockLog2(terms, batch.size() * batch.longest())) / 100;
        }
    }

    /// @dev S = max(factor * price * shards, 4 * fee): so a quarter covers an owed fee, and half of every slash burns.
    function stake(TermsWord terms, BatchWord batch, uint256 shards) internal pure returns (uint256) {
        unchecked {
            return Math.max((terms.stakeFactor() * terms.price() * shards) / 100, 4 * fee(terms, batch));
        }
    }

    /// @dev S of a lease as it stands: a replica's is over its block.
    function stakeOf(TermsWord terms, BatchWord batch, LeaseWord lease) internal pure returns (uint256) {
        uint256 shards = shardsOf(batch, lease);
        return stake(terms, batch, lease.isReplica() ? 1 << blockLog2(terms, shards) : shards);
    }

    /// @dev Shards of the lease; a replica's: of its primary.
    function shardsOf(BatchWord batch, LeaseWord lease) internal pure returns (uint256) {
        unchecked {
            return lease.grains() * batch.size();
        }
    }
}
