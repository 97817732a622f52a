"""The honest side: the move that follows from one's own computation and from what the opponent posted last. It picks
the leftmost entry that is wrong, and posts the truth below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.commitment import merkle
from orebit.commitment.merkle import HASH_SIZE, LEAF_SIZE, Levels
from orebit.dispute import books, evaluator
from orebit.dispute.evidence import Evidence
from orebit.dispute.game import (
    STATE_HALF_DEPTH,
    GameState,
    Phase,
    Posting,
    Side,
    interval_steps,
    node_half,
    section_steps,
)
from orebit.dispute.moves import (
    Answer,
    Descend,
    Hashes,
    Interval,
    Justify,
    Move,
    Name,
    Naming,
    OpenAt,
    Opening,
    Pick,
    PickPartial,
    PostLeaf,
    PostPartials,
    PostTensor,
    PostTrace,
    Precommitment,
    Refute,
    ShowInvalid,
    Source,
)
from orebit.dispute.postings import below, own_entries, path_in, path_under, top
from orebit.dispute.record import Record
from orebit.dispute.trace import StepTrace, leaf_of
from orebit.dispute.validity import opening, operand_bytes, show_violation
from orebit.errors import IllegalMove
from orebit.program.descriptor import Descriptor
from orebit.program.price import positions_per_move


@dataclass(frozen=True, slots=True)
class _Picked:
    """The leftmost wrong entry of the opponent's last posting."""

    posting: Posting
    entries: Hashes
    index: int
    offset: int = 0
    """What is added to name it in the move: entries of the node half, for one of the state half."""

    @property
    def pick(self) -> Pick:
        place = self.index - self.posting.first
        path = path_in(self.entries, self.posting.depth, place)
        return Pick(self.index + self.offset, self.entries[place], path)


class Player:
    """One side of one game. Whatever recomputes raises ExecutionError or ExecutionStopped.

    Args:
        side: which.
        evidence: its own computation of the shard.
        result_path: from the defender's result hash up to the lease's root; the defender's answer shows it.
    """

    def __init__(self, side: Side, evidence: Evidence, result_path: Sequence[bytes] = ()) -> None:
        self.side = side
        self.evidence = evidence
        self._result_path = tuple(result_path)
        self._record = Record()
        self._state: GameState | None = None

    def see(self, state: GameState, posted: bytes) -> None:
        """Every opening and move of the game, one's own included, in order: the state after it and what it posted."""
        self._state = state
        self._record.see(state, posted)

    def move(self) -> Move:
        """The honest move.

        Raises:
            IllegalMove: when it is not this side's turn, or nothing of what the opponent posted is wrong.
        """
        state = self._state
        if state is None or state.turn is not self.side:
            raise IllegalMove(f"it is not the {self.side.name.lower()}'s turn")
        if self.side is Side.DEFENDER and self._violation is not None:
            return self._violation
        match state.phase:
            case Phase.RESULT:
                levels = self.evidence.checkpoints
                return Answer(self._result_path, own_entries(levels, top(state.checkpoints)))
            case Phase.PICKED:
                return self._post_section(state, Pick(), state.first_step, state.last_step)
            case Phase.CHECKPOINTS | Phase.STATES | Phase.TRACE | Phase.NODES | Phase.NEW_STATE | Phase.TENSOR:
                return self._post_below(state)
            case Phase.LEAF:
                naming = self._naming(state)
                return Name(naming) if self.side is Side.CHALLENGER else self._justify(state, naming)
            case Phase.ELEMENT:
                return self._justify(state, Naming())
            case Phase.PARTIALS:
                return self._pick_partial(state)
            case Phase.READS:
                return self._refute(state)

    @cached_property
    def _violation(self) -> ShowInvalid | None:
        return show_violation(self.evidence.program)

    def _trace(self, state: GameState) -> StepTrace:
        return self.evidence.trace(state.first_step)

    # What is wrong

    def _first_wrong(self, posted: Sequence[object], true: Sequence[object]) -> int | None:
        """The leftmost of what was posted that is not what this side computed."""
        return next((place for place, (a, b) in enumerate(zip(posted, true, strict=True)) if a != b), None)

    def _post_below(self, state: GameState) -> Move:
        if state.phase is Phase.STATES:
            return self._pick_state(state)
        picked = self._picked(state)
        if picked.posting.level:
            made = below(picked.posting, picked.index)
            return Descend(picked.pick, own_entries(self._levels(state, picked), made))
        if state.phase is Phase.CHECKPOINTS:
            return self._pick_checkpoint(state, picked)
        if state.phase is Phase.TENSOR:
            return PostLeaf(picked.pick, self._trace(state).leaf(state.tensor.node, picked.index))
        return self._post_tensor(state, picked)

    def _picked(self, state: GameState) -> _Picked:
        if state.phase is not Phase.TRACE:
            found = self._wrong(state.last, self._own_levels(state))
        else:
            trace, half = self._trace(state), 0
            found = self._wrong(state.stack[0], trace.nodes) if state.stack else None
            if found is None:
                half = state.stack[0].entries(node_half(state.counts)) if state.stack else 0
                found = self._wrong(state.last, trace.new_state, half)
        if found is None:
            raise IllegalMove("nothing that the opponent posted last is wrong, by this machine's own computation")
        return found

    def _wrong(self, posting: Posting, levels: Levels, offset: int = 0) -> _Picked | None:
        entries = self._record.entries(posting)
        place = self._first_wrong(entries, own_entries(levels, posting))
        return None if place is None else _Picked(posting, entries, posting.first + place, offset)

    def _own_levels(self, state: GameState) -> Levels:
        if state.phase is Phase.CHECKPOINTS:
            return self.evidence.checkpoints
        trace = self._trace(state)
        if state.phase is Phase.TENSOR:
            return trace.tree(state.tensor.node)
        return trace.nodes if state.phase is Phase.NODES else trace.new_state

    def _levels(self, state: GameState, picked: _Picked) -> Levels:
        if state.phase is not Phase.TRACE:
            return self._own_levels(state)
        in_nodes = state.stack and picked.posting == state.stack[0]
        return self._trace(state).nodes if in_nodes else self._trace(state).new_state

    # Sections

    def _pick_checkpoint(self, state: GameState, picked: _Picked) -> Move:
        pick, index = picked.pick, picked.index
        if index:
            levels, left = self.evidence.checkpoints, index - 1
            deepest = next(each for each in (state.last, *reversed(state.stack)) if each.covers(left))
            before = levels[0][left * HASH_SIZE : index * HASH_SIZE]
            path = path_under(levels, deepest, self._record.entries(deepest), left)
            pick = Pick(pick.index, pick.entry, pick.path, before, path)
        return self._post_section(state, pick, *interval_steps(index, state.steps, state.interval))

    def _pick_state(self, state: GameState) -> Move:
        entries = self._record.entries(state.last)
        steps = section_steps(state.first_step, state.last_step)
        index = self._first_wrong(entries, self.evidence.section(state.first_step, state.last_step))
        if index is None:
            raise IllegalMove("nothing that the opponent posted last is wrong, by this machine's own computation")
        depth = state.last.depth
        pick = Pick(index, entries[index], path_in(entries, depth, index))
        if index == 0:
            return self._post_section(state, pick, state.first_step, steps[0])
        before, path = entries[index - 1], path_in(entries, depth, index - 1)
        pick = Pick(pick.index, pick.entry, pick.path, before, path)
        return self._post_section(state, pick, steps[index - 1], steps[index])

    def _post_section(self, state: GameState, pick: Pick, first: int, last: int) -> Move:
        if last - first > 1:
            return Descend(pick, self.evidence.section(first, last))
        trace, program = self.evidence.trace(first), self.evidence.program
        nodes, new = node_half(program.header), program.header.new_state
        lower = own_entries(trace.nodes, top(nodes)) if nodes else ()
        upper = own_entries(trace.new_state, top(new, STATE_HALF_DEPTH))
        return PostTrace(pick, program.header.encode(), program.tree[-1], lower, upper)

    # Tensors

    def _post_tensor(self, state: GameState, picked: _Picked) -> Move:
        header, trace = state.counts, self._trace(state)
        in_nodes = state.phase is Phase.NODES or (state.phase is Phase.TRACE and picked.posting in state.stack)
        number = header.inputs + picked.index + (0 if in_nodes else node_half(header))
        head = trace.head(number)
        if head.leaves == 1:
            posting = trace.leaf(number, 0)
        else:
            posting = b"".join(own_entries(trace.tree(number), top(head.leaves)))
        return PostTensor(picked.pick, opening(self.evidence.program, number), posting)

    # One element

    def _naming(self, state: GameState) -> Naming:
        """The leftmost wrong element of the leaf that was posted, with its true value."""
        tensor, posted = state.tensor, self._record.posted
        true = self._trace(state).leaf(tensor.node, state.value.leaf)
        wrong = self._first_wrong(posted, true)
        if wrong is None:
            raise IllegalMove("nothing in the leaf that the opponent posted is wrong, by this machine's computation")
        at = wrong // tensor.width * tensor.width
        element = (state.value.leaf * LEAF_SIZE + at) // tensor.width
        y = int.from_bytes(true[at : at + tensor.width], "little")
        return books.show_element(posted, element, tensor.width, y)

    def _descriptor(self, state: GameState) -> Descriptor:
        return self.evidence.program.descriptor(state.tensor.node)

    def _justify(self, state: GameState, naming: Naming) -> Move:
        descriptor = self._descriptor(state)
        number = naming.element if state.phase is Phase.LEAF else state.value.element
        element = self._trace(state).element(state.tensor.node, number)
        start, stop = (state.value.start, state.value.stop) if state.value.stop else (0, element.positions)
        if stop - start > positions_per_move(descriptor):
            return PostPartials(naming, descriptor.encoded, element.partials(start, stop))
        return Justify(naming, descriptor.encoded, element.reads(start, stop))

    def _pick_partial(self, state: GameState) -> Move:
        value = state.value
        true = self._trace(state).element(state.tensor.node, value.element).partials(value.start, value.stop)
        wrong = self._first_wrong(self._record.posted, true)
        if wrong is None:
            raise IllegalMove("none of the partial results posted is wrong, by this machine's own computation")
        index = wrong // evaluator.PARTIAL_BYTES
        return PickPartial(index, books.show_position(self._record.posted, evaluator.PARTIAL_BYTES, index))

    def _refute(self, state: GameState) -> Move:
        value, posted, descriptor = state.value, self._record.posted, self._descriptor(state)
        true = self._trace(state).element(state.tensor.node, value.element).reads(value.start, value.stop)
        wrong = self._first_wrong(posted, true)
        if wrong is None:
            raise IllegalMove("none of the values posted is wrong, by this machine's own computation")
        place, at = divmod(wrong, value.stride)
        operand = _operand_at(descriptor, at)
        position = value.start + place
        row = posted[place * value.stride : (place + 1) * value.stride]
        read = evaluator.read_of(descriptor, value.element, position, row, operand)
        numbers = self.evidence.program.nodes[state.tensor.node].operands
        source = self._source(state, numbers[operand], read.source, read.dtype.size) if read.inside else Source()
        segment = books.show_position(posted, value.stride, place)
        return Refute(descriptor.encoded, operand_bytes(numbers), operand, position, segment, source)

    def _source(self, state: GameState, number: int, element: int, width: int) -> Source:
        """Where an operand's element is, under what binds it."""
        evidence, trace, header = self.evidence, self._trace(state), state.counts
        leaf = leaf_of(element, width)
        shard = None
        if number >= header.inputs:
            index, head = number - header.inputs, trace.head(number)
            deepest = next(each for each in reversed(state.stack) if each.covers(index))
            path = path_under(trace.nodes, deepest, self._record.entries(deepest), index)
        elif number < header.state:
            head = evidence.state_head(state.first_step, number)
            path = tuple(merkle.path(evidence.state_list(state.first_step), number))
        else:
            shard, index = evidence.shard, number - header.state
            heads = evidence.constant_heads
            if index >= header.constants:
                heads, index = evidence.parameter_heads, index - header.constants
            head = heads[index]
            path = tuple(merkle.path(merkle.tree([each.root for each in heads]), index))
        leaf_path = tuple(merkle.path(trace.tree(number), leaf))
        return Source(path, head.encode(), trace.leaf(number, leaf), leaf_path, shard)


def open_interval(
    opening: Opening,
    precommitment: Precommitment,
    checkpoints: Sequence[bytes],
    checkpoint: int,
    result_path: Sequence[bytes],
) -> OpenAt:
    """Opens at the interval before one of the defender's checkpoints, all of which are given."""
    levels = merkle.tree(checkpoints)
    claim_path = tuple(merkle.path(levels, checkpoint))
    interval = Interval(checkpoint, tuple(result_path), checkpoints[checkpoint], claim_path)
    if checkpoint:
        before = checkpoints[checkpoint - 1]
        before_path = tuple(merkle.path(levels, checkpoint - 1))
        interval = Interval(checkpoint, tuple(result_path), interval.claim, claim_path, before, before_path)
    return OpenAt(opening, precommitment, interval)


def _operand_at(descriptor: Descriptor, at: int) -> int:
    """Which operand's value stands at a byte of a position's reads."""
    for number, operand in enumerate(descriptor.operands):
        at -= operand.dtype.size
        if at < 0:
            return number
    raise IllegalMove("the node reads nothing there")
