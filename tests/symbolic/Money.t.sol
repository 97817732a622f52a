// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ledger} from "../../contracts/lib/Ledger.sol";
import {Pricing} from "../../contracts/lib/Pricing.sol";
import {BatchWord} from "../../contracts/types/BatchWord.sol";
import {LeaseWord} from "../../contracts/types/LeaseWord.sol";
import {MarketStorage} from "../../contracts/types/MarketStorage.sol";
import {TermsWord} from "../../contracts/types/TermsWord.sol";

/// @notice Money between a batch's reserve and its task's escrow: it only moves. For every batch and escrow there is, at
/// one price, fee and size of a grain: products and quotients of unknowns are beyond the solver.
contract MoneyCheck {
    using Ledger for MarketStorage;

    // Variables: the optimiser would hash constant keys beforehand, and halmos not know the slots again.
    uint40 private _batch = 7;
    uint40 private _task = 5;
    /// @dev The supply of the token: no escrow and no reserve is more.
    uint256 private constant CAP = 1_000_000_000e18;

    TermsWord private constant TERMS =
        TermsWord.wrap((1e18 + 7) | (uint256(251) << 168) | (uint256(61) << 216) | (uint256(255) << 248));
    /// @dev Three shards a grain, four grains the longest lease.
    uint256 private constant SHAPE = (2 << 48) | (3 << 248);
    uint256 private constant SHAPE_MASK = type(uint40).max | (63 << 48) | (127 << 248);

    MarketStorage private _s;

    function check_refund(uint256 batchBits, uint96 escrow, uint8 count) external {
        TermsWord terms = TERMS;
        BatchWord word = _shaped(batchBits);
        if (!_place(word, terms, escrow) || count > word.unsettled()) return;
        uint256 before = uint256(escrow) + _reserve(word, terms);
        uint256 refunded;
        (word, refunded) = _s.refund(word, terms, _split(count));
        assert(_s.tasks[_task].escrow == uint256(escrow) + refunded);
        assert(_s.tasks[_task].escrow + _reserve(word, terms) == before);
        assert(_covers(word));
    }

    function check_settle(uint256 batchBits, uint96 escrow) external {
        TermsWord terms = TERMS;
        BatchWord word = _shaped(batchBits);
        if (!_place(word, terms, escrow)) return;
        uint256 before = uint256(escrow) + _reserve(word, terms);
        BatchWord settled = _s.settleIfDone(_batch, word, terms);
        assert(_s.tasks[_task].escrow + _reserve(settled, terms) == before);
        assert(word.unsettled() != 0 || _reserve(settled, terms) == 0);
    }

    /// @dev A fee that comes back is the batch's again, or the requester's, and nothing else is.
    function check_returnFee(uint256 batchBits, uint96 escrow) external {
        TermsWord terms = TERMS;
        BatchWord word = _shaped(batchBits);
        if (!_place(word, terms, escrow) || word.replicasPaid() == 0) return;
        if (word.unsettled() == 0 && word.replicasPaid() != word.grains()) return;
        uint256 before = uint256(escrow) + _reserve(word, terms);
        _s.returnFee(_batch, terms);
        assert(_s.tasks[_task].escrow + _reserve(_s.batches[_batch].word, terms) == before + Pricing.fee(terms, word));
    }

    /// @dev A lease ended without a result: its grains are free again, or refunded.
    function check_repost(uint256 batchBits, uint96 escrow, uint8 first, uint8 grains) external {
        TermsWord terms = TERMS;
        BatchWord word = _shaped(batchBits);
        if (!_place(word, terms, escrow) || grains > word.unsettled() || first > 127) return;
        uint256 before = uint256(escrow) + _reserve(word, terms);
        LeaseWord lease =
            LeaseWord.wrap((uint256(_batch) << 8) | (uint256(first) << 48) | (_split(grains) << 56));
        _s.repost(lease, terms);
        word = _s.batches[_batch].word;
        assert(_s.tasks[_task].escrow + _reserve(word, terms) == before);
        assert(_covers(word));
    }

    /// @dev The same number; known on each path.
    function _split(uint256 count) private pure returns (uint256 known) {
        while (known != count) ++known;
    }

    /// @dev Any batch of the one task and shape.
    function _shaped(uint256 bits) private view returns (BatchWord) {
        return BatchWord.wrap((bits & ~SHAPE_MASK) | SHAPE | _task);
    }

    /// @dev A batch of some task as it may stand. @return Whether it may.
    function _place(BatchWord word, TermsWord terms, uint96 escrow) private returns (bool) {
        if (word.grains() == 0 || word.grains() > 128) return false;
        if (word.unsettled() > word.grains() || !_covers(word)) return false;
        if (escrow > CAP || _reserve(word, terms) > CAP) return false;
        _s.batches[_batch].word = word;
        _s.tasks[_task].terms = terms;
        _s.tasks[_task].escrow = escrow;
        return true;
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
