// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, GameBook, IDisputeCourt, NodeBook, Phase, Posting, Side} from "../interfaces/IDisputeCourt.sol";
import {Clock} from "./Clock.sol";
import {CourtStorage} from "./CourtStorage.sol";
import {Payments} from "./Payments.sol";
import {Schedule} from "./Schedule.sol";
import {States} from "./States.sol";

/// @notice A move's beginning and end, whatever it does between: whose turn it is, what it is paid, when the next is
/// due.
library Games {
    /// @dev The state that the move answers, and a copy for the next one; for the mover in time.
    function begin(CourtStorage storage s, bytes32 id, bytes calldata state)
        internal
        view
        returns (Game[] memory states)
    {
        states = standing(s, id, state);
        Game memory game = states[0];
        GameBook storage book = s.games[id];
        if (Clock.passed(book.deadline, book.blockNumber)) revert IDisputeCourt.TooLate(book.deadline);
        bool mine = game.turn == Side.Challenger
            ? msg.sender == game.challenger
            : s.registry.isOperator(game.lease.node(), msg.sender);
        if (!mine) revert IDisputeCourt.NotYourTurn(id, msg.sender);
    }

    /// @dev Requires that the game is open and stands so.
    function standing(CourtStorage storage s, bytes32 id, bytes calldata state)
        internal
        view
        returns (Game[] memory states)
    {
        states = known(s, id, state);
        Game memory game = states[0];
        if (s.leases[game.lease].conviction.time != 0) revert IDisputeCourt.AlreadyConvicted(game.lease);
    }

    /// @dev Requires that the game stands, or stood at its lease's conviction, so.
    function known(CourtStorage storage s, bytes32 id, bytes calldata state)
        internal
        view
        returns (Game[] memory)
    {
        bytes32 expected = s.games[id].state;
        bytes32 given = keccak256(state);
        if (given != expected) revert IDisputeCourt.WrongGame(id, expected, given);
        return States.unpack(state);
    }

    function requirePhase(bytes32 id, Game memory game, Phase phase) internal pure {
        if (game.phase != phase) revert IDisputeCourt.WrongPhase(id, game.phase);
    }

    /// @dev Passes the turn. A defender's move is paid out of the bond, a challenger's is noted. @param units Gas of
    /// the move without what it posts, in two parts.
    function finish(
        CourtStorage storage s,
        bytes32 id,
        Game memory next,
        uint256 units,
        bytes calldata posted,
        bytes calldata rest
    ) internal {
        GameBook storage book = s.games[id];
        uint96 amount = Schedule.price(s, units + Schedule.WORD * ((posted.length + rest.length + 31) / 32));
        bool defended = next.turn == Side.Defender;
        if (defended) {
            uint96 bond = book.bond;
            if (amount > bond) amount = bond;
            book.bond = bond - amount;
        }
        next.costs += amount;
        next.turn = defended ? Side.Challenger : Side.Defender;
        save(s, id, next, posted, rest);
        if (defended) {
            emit IDisputeCourt.Refunded(id, msg.sender, amount);
            Payments.pay(s, msg.sender, amount);
        }
    }

    /// @dev Writes the state and its clock, and tells everybody.
    function save(
        CourtStorage storage s,
        bytes32 id,
        Game memory next,
        bytes calldata posted,
        bytes calldata rest
    ) internal {
        GameBook storage book = s.games[id];
        uint40 deadline = _deadline(s, next);
        (book.deadline, book.blockNumber) = (deadline, uint40(block.number));
        book.state = States.announce(id, next, deadline, posted, rest);
    }

    /// @dev What a move posts that posts nothing, and of one part the other.
    function nothing() internal pure returns (bytes calldata) {
        return msg.data[:0];
    }

    function push(Posting[] memory stack, Posting memory posting) internal pure returns (Posting[] memory longer) {
        longer = new Posting[](stack.length + 1);
        for (uint256 i; i < stack.length; ++i) {
            longer[i] = stack[i];
        }
        longer[stack.length] = posting;
    }

    function _deadline(CourtStorage storage s, Game memory next) private returns (uint40 deadline) {
        if (!_reexecutes(next)) return uint40(block.timestamp + next.moveTime);
        NodeBook storage node = s.nodes[next.lease.node()];
        uint40 busyUntil = node.busyUntil;
        deadline = Clock.queued(busyUntil, next.moveTime);
        if (deadline > busyUntil) node.busyUntil = deadline;
    }

    /// @dev Whether the defender may have to run an interval again. Its checkpoints it has kept.
    function _reexecutes(Game memory next) private pure returns (bool) {
        if (next.turn == Side.Challenger || next.phase == Phase.Result) return false;
        return next.phase != Phase.Checkpoints || next.last.level == 0;
    }
}
