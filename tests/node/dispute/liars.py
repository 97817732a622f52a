"""Sides that lie: consistent runs of something else, postings of garbage, reads that were never there."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from worlds import Array, World, tall_state

from orebit.commitment import merkle
from orebit.dispute import Evidence, Game, GameState, Inputs, Means, Move, Phase, Player, Side, books
from orebit.dispute.evaluator import combine, evaluate, partial_bounds, point_of
from orebit.dispute.moves import (
    Answer,
    Descend,
    Justify,
    Name,
    Naming,
    PickPartial,
    PostLeaf,
    PostPartials,
    PostTensor,
    PostTrace,
    Refute,
)
from orebit.dispute.reading import Element
from orebit.dispute.shelf import Room
from orebit.dispute.states import State
from orebit.dispute.trace import StepTrace
from orebit.errors import IllegalMove, OrebitError
from orebit.executor.reference import ReferenceExecutor
from orebit.numerics.types import MASK64

Flat = np.ndarray[tuple[int], np.dtype[np.unsignedinteger[Any]]]


@dataclass(frozen=True)
class Corruption:
    """One output of one step is made up: `change` gets its elements as unsigned integers, and writes to them."""

    step: int
    node: int
    change: Callable[[Flat], None]


class LyingExecutor(ReferenceExecutor):
    """Computes what a step gives when one output is made up; everything after it follows consistently."""

    corruption: Corruption | None = None
    at = 0

    def _run(self, operations: Any, outputs: list[torch.Tensor | None]) -> None:
        if self.corruption is None or self.corruption.step != self.at:
            super()._run(operations, outputs)
            return
        for operation in operations:
            super()._run([replace(operation, dead=[])], outputs)
            if operation.number == self.corruption.node:
                self._corrupt(outputs, operation.number)
            for number in operation.dead:
                outputs[number] = None

    def _corrupt(self, outputs: list[torch.Tensor | None], number: int) -> None:
        made, dtype = outputs[number], self.program.descriptor(number).dtype
        assert made is not None and self.corruption is not None
        array = np.array(made.numpy(), dtype.numpy)  # a u16 is held as an i32
        self.corruption.change(array.reshape(-1).view(np.dtype(f"u{dtype.size}")))
        outputs[number] = torch.from_numpy(array.astype(made.numpy().dtype)).reshape(made.shape)


@dataclass
class Lie:
    """A way of lying. Any of its parts may be left out.

    Attributes:
        corruption: an output that is made up.
        inputs: the inputs that are taken instead of the shard's.
        jump: the state after a step, of the step, what it gave, and all states before.
        element: an element that claims to read something else.
    """

    corruption: Corruption | None = None
    inputs: Inputs | None = None
    jump: Callable[[int, State, Sequence[State]], State] | None = None
    element: Callable[[int, int, Element], Element] | None = None
    made: tuple[World, LyingEvidence] | None = None


class LyingTrace(StepTrace):
    lie: Lie
    step = 0

    def element(self, number: int, element: int) -> Element:
        true = super().element(number, element)
        return true if self.lie.element is None else self.lie.element(self.step, number, true)


class LyingEvidence(Evidence):
    """The evidence of a run that was not the shard's."""

    def __init__(self, world: World, lie: Lie) -> None:
        self.lie = lie
        inputs = lie.inputs or world.inputs
        self._liar = LyingExecutor(inputs.program, inputs.constants, inputs.parameters)
        self._liar.corruption = lie.corruption
        true = 0 if lie.inputs or lie.jump or lie.corruption is None else lie.corruption.step
        self._all: list[State] = (
            [world.truth.state(step) for step in range(true + 1)] if true else [tuple(inputs.state)]
        )
        for step in range(true, world.steps):
            self._liar.at = step
            made = dict(self._liar.visit(self._all[-1], list(inputs.program.new_state)))
            state = tuple(made[number].numpy() for number in inputs.program.new_state)
            self._all.append(state if lie.jump is None else lie.jump(step, state, self._all))
        super().__init__(world.shard, inputs, Means(kept=self._kept))
        self._states.interval = 1

    def _kept(self, step: int) -> State:
        return self._all[step]

    def trace(self, step: int) -> StepTrace:
        if self._trace is None or self._trace[0] != step:
            self._liar.at = step
            given = (*self.state(step), *self.inputs.constants, *self.inputs.parameters)
            made = LyingTrace(self._liar, given, Room())
            made.lie, made.step = self.lie, step
            self._trace = step, made
        return self._trace[1]

    @property
    def roots(self) -> list[bytes]:
        return merkle.unpack(self.checkpoints[0])


def evidence_of(world: World, lie: Lie) -> LyingEvidence:
    """A liar's evidence, computed once."""
    if lie.made is None or lie.made[0] is not world:
        lie.made = world, LyingEvidence(world, lie)
    return lie.made[1]


class FalseElement(Element):
    """Reads something else at one position of one operand, and computes consistently from it."""

    def __init__(self, true: Element, operand: int, position: int, raw: int) -> None:
        self.__dict__.update(true.__dict__)
        self._lie = operand, position, raw

    def _operand(self, number: int, positions: Array, point: Any, before: Sequence[Array]) -> Array:
        found = super()._operand(number, positions, point, before).copy()
        operand, position, raw = self._lie
        if number == operand:
            found[positions == position] = raw
        return found


def false_read(world: World, step: int, node: int, element: int, operand: int, position: int, raw: int) -> Lie | None:
    """An element computed from one false read, and justified with it; None where that changes nothing."""
    true = world.truth.trace(step).element(node, element)
    lie = misread(true, step, node, operand, position, raw)
    return None if lie is None or harmless(world, lie) else lie


def misread(true: Element, step: int, node: int, operand: int, position: int, raw: int) -> Lie | None:
    """The same, whether or not any state depends on the element."""
    false = FalseElement(true, operand, position, raw)
    y = false.result(0, false.positions)
    if y == true.result(0, true.positions):
        return None

    def told(at: int, number: int, each: Element) -> Element:
        wrong = (at, number, each.number) == (step, node, true.number)
        return FalseElement(each, operand, position, raw) if wrong else each

    return Lie(one_element(step, node, true.number, y), element=told)


class FalsePartials(Element):
    """Of the partial results that hold one position, claims more than the reads amount to."""

    def __init__(self, true: Element, position: int, more: int) -> None:
        self.__dict__.update(true.__dict__)
        self._lie = position, more

    def partials(self, start: int, stop: int) -> bytes:
        parts = np.frombuffer(super().partials(start, stop), np.uint64).copy()
        position, more = self._lie
        if start <= position < stop:
            bounds = np.array(partial_bounds(start, stop))
            part = int(np.searchsorted(bounds, position, "right")) - 1
            parts[part : part + 1] += np.uint64(more)
        return parts.tobytes()


def false_partials(world: World, step: int, node: int, element: int, position: int, more: int) -> Lie:
    """A sum that is too great, and partial results of it of which one is false down to that position."""
    true = world.truth.trace(step).element(node, element)

    def told(at: int, number: int, each: Element) -> Element:
        wrong = (at, number, each.number) == (step, node, element)
        return FalsePartials(each, position, more) if wrong else each

    y = true.result(0, true.positions) + more & MASK64
    return Lie(one_element(step, node, element, y), element=told)


class KnownEvidence(LyingEvidence):
    """A tall world's, whose states are all known; if it lies, one sum has one term more in one step, and the counter
    ever after."""

    def __init__(self, world: World, lie_at: int | None) -> None:
        inputs = world.inputs
        table, nodes = inputs.constants[0], world.program.header.nodes

        def known(step: int) -> State:
            return tall_state(table, nodes, step, int(lie_at is not None and step > lie_at))

        Evidence.__init__(self, world.shard, inputs, Means(kept=known))
        self._states.interval = 1
        self._liar = LyingExecutor(world.program, inputs.constants, inputs.parameters)
        self.lie = Lie()
        if lie_at is not None:
            element = Element(world.program.descriptor(3), [table], 0)
            place = len(table) * 2 // 3
            self.lie = misread(element, lie_at, 3, 0, place, int(table[place]) + 1) or self.lie
            self._liar.corruption = self.lie.corruption


def harmless(world: World, lie: Lie) -> bool:
    """Whether no state depends on the lie."""
    return evidence_of(world, lie).checkpoints == world.truth.checkpoints


def one_element(step: int, node: int, element: int, raw: int) -> Corruption:
    """One element of one output is other bytes."""

    def change(flat: Flat) -> None:
        flat[element] = raw

    return Corruption(step, node, change)


def flipped_bit(step: int, node: int, element: int, bit: int) -> Lie:
    """One bit of one output is another."""

    def change(flat: Flat) -> None:
        place = element % flat.size
        flat[place] = int(flat[place]) ^ 1 << bit % (8 * flat.itemsize)

    return Lie(Corruption(step, node, change))


def skipped_step(step: int) -> Lie:
    """One step was left out."""
    return Lie(jump=lambda at, state, before: before[-1] if at == step else state)


def copied_initial() -> Lie:
    """Nothing was computed at all: every state is the initial one."""
    return Lie(jump=lambda at, state, before: before[0])


def other_inputs(world: World, **changes: Any) -> Lie:
    return Lie(inputs=replace(world.inputs, **changes))


class Adversary(Player):
    """Moves by its own evidence, true or false; every so often it posts garbage instead, or picks at random."""

    def __init__(
        self, side: Side, evidence: Evidence, rng: random.Random, wildness: float, result_path: Sequence[bytes] = ()
    ) -> None:
        super().__init__(side, evidence, result_path)
        self._rng = rng
        self._wildness = wildness
        self.wild_in: Phase | None = None
        """If set, it posts garbage in this phase, and there only."""
        self.garbled: list[Phase] = []
        """Where it did."""
        self._astray = False

    def tries(self, game: Game) -> Move | None:
        """A move that the rules allow, or None when it finds none."""
        wild = self._rng.random() < self._wildness or game.state.phase is self.wild_in
        for garbage in (True, True, True, False) if wild else (False, True, True, True):
            try:
                move = self._wild() if garbage else self.move()
            except (OrebitError, StopIteration, IndexError, KeyError, ValueError):
                continue  # it has nothing of the kind to say
            if _allowed(game, move):
                self.garbled += [game.state.phase] if garbage else []
                return move
        return None

    def _wild(self) -> Move:
        """Garbage of the right size below a random entry of the opponent's."""
        state = self._state
        assert state is not None
        if state.phase in (Phase.ELEMENT, Phase.LEAF, Phase.READS, Phase.PARTIALS):
            return self._wild_element(state)
        self._astray = True
        try:
            return garbled(self.move(), self._rng)
        finally:
            self._astray = False

    def _first_wrong(self, posted: Sequence[object], true: Sequence[object]) -> int | None:
        if not self._astray:
            return super()._first_wrong(posted, true)
        return self._rng.randrange(len(posted)) if self._rng.random() < 0.8 else len(posted) - 1

    def _wild_element(self, state: GameState) -> Move:
        if state.phase is Phase.READS:
            return self._wild_refutation(state)
        if state.phase is Phase.PARTIALS:
            index = self._rng.randrange(len(self._record.posted) // 8)
            return PickPartial(index, books.show_position(self._record.posted, 8, index))
        if state.phase is Phase.LEAF and self.side is Side.CHALLENGER:
            return Name(self._wild_naming(state))
        if state.phase is Phase.ELEMENT:
            base = self._justify(state, Naming())
            if isinstance(base, Justify):
                return replace(base, reads=self._fitted(state, base.reads))
            assert isinstance(base, PostPartials)
            return replace(base, results=self._fitted_partials(state, base.results))
        return self._wild_claim(state)

    def _wild_claim(self, state: GameState) -> Move:
        """The defender names any element, and claims whatever false reads or partial results give."""
        naming, descriptor = self._wild_naming(state), self._descriptor(state)
        base = self._justify(state, naming)
        length = max(1, int(np.prod(descriptor.reduction)))
        if isinstance(base, Justify):
            reads = _other_bytes(base.reads, self._rng)
            y = evaluate(descriptor, naming.element, 0, length, reads)
            return replace(base, naming=replace(naming, y=y), reads=reads)
        assert isinstance(base, PostPartials)
        results = _other_bytes(base.results, self._rng)
        return replace(base, naming=replace(naming, y=combine(descriptor, 0, length, results)), results=results)

    def _wild_naming(self, state: GameState) -> Naming:
        tensor, posted = state.tensor, self._record.posted
        place = self._rng.randrange(len(posted) // tensor.width)
        element = state.value.leaf * (1024 // tensor.width) + place
        raw = posted[place * tensor.width : (place + 1) * tensor.width]
        y = int.from_bytes(raw, "little") ^ 1 << self._rng.randrange(8 * tensor.width)
        return books.show_element(posted, element, tensor.width, y)

    def _fitted(self, state: GameState, reads: bytes) -> bytes:
        """Reads from which the node gives what is claimed, if trying finds any."""
        descriptor = self._descriptor(state)
        value = state.value
        start, stop = (value.start, value.stop) if value.stop else (0, max(1, int(np.prod(descriptor.reduction))))
        for _ in range(64):
            told = bytearray(reads)
            if told:
                at = self._rng.randrange(len(told))
                told[at] ^= 1 << self._rng.randrange(8)
            if evaluate(descriptor, value.element, start, stop, bytes(told)) == value.y:
                return bytes(told)
        return reads

    def _fitted_partials(self, state: GameState, results: bytes) -> bytes:
        """Partial results of which one is changed so that they sum up to the claim."""
        parts = np.frombuffer(results, np.uint64).copy()
        place = self._rng.randrange(len(parts))
        total = int(parts.astype(object).sum())
        parts[place] = (int(parts[place]) + state.value.y - total) % (1 << 64)
        return parts.tobytes()

    def _wild_refutation(self, state: GameState) -> Move:
        rng, value = self._rng, state.value
        if not value.stride:
            raise IllegalMove("nothing was read")
        posted = bytearray(self._record.posted)
        posted[rng.randrange(len(posted))] ^= 1 << rng.randrange(8)
        true, self._record.posted = self._record.posted, bytes(posted)
        try:
            move = self._refute(state)  # as if the false byte had been posted
        finally:
            self._record.posted = true
        assert isinstance(move, Refute)
        place = move.position - value.start
        return replace(move, segment=books.show_position(true, value.stride, place))


def garbled(move: Move, rng: random.Random) -> Move:
    """The move with something else posted: all of it, or one entry."""
    if isinstance(move, Descend):
        return replace(move, entries=tampered(move.entries, rng))
    if isinstance(move, PostTrace):
        if move.node_half and rng.random() < 0.5:
            return replace(move, node_half=tampered(move.node_half, rng), state_half=tampered(move.state_half, rng))
        return replace(move, state_half=tampered(move.state_half, rng))
    if isinstance(move, PostTensor):
        return replace(move, posting=_other_bytes(move.posting, rng))
    if isinstance(move, PostLeaf):
        return replace(move, data=_other_bytes(move.data, rng))
    if isinstance(move, Answer):
        return replace(move, entries=tampered(move.entries, rng))
    return move


def tampered(entries: Sequence[bytes], rng: random.Random) -> tuple[bytes, ...]:
    """All of these hashes made up, or one."""
    if rng.random() < 0.3:
        return tuple(rng.randbytes(32) for _ in entries)
    place = rng.randrange(len(entries))
    return (*entries[:place], rng.randbytes(32), *entries[place + 1 :])


def _other_bytes(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return rng.randbytes(len(data))
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _allowed(game: Game, move: Move) -> bool:
    trial = copy.copy(game)
    trial.moves = dict(game.moves)
    try:
        trial.play(move)
    except IllegalMove:
        return False
    return True


def outside_positions(world: World, node: int, element: int, operand: int) -> list[int]:
    """Positions at which the operand reads its fill."""
    descriptor = world.program.descriptor(node)
    view = descriptor.operands[operand]
    point = point_of(element, descriptor.shape)
    found = []
    for position in range(int(np.prod(descriptor.reduction)) if descriptor.reduction else 1):
        inner = point_of(position, descriptor.reduction)
        if view.map.locate((*point, *inner), view.shape[-len(view.map.axes) or len(view.shape) :]) is None:
            found.append(position)
    return found
