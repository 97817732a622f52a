// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Conviction, Game, GameBook, IDisputeCourt, Side} from "../interfaces/IDisputeCourt.sol";
import {TokenAI} from "../TokenAI.sol";
import {LeaseId} from "../types/LeaseId.sol";
import {Clock} from "./Clock.sol";
import {Claim, Court, CourtStorage, LeaseBook} from "./CourtStorage.sol";
import {Deposits} from "./Deposits.sol";
import {Games} from "./Games.sol";
import {Merkle} from "./Merkle.sol";
import {Payments} from "./Payments.sol";
import {Roots} from "./Roots.sol";

/// @notice Who is paid after a conviction, in the order of their pre-commits. Linked.
library Claims {
    using SafeERC20 for TokenAI;

    function claim(bytes32 id, bytes calldata state, bytes32[] calldata path, bytes32 hint) external {
        CourtStorage storage s = Court.stored();
        Game memory game = Games.known(s, id, state)[0];
        GameBook storage book = s.games[id];
        LeaseBook storage lease = s.leases[game.lease];
        Conviction memory conviction = lease.conviction;
        if (conviction.time == 0) revert IDisputeCourt.NotConvicted(game.lease);
        if (_over(conviction)) revert IDisputeCourt.TooLate(conviction.time + conviction.moveTime);
        if (book.order == 0 || game.entry == 0 || _wasLate(game, book, conviction)) {
            revert IDisputeCourt.NothingToClaim(id);
        }
        uint256 count = Roots.checkpoints(game.steps, game.interval);
        bytes32 raw = Merkle.top(game.entry, game.checkpoint, count, path);
        Merkle.requireEqual(Roots.list(Roots.CHECKPOINTS, count, raw), game.own);
        bool proved = game.challenger == conviction.prover && uint96(uint256(id)) == conviction.proof;
        if (proved) lease.proverRoot = game.own;
        uint96 costs = proved ? 0 : game.costs;
        _enqueue(s, lease, id, hint, Claim(0, game.challenger, costs, game.lease, book.order));
        _noteFirst(s, id, game, book.order);
        emit IDisputeCourt.Claimed(game.lease, id, book.order, costs);
    }

    // The token is the protocol's own and calls nobody; a receiver of ETH meets books that are written.
    // slither-disable-next-line reentrancy-eth,reentrancy-no-eth,reentrancy-events
    function settle(LeaseId lease, uint256 most) external {
        CourtStorage storage s = Court.stored();
        LeaseBook storage self = s.leases[lease];
        Conviction memory conviction = self.conviction;
        if (conviction.time == 0) revert IDisputeCourt.NotConvicted(lease);
        if (!_over(conviction)) revert IDisputeCourt.NotYet(conviction.time + conviction.moveTime);
        if (conviction.bounty != 0) {
            self.conviction.bounty = 0;
            address to = _beneficiary(s, self, lease);
            emit IDisputeCourt.BountyPaid(lease, to, conviction.bounty);
            s.token.safeTransfer(to, conviction.bounty);
        }
        for (; most != 0 && self.firstClaim != 0; --most) {
            Claim memory first = s.claims[self.firstClaim];
            self.firstClaim = first.next;
            uint96 paid = Deposits.take(s, lease.node(), first.costs);
            if (paid == 0) continue;
            emit IDisputeCourt.Compensated(lease, first.challenger, paid);
            Deposits.refresh(s, lease.node());
            Payments.pay(s, first.challenger, paid);
        }
        if (self.firstClaim == 0 && !self.conviction.settled) {
            self.conviction.settled = true;
            --s.nodes[lease.node()].unsettled;
        }
    }

    function returnBond(bytes32 id, bytes calldata state) external {
        CourtStorage storage s = Court.stored();
        Game memory game = Games.known(s, id, state)[0];
        GameBook storage book = s.games[id];
        if (s.leases[game.lease].conviction.time == 0) revert IDisputeCourt.NotConvicted(game.lease);
        uint96 bond = book.bond;
        if (bond == 0) revert IDisputeCourt.NothingToWithdraw(game.challenger);
        book.bond = 0;
        emit IDisputeCourt.BondReturned(id, game.challenger, bond);
        Payments.pay(s, game.challenger, bond);
    }

    /// @dev By rank; equal ranks (both keys of the other of a pair) as they come.
    function _enqueue(CourtStorage storage s, LeaseBook storage lease, bytes32 id, bytes32 hint, Claim memory added)
        private
    {
        if (s.claims[id].order != 0) revert IDisputeCourt.ClaimExists(id);
        if (hint == 0) {
            added.next = lease.firstClaim;
        } else {
            Claim storage before = s.claims[hint];
            bool same = LeaseId.unwrap(before.lease) == LeaseId.unwrap(added.lease);
            if (!same || before.order > added.order) revert IDisputeCourt.WrongHint(hint);
            added.next = before.next;
        }
        if (added.next != 0 && s.claims[added.next].order <= added.order) revert IDisputeCourt.WrongHint(hint);
        s.claims[id] = added;
        if (hint == 0) lease.firstClaim = id;
        else s.claims[hint].next = id;
    }

    function _noteFirst(CourtStorage storage s, bytes32 id, Game memory game, uint40 order) private {
        bytes32 key = keccak256(abi.encode(game.lease, game.own));
        bytes32 known = s.firstWith[key];
        if (known == 0 || s.claims[known].order > order) s.firstWith[key] = id;
    }

    /// @dev Who gets the bounty: the first of those who had the prover's results before they could copy them.
    function _beneficiary(CourtStorage storage s, LeaseBook storage self, LeaseId lease)
        private
        view
        returns (address)
    {
        bytes32 id = self.firstClaim;
        if (self.proverRoot != 0) id = s.firstWith[keccak256(abi.encode(lease, self.proverRoot))];
        return id == 0 ? self.conviction.prover : s.claims[id].challenger;
    }

    function _over(Conviction memory conviction) private view returns (bool) {
        return Clock.passed(conviction.time + conviction.moveTime, conviction.blockNumber);
    }

    /// @dev Whoever had let its clock run out blocks nobody.
    function _wasLate(Game memory game, GameBook storage book, Conviction memory conviction)
        private
        view
        returns (bool)
    {
        return game.turn == Side.Challenger && conviction.time > book.deadline
            && conviction.blockNumber > book.blockNumber + Clock.BLOCKS;
    }
}
