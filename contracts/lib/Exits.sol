// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {ITaskMarket, LeaseState} from "../interfaces/ITaskMarket.sol";
import {TokenAI} from "../TokenAI.sol";
import {BatchWord} from "../types/BatchWord.sol";
import {LeaseId, SlotKey} from "../types/LeaseId.sol";
import {FEE_COVERED, LeaseWord, REPLICA, freed} from "../types/LeaseWord.sol";
import {MarketStorage} from "../types/MarketStorage.sol";
import {TermsWord} from "../types/TermsWord.sol";
import {Deadlines} from "./Deadlines.sol";
import {Ledger} from "./Ledger.sol";
import {Pricing} from "./Pricing.sol";

/// @notice The ways out of a lease that went wrong: a missed deadline, a contest without proof, a proof. Linked, not
/// inlined, since the market would not fit otherwise, and these are rare.
library Exits {
    using Deadlines for LeaseWord;
    using Ledger for MarketStorage;

    uint8 private constant REVEALED = uint8(LeaseState.Revealed);
    uint8 private constant SLASHED = uint8(LeaseState.Slashed);

    /* EXPIRY */

    function expire(MarketStorage storage self, INodeRegistry registry, LeaseId[] calldata leases) external {
        for (uint256 i; i < leases.length; ++i) {
            SlotKey key = leases[i].key();
            LeaseWord word = self.leases[key].word;
            if (word.generation() != leases[i].generation()) continue;
            if (word.isReplica()) _expireReplica(self, registry, key, word);
            else _expirePrimary(self, registry, key, word);
        }
    }

    /// @dev Linked, its deadline is the pair's; on its own, it has missed it already.
    function _expireReplica(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word) private {
        LeaseState state = word.state();
        if (word.isLinked()) {
            LeaseWord primary = self.leases[word.peer()].word;
            state = primary.state();
            if (!primary.passed()) return;
            if (state != LeaseState.Paired && state != LeaseState.Both) return;
            self.leases[word.peer()].word = primary.unlinked();
            if (state == LeaseState.Paired) state = LeaseState.Leased;
        }
        if (state == LeaseState.Leased) _expireLate(self, registry, key, word);
        else if (state == LeaseState.Both) _expireSilent(self, registry, key, word, 0);
    }

    function _expirePrimary(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word) private {
        LeaseState state = word.state();
        TermsWord terms = _terms(self, word);
        if (state == LeaseState.Leased) {
            if (!word.passed()) return;
        } else if (state == LeaseState.Committed || state == LeaseState.Called) {
            if (!word.commitPassed(terms)) return;
        } else if (state == LeaseState.Paired || state == LeaseState.Both) {
            if (!word.turnPassed(terms)) return;
            if (word.isLinked()) _expireReplica(self, registry, word.peer(), self.leases[word.peer()].word);
        } else if (state != LeaseState.HalfRevealed || !word.passed()) {
            return;
        }
        if (state == LeaseState.HalfRevealed) {
            _expireSilent(self, registry, key, word, Pricing.fee(terms, _batch(self, word)));
            _release(self, word.peer(), terms);
        } else if (state == LeaseState.Both) {
            _expireSilent(self, registry, key, word, 0);
        } else {
            _expireLate(self, registry, key, word);
        }
        self.repost(word, terms);
    }

    /// @dev Did not commit, or did not reveal while unpaired: the late penalty, half to the requester, half burnt.
    function _expireLate(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word) private {
        (uint256 penalty, uint256 toRequester) = _penalise(self, registry, key, word);
        emit ITaskMarket.Expired(
            word.id(key), word.batch(), uint96(penalty), uint96(toRequester), uint96(penalty - toRequester), 0
        );
    }

    /// @dev Did not reveal after both had committed: all of S, burnt but for the fee of a replica that did.
    function _expireSilent(
        MarketStorage storage self,
        INodeRegistry registry,
        SlotKey key,
        LeaseWord word,
        uint256 toReserve
    ) private {
        uint256 stake = Pricing.stakeOf(_terms(self, word), _batch(self, word), word);
        self.leases[key].word = freed(word);
        emit ITaskMarket.Expired(
            word.id(key), word.batch(), uint96(stake), 0, uint96(stake - toReserve), uint96(toReserve)
        );
        registry.seize(key.nodeOf(), stake, stake, toReserve, 0);
    }

    function _penalise(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word)
        private
        returns (uint256 penalty, uint256 toRequester)
    {
        BatchWord batch = _batch(self, word);
        TermsWord terms = self.tasks[batch.task()].terms;
        uint256 stake = Pricing.stakeOf(terms, batch, word);
        penalty = (stake * terms.lateBp()) / 10_000;
        toRequester = penalty / 2;
        self.leases[key].word = freed(word);
        self.tasks[batch.task()].escrow += uint96(toRequester);
        registry.seize(key.nodeOf(), stake, penalty, toRequester, 0);
    }

    /// @dev The replica of a primary that was silent: its result stands alone, with a window of its own.
    function _release(MarketStorage storage self, SlotKey replica, TermsWord terms) private {
        uint256 stamp = block.timestamp + terms.challengeSeconds();
        self.leases[replica].word =
            self.leases[replica].word.unlinked().withMove(REPLICA | REVEALED | FEE_COVERED, stamp);
    }

    /* CONTEST */

    function resolve(MarketStorage storage self, INodeRegistry registry, LeaseId[] calldata leases) external {
        for (uint256 i; i < leases.length; ++i) {
            SlotKey key = leases[i].key();
            LeaseWord word = self.leases[key].word;
            if (word.generation() != leases[i].generation()) continue;
            if (word.isReplica()) {
                key = word.peer();
                word = self.leases[key].word;
            }
            if (word.state() == LeaseState.Contested && word.passed() && word.games() == 0) {
                _void(self, registry, key, word);
            }
        }
    }

    /// @dev Neither was proven wrong: both go unpaid, each loses the late penalty, the range is reposted.
    function _void(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word) private {
        SlotKey peer = word.peer();
        LeaseWord replica = self.leases[peer].word;
        if (replica.games() != 0) return;
        _voidSide(self, registry, key, word);
        _voidSide(self, registry, peer, replica);
        self.repost(word, _terms(self, word));
    }

    function _voidSide(MarketStorage storage self, INodeRegistry registry, SlotKey key, LeaseWord word) private {
        (uint256 penalty, uint256 toRequester) = _penalise(self, registry, key, word);
        emit ITaskMarket.Voided(
            word.id(key), word.batch(), uint96(penalty), uint96(toRequester), uint96(penalty - toRequester)
        );
    }

    /* PROOF */

    /// @return bounty A quarter of the stake, sent to the arbiter. At least half is burnt.
    function convict(MarketStorage storage self, INodeRegistry registry, TokenAI token, LeaseId lease)
        external
        returns (uint96 bounty)
    {
        SlotKey key = lease.key();
        LeaseWord word = self.leases[key].word;
        if (word.generation() != lease.generation()) revert ITaskMarket.StaleLease(lease, word.generation());
        BatchWord batch = _batch(self, word);
        TermsWord terms = self.tasks[batch.task()].terms;
        uint256 stake = Pricing.stakeOf(terms, batch, word);
        uint256 toReserve;
        if (word.isReplica()) {
            _convictReplica(self, token, lease, word);
        } else {
            bool owed = word.isLinked() || word.feeCovered();
            if (owed) toReserve = Pricing.fee(terms, batch);
            _convictPrimary(self, lease, word, terms);
        }
        uint256 rest = block.timestamp + self.tasks[batch.task()].moveTime;
        uint8 state = word.isReplica() ? REPLICA | SLASHED : SLASHED;
        self.leases[key].word = word.unlinked().withGames(0).withMove(state, rest);
        bounty = uint96(stake / 4);
        emit ITaskMarket.Slashed(
            lease, word.batch(), uint96(stake), bounty, uint96(stake - bounty - toReserve), uint96(toReserve)
        );
        registry.seize(key.nodeOf(), stake, stake, toReserve, bounty);
    }

    function _convictPrimary(MarketStorage storage self, LeaseId lease, LeaseWord word, TermsWord terms) private {
        LeaseState state = word.state();
        _requireRevealed(lease, state);
        if (word.isLinked()) {
            SlotKey peer = word.peer();
            if (state == LeaseState.Contested) {
                _release(self, peer, terms);
            } else {
                self.leases[peer].word = self.leases[peer].word.unlinked().withClockOf(word).withState(
                    REPLICA | REVEALED | FEE_COVERED
                );
            }
        } else if (word.feeCovered()) {
            self.returnFee(word.batch(), terms);
        }
        self.repost(word, terms);
    }

    function _convictReplica(MarketStorage storage self, TokenAI token, LeaseId lease, LeaseWord word) private {
        TermsWord terms = _terms(self, word);
        if (word.isLinked()) {
            SlotKey peer = word.peer();
            LeaseWord primary = self.leases[peer].word;
            LeaseState state = primary.state();
            _requireRevealed(lease, state);
            primary = primary.unlinked();
            self.leases[peer].word = state == LeaseState.Revealed
                ? primary
                : primary.withMove(REVEALED, block.timestamp + terms.challengeSeconds());
            return;
        }
        if (word.state() != LeaseState.Revealed) revert ITaskMarket.WrongState(lease, word.state());
        if (word.feeCovered()) {
            uint256 fee = Pricing.fee(terms, _batch(self, word));
            emit ITaskMarket.FeeBurnt(lease, word.batch(), uint96(fee));
            token.burn(fee);
        } else {
            self.returnFee(word.batch(), terms);
        }
    }

    function _requireRevealed(LeaseId lease, LeaseState state) private pure {
        if (state != LeaseState.Revealed && state != LeaseState.Contested) {
            revert ITaskMarket.WrongState(lease, state);
        }
    }

    function _batch(MarketStorage storage self, LeaseWord word) private view returns (BatchWord) {
        return self.batches[word.batch()].word;
    }

    function _terms(MarketStorage storage self, LeaseWord word) private view returns (TermsWord) {
        return self.tasks[_batch(self, word).task()].terms;
    }
}
