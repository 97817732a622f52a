// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ITaskMarket} from "../interfaces/ITaskMarket.sol";
import {BatchWord, run} from "../types/BatchWord.sol";
import {LeaseWord} from "../types/LeaseWord.sol";
import {Batch, MarketStorage} from "../types/MarketStorage.sol";
import {TermsWord} from "../types/TermsWord.sol";
import {Pricing} from "./Pricing.sol";

/// @notice Moves between a batch's reserve and its task's escrow. Invariant:
/// `reserve >= fee * (unsettled grains + replicas owed)`.
library Ledger {
    /// @dev A lease ended without a result: its grains may be leased again, or go back to the requester if closed.
    function repost(MarketStorage storage self, LeaseWord lease, TermsWord terms) internal {
        uint40 id = lease.batch();
        BatchWord word = self.batches[id].word;
        if (word.posted() != 0) {
            uint256 bits = run(lease.first(), lease.grains());
            self.batches[id].word = word.withFree(uint128(word.free() | bits));
        } else {
            uint256 refunded;
            (word, refunded) = refund(self, word, terms, lease.grains());
            emit ITaskMarket.Refunded(id, uint96(refunded));
            self.batches[id].word = settleIfDone(self, id, word, terms);
        }
    }

    /// @dev Takes `count` unsettled grains out of a closed batch: their price, and the fee that each reserves.
    function refund(MarketStorage storage self, BatchWord word, TermsWord terms, uint256 count)
        internal
        returns (BatchWord, uint256 refunded)
    {
        refunded = count * (word.size() * terms.price() + Pricing.fee(terms, word));
        self.tasks[word.task()].escrow += uint96(refunded);
        return (word.withoutUnsettled(count).withReplicasPaid(uint16(word.replicasPaid() + count)), refunded);
    }

    /// @dev With nothing unsettled, returns the unspent replica reserve to escrow.
    function settleIfDone(MarketStorage storage self, uint40 id, BatchWord word, TermsWord terms)
        internal
        returns (BatchWord)
    {
        if (word.unsettled() != 0) return word;
        uint256 unspent = (word.grains() - word.replicasPaid()) * Pricing.fee(terms, word);
        if (unspent != 0) self.tasks[word.task()].escrow += uint96(unspent);
        emit ITaskMarket.BatchSettled(id, uint96(unspent));
        return word.withReplicasPaid(word.grains());
    }

    /// @dev A fee that had left the reserve comes back to it; to escrow, once the batch has settled.
    function returnFee(MarketStorage storage self, uint40 id, TermsWord terms) internal {
        Batch storage batch = self.batches[id];
        BatchWord word = batch.word;
        if (word.unsettled() != 0) {
            batch.word = word.withReplicasPaid(word.replicasPaid() - 1);
        } else {
            uint256 fee = Pricing.fee(terms, word);
            self.tasks[word.task()].escrow += uint96(fee);
            emit ITaskMarket.Refunded(id, uint96(fee));
        }
    }
}
