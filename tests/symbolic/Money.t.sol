// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ledger} from "../../contracts/lib/Ledger.sol";
import {Pricing} from "../../contracts/lib/Pricing.sol";
import {BatchWord} from "../../contracts/types/BatchWord.sol";
import {LeaseWord} from "../../contracts/types/LeaseWord.sol";
import {MarketStorage} from "../../contracts/types/MarketStorage.sol";
import {TermsWord} from "../../contracts/types/TermsWord.sol";

/// @notice Money between a batch's reserve and its task's escrow, for all terms and batches there are: it only moves.
contract MoneyCheck {
    using Ledger for MarketStorage;

    uint40 private constant BATCH = 7;
    uint40 private constant TASK = 5;
    /// @dev The supply of the token: no escrow and no reserve is more.
    uint256 private constant CAP = 1_000_000_000e18;

    MarketStorage private _s;

    function check_refund(uint256 termsBits, uint256 batchBits, uint96 escrow, uint8 count) external {
        TermsWord terms = TermsWord.wrap(termsBits);
        BatchWord word = BatchWord.wrap(batchBits);
        if (!_place(word, terms, escrow) || count > word.unsettled()) return;
        uint256 before = escrow + _reserve(word, terms);
        uint256 refunded;
        (word, refunded) = _s.refund(word, terms, count);
        assert(_s.tasks[TASK].escrow == escrow + refunded);
        assert(_s.tasks[TASK].escrow + _reserve(word, terms) == before);
        assert(_covers(word));
    }

    function check_settle(uint256 termsBits, uint256 batchBits, uint96 escrow) external {
        TermsWord terms = TermsWord.wrap(termsBits);
        BatchWord word = BatchWord.wrap(batchBits);
        if (!_place(word, terms, escrow)) return;
        uint256 before = escrow + _reserve(word, terms);
        BatchWord settled = _s.settleIfDone(BATCH, word, terms);
        assert(_s.tasks[TASK].escrow + _reserve(settled, terms) == before);
        assert(word.unsettled() != 0 || _reserve(settled, terms) == 0);
    }

    /// @dev A fee that comes back is the batch's again, or the requester's, and nothing else is.
    function check_returnFee(uint256 termsBits, uint256 batchBits, uint96 escrow) external {
        TermsWord terms = TermsWord.wrap(termsBits);
        BatchWord word = BatchWord.wrap(batchBits);
        if (!_place(word, terms, escrow) || word.replicasPaid() == 0) return;
        if (word.unsettled() == 0 && word.replicasPaid() != word.grains()) return;
        uint256 before = escrow + _reserve(word, terms);
        _s.returnFee(BATCH, terms);
        assert(_s.tasks[TASK].escrow + _reserve(_s.batches[BATCH].word, terms) == before + Pricing.fee(terms, word));
    }

    /// @dev A lease ended without a result: its grains are free again, or refunded.
    function check_repost(uint256 termsBits, uint256 batchBits, uint96 escrow, uint8 first, uint8 grains) external {
        TermsWord terms = TermsWord.wrap(termsBits);
        BatchWord word = BatchWord.wrap(batchBits);
        if (!_place(word, terms, escrow) || grains > word.unsettled() || first > 127) return;
        uint256 before = escrow + _reserve(word, terms);
        LeaseWord lease =
            LeaseWord.wrap((uint256(BATCH) << 8) | (uint256(first) << 48) | (uint256(grains) << 56));
        _s.repost(lease, terms);
        word = _s.batches[BATCH].word;
        assert(_s.tasks[TASK].escrow + _reserve(word, terms) == before);
        assert(_covers(word));
    }

    /// @dev Of a conviction's stake at least half burns, an owed fee included.
    function check_halfBurns(uint256 termsBits, uint256 batchBits, uint16 shards) external pure {
        (TermsWord terms, BatchWord batch) = (TermsWord.wrap(termsBits), BatchWord.wrap(batchBits));
        if (!_accepted(terms) || shards == 0 || shards > 8192) return;
        uint256 stake = Pricing.stake(terms, batch, shards);
        assert(2 * (stake / 4 + Pricing.fee(terms, batch)) <= stake);
    }

    /// @dev The fee is rounded down: the node that gains it cannot gain by rounding.
    function check_feeRoundsDown(uint256 termsBits, uint256 batchBits) external pure {
        (TermsWord terms, BatchWord batch) = (TermsWord.wrap(termsBits), BatchWord.wrap(batchBits));
        if (!_accepted(terms)) return;
        uint256 fee = Pricing.fee(terms, batch);
        uint256 exact =
            (terms.price() * terms.feePercent()) << Pricing.blockLog2(terms, batch.size() * batch.longest());
        assert(fee * 100 <= exact && exact < fee * 100 + 100);
    }

    /// @dev Half of a penalty, rounded down, is the requester's; a penalty is at most a fifth of the stake.
    function check_penalty(uint96 stake, uint16 lateBp) external pure {
        if (lateBp > 2000) return;
        uint256 penalty = (uint256(stake) * lateBp) / 10_000;
        assert(penalty <= stake / 5 && penalty / 2 <= penalty - penalty / 2);
    }

    /// @dev A batch of some task as it may stand. @return Whether it may.
    function _place(BatchWord word, TermsWord terms, uint96 escrow) private returns (bool) {
        if (!_accepted(terms) || word.task() != TASK || word.grains() == 0 || word.grains() > 128) return false;
        if (word.unsettled() > word.grains() || !_covers(word)) return false;
        if (escrow > CAP || _reserve(word, terms) > CAP) return false;
        _s.batches[BATCH].word = word;
        _s.tasks[TASK].terms = terms;
        _s.tasks[TASK].escrow = escrow;
        return true;
    }

    function _accepted(TermsWord terms) private pure returns (bool) {
        return terms.price() != 0 && terms.stakeFactor() != 0 && (terms.blockLog2() <= 13 || terms.blockLog2() == 255);
    }

    /// @dev For every unsettled grain a fee is reserved.
    function _covers(BatchWord word) private pure returns (bool) {
        return word.replicasPaid() <= word.grains() && word.unsettled() <= word.grains() - word.replicasPaid();
    }

    function _reserve(BatchWord word, TermsWord terms) private pure returns (uint256) {
        return uint256(word.unsettled()) * word.size() * terms.price()
            + uint256(word.grains() - word.replicasPaid()) * Pricing.fee(terms, word);
    }
}
