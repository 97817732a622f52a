// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Conviction, Game, GameBook, IDisputeCourt, NodeBook} from "../interfaces/IDisputeCourt.sol";
import {LeaseId} from "../types/LeaseId.sol";
import {CourtStorage} from "./CourtStorage.sol";
import {Deposits} from "./Deposits.sol";
import {Payments} from "./Payments.sol";
import {Schedule} from "./Schedule.sol";

/// @notice How games end.
library Verdicts {
    /// @dev The challenger was wrong, or silent: out of its bond, who ends the game is paid for doing so, and what is
    /// left is burnt. @param units Gas of the transaction.
    function dismiss(CourtStorage storage s, bytes32 id, Game memory game, uint256 units) internal {
        uint96 bond = s.games[id].bond;
        uint96 refund = Schedule.price(s, units);
        if (refund > bond) refund = bond;
        bond -= refund;
        delete s.games[id];
        --s.leases[game.lease].conviction.games;
        --s.nodes[game.lease.node()].games;
        emit IDisputeCourt.Refunded(id, msg.sender, refund);
        emit IDisputeCourt.Dismissed(id, game.lease, bond);
        s.market.gameClosed(game.lease);
        Payments.burn(bond);
        Payments.pay(s, msg.sender, refund);
    }

    /// @dev The node was wrong, or silent. @param costs What its deposit owes the challenger.
    function convictFor(CourtStorage storage s, bytes32 id, Game memory game, uint96 costs) internal {
        GameBook storage book = s.games[id];
        uint96 bond = book.bond;
        book.bond = 0;
        uint96 paid = convict(s, id, game.challenger, game.lease, game.moveTime, costs);
        emit IDisputeCourt.BondReturned(id, game.challenger, bond);
        Payments.pay(s, game.challenger, bond + paid);
    }

    /// @dev Ends every game on the lease. @return paid What the node's deposit could pay of `costs`.
    // The market, the registry and the token are the protocol's own and call nobody.
    // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
    function convict(
        CourtStorage storage s,
        bytes32 id,
        address prover,
        LeaseId lease,
        uint24 moveTime,
        uint96 costs
    ) internal returns (uint96 paid) {
        Conviction storage self = s.leases[lease].conviction;
        NodeBook storage node = s.nodes[lease.node()];
        node.games -= self.games;
        ++node.unsettled;
        paid = Deposits.take(s, lease.node(), costs);
        (self.time, self.blockNumber, self.moveTime) = (uint40(block.timestamp), uint40(block.number), moveTime);
        self.games = 0;
        if (id != 0) (self.prover, self.proof) = (prover, uint96(uint256(id)));
        uint96 bounty = s.market.convict(lease);
        self.bounty = bounty;
        emit IDisputeCourt.Convicted(lease, id, bounty, paid);
        Deposits.refresh(s, lease.node());
    }
}
