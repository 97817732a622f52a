// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Game, IDisputeCourt, Naming, Phase, Segment, Side, Source, Value} from "../interfaces/IDisputeCourt.sol";
import {Read} from "../interfaces/INodeEvaluator.sol";
import {Court, CourtStorage} from "./CourtStorage.sol";
import {Games} from "./Games.sol";
import {Schedule} from "./Schedule.sol";
import {Sources} from "./Sources.sol";
import {Verdicts} from "./Verdicts.sol";
import {Words} from "./Words.sol";

/// @notice The end of a game, over one element: what it is, what it reads, and which read is false. Linked.
library Element {
    uint256 private constant LEAF = 1024;
    uint256 private constant WORD = 32;
    uint256 private constant PARTIALS = 256;
    uint256 private constant PARTIAL = 8;
    uint256 private constant MAX_ROUNDS = 2;
    uint256 private constant MAX_READS = 2048;
    uint8 private constant MAP = 1;
    uint8 private constant GATHER = 5;

    function name(bytes32 id, bytes calldata state, Naming calldata naming) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Games.requirePhase(id, game, Phase.Leaf);
        if (game.turn != Side.Challenger) revert IDisputeCourt.WrongPhase(id, game.phase);
        Game memory next = states[1];
        next.value.y = _named(game, next, naming);
        next.phase = Phase.Element;
        Games.finish(s, id, next, Schedule.CHOICE, Games.nothing(), Games.nothing());
    }

    function partials(
        bytes32 id,
        bytes calldata state,
        Naming calldata naming,
        bytes calldata descriptor,
        bytes calldata results
    ) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Game memory next = states[1];
        uint256 left = gasleft();
        _claim(s, id, game, next, naming, descriptor);
        Value memory value = next.value;
        uint256 positions = value.to - value.from;
        if (positions < 2) revert IDisputeCourt.RangeTooShort(positions);
        if (value.rounds == MAX_ROUNDS) revert IDisputeCourt.TooManyRounds(MAX_ROUNDS);
        uint256 expected = PARTIAL * (positions < PARTIALS ? positions : PARTIALS);
        if (results.length != expected) revert IDisputeCourt.WrongLength(results.length, expected);
        _requireY(value.y, s.evaluator.combine(descriptor, value.from, value.to, results));
        uint256 units = _units(descriptor, left);
        ++value.rounds;
        (value.stride, value.posted) = (uint16(PARTIAL), Words.segmented(results, PARTIAL));
        next.phase = Phase.Partials;
        Games.finish(s, id, next, units, results, Games.nothing());
    }

    function pickPartial(bytes32 id, bytes calldata state, uint256 index, Segment calldata segment) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        Games.requirePhase(id, game, Phase.Partials);
        Game memory next = states[1];
        Value memory value = next.value;
        uint256 positions = value.to - value.from;
        uint256 count = positions < PARTIALS ? positions : PARTIALS;
        if (index >= count) revert IDisputeCourt.OutsideCount(index, count);
        uint256 each = Words.perSegment(PARTIAL);
        Words.requireSegment(value.posted, index / each, segment);
        value.y = Words.number(segment.data, PARTIAL * (index % each), PARTIAL);
        uint256 from = value.from;
        value.from = uint64(from + (index * positions) / count);
        value.to = uint64(from + ((index + 1) * positions) / count);
        next.phase = Phase.Element;
        Games.finish(s, id, next, Schedule.CHOICE, Games.nothing(), Games.nothing());
    }

    function justify(
        bytes32 id,
        bytes calldata state,
        Naming calldata naming,
        bytes calldata descriptor,
        bytes calldata reads
    ) external {
        CourtStorage storage s = Court.stored();
        Game[] memory states = Games.begin(s, id, state);
        Game memory game = states[0];
        if (reads.length > MAX_READS) revert IDisputeCourt.WrongLength(reads.length, MAX_READS);
        Game memory next = states[1];
        uint256 left = gasleft();
        _claim(s, id, game, next, naming, descriptor);
        Value memory value = next.value;
        _requireY(value.y, s.evaluator.evaluate(descriptor, value.element, value.from, value.to, reads));
        uint256 units = _units(descriptor, left);
        value.stride = uint16(reads.length / (value.to - value.from));
        value.posted = Words.segmented(reads, value.stride);
        next.phase = Phase.Reads;
        Games.finish(s, id, next, units, reads, Games.nothing());
    }

    function refute(
        bytes32 id,
        bytes calldata state,
        bytes calldata descriptor,
        bytes calldata operands,
        uint256 operand,
        uint256 position,
        Segment calldata segment,
        Source calldata source
    ) external {
        CourtStorage storage s = Court.stored();
        Game memory game = Games.begin(s, id, state)[0];
        Games.requirePhase(id, game, Phase.Reads);
        Read memory read = _posted(s, game, descriptor, operand, position, segment);
        uint256 true_ = read.fill;
        if (read.inside) true_ = Sources.value(game, Sources.producer(game, operands, operand), read, source);
        if (read.posted == true_) revert IDisputeCourt.ReadIsTrue(true_);
        Verdicts.convictFor(s, id, game, game.costs + Schedule.price(s, Schedule.REFUTATION));
    }

    /// @dev The read that was posted for that operand and position, and where its true value is.
    function _posted(
        CourtStorage storage s,
        Game memory game,
        bytes calldata descriptor,
        uint256 operand,
        uint256 position,
        Segment calldata segment
    ) private view returns (Read memory) {
        Value memory value = game.value;
        if (position < value.from || position >= value.to) revert IDisputeCourt.OutsideCount(position, value.to);
        if (value.stride == 0) revert IDisputeCourt.OutsideCount(operand, 0);
        _requireDescriptor(s, game, descriptor);
        uint256 each = Words.perSegment(value.stride);
        uint256 index = (position - value.from) / each;
        Words.requireSegment(value.posted, index, segment);
        uint256 from = value.from + index * each;
        uint256 to = from + segment.data.length / value.stride;
        return s.evaluator.readOf(descriptor, value.element, from, to, segment.data, operand, position);
    }

    /// @dev The evaluation is paid as it was metered, since a node's price depends on its descriptor.
    function _units(bytes calldata descriptor, uint256 left) private view returns (uint256) {
        return Schedule.EVALUATION + Schedule.BYTE * descriptor.length + left - gasleft();
    }

    /// @dev What the defender has to justify, over which positions. If it must name the element first, it does so here.
    function _claim(
        CourtStorage storage s,
        bytes32 id,
        Game memory game,
        Game memory next,
        Naming calldata naming,
        bytes calldata descriptor
    ) private view {
        if (game.phase == Phase.Leaf && game.turn == Side.Defender) {
            uint64 theirs = _named(game, next, naming);
            if (naming.y == theirs) revert IDisputeCourt.SameClaim(bytes32(uint256(theirs)));
            next.value.y = naming.y;
        } else if (game.phase != Phase.Element) {
            revert IDisputeCourt.WrongPhase(id, game.phase);
        }
        _requireDescriptor(s, game, descriptor);
        if (next.value.to != 0) return;
        uint8 kind = uint8(descriptor[0]);
        uint256 length = 1;
        if (kind != MAP && kind != GATHER) (length,) = s.evaluator.positionsOf(descriptor);
        next.value.to = uint64(length);
    }

    /// @dev Takes the element from the posted leaf. @return The value that the leaf has there.
    function _named(Game memory game, Game memory next, Naming calldata naming) private pure returns (uint64) {
        uint256 width = game.tensor.width;
        uint256 offset = naming.element * width;
        uint256 size = game.tensor.size;
        if (offset >= size || offset / LEAF != game.value.leaf) {
            revert IDisputeCourt.OutsideCount(naming.element, size / width);
        }
        offset %= LEAF;
        bytes32 root = Words.fold(naming.word, offset / WORD, naming.path);
        if (root != game.last.root) revert IDisputeCourt.WrongOpening(game.last.root, root);
        next.value.element = naming.element;
        return Words.value(naming.word, offset % WORD, width);
    }

    function _requireDescriptor(CourtStorage storage s, Game memory game, bytes calldata descriptor) private view {
        bytes32 hash = s.evaluator.hashOf(descriptor);
        if (hash != game.tensor.descriptor) revert IDisputeCourt.WrongOpening(game.tensor.descriptor, hash);
    }

    function _requireY(uint256 claimed, uint256 computed) private pure {
        if (claimed != computed) revert IDisputeCourt.NotJustified(claimed, computed);
    }
}
