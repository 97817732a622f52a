"""Kinds of fraud: what a liar runs, or says, instead of the truth, on a shard of any shape."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from arenas import Arena
from liars import Lie, copied_initial, false_partials, flipped_bit, misread, other_inputs, skipped_step
from worlds import Array


class Manner(Enum):
    """What a liar does where it departs from its story."""

    CONTRADICT = "posts one thing that contradicts the one above, then its own story again"
    RAVE = "posts nothing but contradictions from there on"
    FALL_SILENT = "makes no move"
    CALL_INVALID = "calls the program invalid"


@functools.cache
def _told(lie: Callable[[Arena], Lie | None], arena: Arena) -> Lie | None:
    return lie(arena)


@dataclass(frozen=True)
class Fraud:
    """One kind: what was run, or said, instead of the truth.

    Attributes:
        lie: of a shard; None where the shard has no place for it.
        manner: of departing from it.
    """

    name: str
    lie: Callable[[Arena], Lie | None]
    manner: Manner = Manner.CONTRADICT

    def told(self, arena: Arena) -> Lie | None:
        """The lie, whose run is computed once."""
        return _told(self.lie, arena)


def _last(arena: Arena) -> int:
    return arena.steps - 1


def weight_lie(arena: Arena) -> Lie:
    """One bit of a weight of the last step's new state."""
    return flipped_bit(_last(arena), arena.weights_node, arena.elements - 1, 3)


def inner_lie(arena: Arena) -> Lie | None:
    """One bit of what an inner node of the last step gives."""
    return flipped_bit(_last(arena), arena.inner_node, arena.elements - 1, 5) if arena.inner else None


def _any(arena: Arena) -> Lie:
    return inner_lie(arena) or weight_lie(arena)


def _changed(arrays: Sequence[Array], index: int, element: int, bit: int) -> list[Array]:
    """The same but for one bit."""
    changed = [array.copy() for array in arrays]
    flat = changed[index].reshape(-1)
    flat.view(f"u{flat.itemsize}")[element] ^= 1 << bit
    return changed


def _data(arena: Arena) -> Lie:
    """Other data: each with its lowest bits turned around."""
    (data,) = arena.world.inputs.constants
    return other_inputs(arena.world, constants=[data ^ np.where(np.arange(len(data)) == 1, 3, 2).astype(np.int8)])


def _constant(arena: Arena) -> Lie:
    return other_inputs(arena.world, constants=_changed(arena.world.inputs.constants, 0, 0, 6))


def _initial(arena: Arena) -> Lie:
    return other_inputs(arena.world, state=_changed(arena.world.inputs.state, arena.read_first, 0, 4))


def _rate(arena: Arena) -> Lie:
    return other_inputs(arena.world, parameters=[each + 1 for each in arena.world.inputs.parameters])


def _misread(arena: Arena, told: Callable[[int, Array], int]) -> Lie | None:
    """One datum is read as something else."""
    (data,) = arena.world.inputs.constants
    raw, element = data.view(np.uint8), arena.elements - 1
    position = arena.terms * 2 // 3
    true = arena.world.truth.trace(_last(arena)).element(arena.inner_node, element)
    told_raw = told(int(raw[position if arena.terms else element]), raw)
    return misread(true, _last(arena), arena.inner_node, arena.data_operand, position, told_raw)


def _false_read(arena: Arena) -> Lie | None:
    """What was never there."""
    return _misread(arena, lambda true, data: true ^ 64)


def _other_operand(arena: Arena) -> Lie | None:
    """What stands elsewhere."""
    return _misread(arena, lambda true, data: next(int(each) for each in data if each != true))


def _partial(arena: Arena) -> Lie | None:
    if not arena.terms:
        return None
    return false_partials(arena.world, _last(arena), arena.inner_node, arena.elements - 1, arena.terms * 2 // 3, 8)


def _skipped(arena: Arena) -> Lie:
    return skipped_step(_last(arena))


FRAUDS = [
    Fraud("wrong bit in a weight", weight_lie),
    Fraud("wrong bit at an inner node", inner_lie),
    Fraud("initial state copied", lambda arena: copied_initial()),
    Fraud("step skipped", _skipped),
    Fraud("wrong data", _data),
    Fraud("one bit of a constant", _constant),
    Fraud("one bit of the initial state", _initial),
    Fraud("another learning rate", _rate),
    Fraud("false read", _false_read),
    Fraud("another operand read", _other_operand),
    Fraud("wrong partial results", _partial),
    Fraud("inconsistent postings", _any, Manner.RAVE),
    Fraud("silence", _any, Manner.FALL_SILENT),
    Fraud("program called invalid", _any, Manner.CALL_INVALID),
]
