"""Numbers that remember how they were computed, while a step is traced.

A `TracedFloat` stands for a hyper-parameter, a count of steps, or a value that Python reads out of a tensor, and what
Python computes from one is a TracedFloat too. The graph only keeps plain numbers, but a number's bits then say which
formula made it: every leaf has a value of its own near the true one, with more digits than a literal has.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from orebit.errors import ConfigError, TraceError

# How far apart the values of leaves and of trials lie, relative to the true value: f32 tells them apart.
SPACING = 2.0**-20
# Gives values more digits than f32 has, so that no literal is mistaken for one.
FINE = 2.0**-45
TRIALS = 16

OPERATORS: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "**": operator.pow,
    "%": operator.mod,
    "//": operator.floordiv,
    "negative": operator.neg,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "cos": math.cos,
    "sin": math.sin,
    "tanh": math.tanh,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
# What these make may be a literal's value, or that of one operand.
STEPWISE = ("//", "max", "min")
SPREAD = (0.6180339887498949, 0.7548776662466927)


@dataclass(frozen=True)
class Setting:
    """A hyper-parameter; one that is scheduled changes from step to step."""

    name: str
    scheduled: bool


@dataclass(frozen=True)
class Clock:
    """A count that is `first` in step 0 and `stride` more in each step after."""

    first: float
    stride: float


@dataclass(frozen=True)
class Read:
    """The number-th value that Python read out of a tensor."""

    number: int


@dataclass(frozen=True)
class Moment:
    """What formulas are evaluated for: the hyper-parameters' values in a step, and its number from 0."""

    settings: Mapping[str, float]
    step: int


@dataclass(frozen=True, eq=False)
class Formula:
    """A leaf, a literal, or an operator over formulas; `text` names it and is equal for equal ones.

    It `changes` when it depends on the step, `counts` when it does so through a clock, `reads` when on tensors.
    """

    text: str
    leaf: Setting | Clock | Read | float | None = None
    symbol: str = ""
    operands: tuple[Formula, ...] = ()
    changes: bool = False
    counts: bool = False
    reads: bool = False

    @classmethod
    def of_leaf(cls, leaf: Setting | Clock | Read | float) -> Formula:
        """A leaf, or a literal."""
        if isinstance(leaf, Setting):
            return cls(leaf.name, leaf, changes=leaf.scheduled)
        if isinstance(leaf, Clock):
            stride = "" if leaf.stride == 1 else f"{leaf.stride:g} * "
            return cls(f"({stride}step + {leaf.first:g})", leaf, changes=True, counts=True)
        return cls(f"read {leaf.number}", leaf, reads=True) if isinstance(leaf, Read) else cls(repr(leaf), leaf)

    @classmethod
    def combined(cls, symbol: str, *operands: Formula) -> Formula:
        """An operator or a function applied."""
        texts = [operand.text for operand in operands]
        if symbol == "negative":
            text = f"-{texts[0]}"
        else:
            text = f"{symbol}({', '.join(texts)})" if symbol[0].isalpha() else f"({texts[0]} {symbol} {texts[1]})"
        changes, counts, reads = (any(getattr(o, name) for o in operands) for name in ("changes", "counts", "reads"))
        return cls(text, None, symbol, operands, changes, counts, reads)

    def evaluate(self, moment: Moment) -> float:
        """Its value in float64; only for one that reads no tensor."""
        if self.operands:
            return float(OPERATORS[self.symbol](*(operand.evaluate(moment) for operand in self.operands)))
        if isinstance(self.leaf, Setting):
            return float(moment.settings[self.leaf.name])
        if isinstance(self.leaf, Clock):
            return self.leaf.first + self.leaf.stride * moment.step
        if isinstance(self.leaf, float | int):
            return float(self.leaf)
        raise TraceError(f"{self.text} is known only while a step runs; this is a bug in Orebit")


@dataclass(frozen=True)
class Guard:
    """A comparison of hyper-parameters that the traced code made, and how it came out."""

    symbol: str
    left: Formula
    right: Formula
    outcome: bool

    @property
    def changes(self) -> bool:
        """Whether it must hold in every step on its own."""
        return self.left.changes or self.right.changes

    def refuse_other(self, moment: Moment) -> None:
        """Raises:
        ConfigError: when other hyper-parameters make it come out otherwise.
        """
        if OPERATORS[self.symbol](self.left.evaluate(moment), self.right.evaluate(moment)) is not self.outcome:
            raise ConfigError(
                f"the step was traced with {self.left.text} {self.symbol} {self.right.text}"
                f" {'true' if self.outcome else 'false'}, and these hyper-parameters make it otherwise; trace a"
                " training of its own for them"
            )


@dataclass
class ScalarTable:
    """The formulas of one trace, by the bits of their values; `settings` are the hyper-parameters' true values, `reads`
    the tensors that Python read."""

    settings: Mapping[str, float]
    formulas: dict[bytes, Formula] = field(default_factory=dict)
    guards: list[Guard] = field(default_factory=list)
    reads: list[torch.Tensor] = field(default_factory=list)

    def formula(self, number: object) -> Formula | None:
        """The formula that made this number, or None."""
        return self.formulas.get(_bits(number)) if isinstance(number, float) else None

    def leaf(self, leaf: Setting | Clock | Read, value: float, trial: int, place: int) -> TracedFloat:
        """A new TracedFloat near `value`; no other trial or place has the same."""
        shift = trial + TRIALS * place + 1
        return TracedFloat.make(value * (1.0 - SPACING * shift - FINE * (2 * shift + 1)), Formula.of_leaf(leaf), self)


class TracedFloat(float):
    """A float that registers itself, and what is computed from it, in a table."""

    formula: Formula
    table: ScalarTable

    @classmethod
    def make(cls, number: float, formula: Formula, table: ScalarTable) -> TracedFloat:
        self = cls(number)
        self.formula, self.table = formula, table
        # What f32 holds exactly (lr / lr, a product with 0) would be taken for a literal, or a literal for it.
        if not is_short(number):
            table.formulas.setdefault(_bits(self), formula)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> TracedFloat:
        return self

    def __neg__(self) -> float:
        return applied("negative", self)

    def __abs__(self) -> float:
        return applied("max", self, -self)

    def __int__(self) -> int:
        return int(self._fixed("int()"))

    def __trunc__(self) -> int:
        return math.trunc(self._fixed("trunc()"))

    def __floor__(self) -> int:
        return math.floor(self._fixed("floor()"))

    def __ceil__(self) -> int:
        return math.ceil(self._fixed("ceil()"))

    def __round__(self, digits: Any = None) -> Any:
        return round(self._fixed("round()"), digits)

    def _fixed(self, what: str) -> float:
        """Its true value, where that is one for all steps; hyper-parameters may then not become others."""
        if self.formula.counts or self.formula.reads:
            raise TraceError(
                f"Python makes {self.formula.text} an integer by {what}, and it differs from step to step; keep it in a"
                " tensor, or leave it out of the step"
            )
        value = self.formula.evaluate(Moment(self.table.settings, 0))
        self.table.guards.append(Guard("==", self.formula, Formula.of_leaf(value), True))
        return value

    def __bool__(self) -> bool:
        return bool(self != 0.0)

    def __hash__(self) -> int:
        return super().__hash__()


def _arithmetic(name: str, symbol: str) -> None:
    def forward(self: TracedFloat, other: object) -> object:
        return _combine(symbol, self, other)

    def reflected(self: TracedFloat, other: object) -> object:
        return _combine(symbol, other, self)

    setattr(TracedFloat, f"__{name}__", forward)
    setattr(TracedFloat, f"__r{name}__", reflected)


def _combine(symbol: str, left: object, right: object) -> object:
    if not isinstance(left, float | int) or not isinstance(right, float | int):
        return NotImplemented
    number = OPERATORS[symbol](_plain(left), _plain(right))
    return applied(symbol, left, right) if isinstance(number, float) else number


def _comparison(name: str, symbol: str) -> None:
    def compare(self: TracedFloat, other: object) -> object:
        if not isinstance(other, float | int):
            return NotImplemented
        left, right = self.formula, formula_of(other)
        if any(side.counts or side.reads for side in (left, right)):
            raise TraceError(
                f"Python compares {left.text} {symbol} {right.text}, which differs from step to step, and a program is"
                " the same in every step; use torch.where on tensors. Where a torch optimizer does so, take another:"
                " SGD, Adam, AdamW, NAdam, RAdam, Adamax, Adagrad, Adadelta, RMSprop or Muon"
            )
        # The values at hand are a little off.
        truth = Moment(self.table.settings, 0)
        outcome = bool(OPERATORS[symbol](left.evaluate(truth), right.evaluate(truth)))
        self.table.guards.append(Guard(symbol, left, right, outcome))
        return outcome

    setattr(TracedFloat, f"__{name}__", compare)


_ARITHMETIC = {"add": "+", "sub": "-", "mul": "*", "truediv": "/", "pow": "**", "mod": "%", "floordiv": "//"}
for _name, _symbol in _ARITHMETIC.items():
    _arithmetic(_name, _symbol)
for _name, _symbol in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("ne", "!=")):
    _comparison(_name, _symbol)


def applied(symbol: str, *numbers: float | int) -> float:
    """A function of OPERATORS applied to numbers of which one is traced, as a number that remembers it."""
    table = next(number.table for number in numbers if isinstance(number, TracedFloat))
    plain = [_plain(number) for number in numbers]
    made = float(OPERATORS[symbol](*plain))
    if symbol in STEPWISE:
        # Any value does that no other number has.
        made += (
            (made or 1.0)
            * SPACING
            * (1 + math.fmod(sum(k * abs(number) for k, number in zip(SPREAD, plain, strict=False)), 1.0))
        )
    return TracedFloat.make(made, Formula.combined(symbol, *(formula_of(number) for number in numbers)), table)


def formula_of(number: float | int) -> Formula:
    """A TracedFloat's formula, or a literal's."""
    return number.formula if isinstance(number, TracedFloat) else Formula.of_leaf(number)


def _plain(number: float | int) -> float | int:
    return float.__float__(number) if isinstance(number, TracedFloat) else number


def _bits(number: float) -> bytes:
    return struct.pack("<d", float(number))


def is_short(number: float) -> bool:
    """Whether f32 holds a number exactly, or cannot hold it at all; formulas' values are not so."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0]) == number or number != number
    except OverflowError:
        return True
