// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Evidence, Game, GameBook, IDisputeCourt, NodeOpening, Phase, Side} from "../interfaces/IDisputeCourt.sol";
import {IProgramValidity, Place, ProgramHeader} from "../interfaces/IProgramValidity.sol";
import {Clock} from "./Clock.sol";
import {Court, CourtStorage} from "./CourtStorage.sol";
import {Games} from "./Games.sol";
import {Merkle} from "./Merkle.sol";
import {Roots} from "./Roots.sol";
import {Schedule} from "./Schedule.sol";
import {Verdicts} from "./Verdicts.sol";

/// @notice The ends of a game without a false read: a program that nobody can defend, and silence. Linked.
library Defences {
    /// @dev The only clause that concerns no node.
    uint8 private constant HEADER_COUNTS = 1;

    function invalid(bytes32 id, bytes calldata state, Evidence calldata evidence) external {
        CourtStorage storage s = Court.stored();
        Game memory game = Games.begin(s, id, state)[0];
        if (game.turn != Side.Defender) revert IDisputeCourt.NotYourTurn(id, msg.sender);
        Place memory place = _place(game, evidence);
        _openProducer(s.validity, evidence, place);
        if (!s.validity.violates(evidence.clause, place)) {
            revert IDisputeCourt.NotInvalid(evidence.clause, evidence.node);
        }
        emit IDisputeCourt.ProgramInvalid(id, evidence.clause, evidence.node);
        Verdicts.dismiss(s, id, game, Schedule.INVALIDITY);
    }

    function timeout(bytes32 id, bytes calldata state) external {
        CourtStorage storage s = Court.stored();
        Game memory game = Games.standing(s, id, state)[0];
        GameBook storage book = s.games[id];
        if (!Clock.passed(book.deadline, book.blockNumber)) revert IDisputeCourt.NotYet(book.deadline);
        if (game.turn == Side.Challenger) Verdicts.dismiss(s, id, game, Schedule.TIMEOUT);
        else Verdicts.convictFor(s, id, game, game.costs);
    }

    /// @dev The accused place, opened in the shard's program.
    function _place(Game memory game, Evidence calldata evidence) private view returns (Place memory place) {
        bool opened = game.phase >= Phase.Trace;
        bytes32 given = opened ? evidence.nodes : Roots.program(evidence.header, evidence.nodes);
        Merkle.requireEqual(given, game.program);
        if (opened && evidence.header != game.header) revert IDisputeCourt.WrongOpening(game.header, evidence.header);
        place.header = Roots.counts(evidence.header);
        place.node = evidence.node;
        if (evidence.clause == HEADER_COUNTS) return place;
        bytes32 descriptor = Roots.descriptor(
            evidence.descriptor[:evidence.headLength], sha256(evidence.descriptor[evidence.headLength:])
        );
        _requireNode(evidence, place.header, evidence.node, descriptor, evidence.operands, evidence.path);
        (place.descriptor, place.headLength) = (evidence.descriptor, evidence.headLength);
        (place.operands, place.operand) = (evidence.operands, evidence.operand);
    }

    function _openProducer(IProgramValidity validity, Evidence calldata evidence, Place memory place) private view {
        (bool needed, uint256 number) = validity.producerOf(evidence.clause, place);
        if (!needed) return;
        NodeOpening calldata node = evidence.producer;
        bytes32 descriptor = Roots.descriptor(node.head, node.body);
        _requireNode(evidence, place.header, number, descriptor, node.operands, node.path);
        place.producerHead = node.head;
    }

    function _requireNode(
        Evidence calldata evidence,
        ProgramHeader memory counts,
        uint256 number,
        bytes32 descriptor,
        bytes calldata operands,
        bytes32[] calldata path
    ) private view {
        uint256 total = uint256(counts.state) + counts.constants + counts.parameters + counts.nodes;
        bytes32 raw = Merkle.top(Roots.node(descriptor, operands), number, total, path);
        Merkle.requireEqual(raw, evidence.nodes);
    }
}
