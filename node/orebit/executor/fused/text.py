"""LLVM assembly as text: functions, blocks, loops, and a cursor that appends instructions.

A value is scalar (one lane) or a vector. Where lanes differ, the scalar is repeated. Nothing here knows of programs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from orebit.numerics.types import CANONICAL_NAN


@dataclass(frozen=True, slots=True)
class Value:
    """An operand of an instruction: its text, element type (`i32`, `float`, `ptr`, ...) and number of lanes."""

    text: str
    kind: str
    lanes: int = 1
    constant: bool = False

    @property
    def type(self) -> str:
        return self.kind if self.lanes == 1 else f"<{self.lanes} x {self.kind}>"

    @property
    def typed(self) -> str:
        return f"{self.type} {self.text}"


def integer(value: int, kind: str = "i64") -> Value:
    """A constant, taken modulo the type's width."""
    bits = int(kind[1:])
    value &= (1 << bits) - 1
    return Value(str(value - (1 << bits) if value >> (bits - 1) and bits > 1 else value), kind, 1, True)


def f32(bits: int) -> Value:
    """A constant of these bits; LLVM writes it as the double that it equals."""
    (number,) = struct.unpack("<f", bits.to_bytes(4, "little"))
    return Value("0x" + struct.pack(">d", number).hex().upper(), "float", 1, True)


def f64(value: float) -> Value:
    return Value("0x" + struct.pack(">d", value).hex().upper(), "double", 1, True)


def vector(values: Sequence[int], kind: str) -> Value:
    """A constant vector of integers."""
    return Value("<" + ", ".join(integer(v, kind).typed for v in values) + ">", kind, len(values), True)


@dataclass(slots=True)
class Block:
    name: str
    lines: list[str] = field(default_factory=list)


class Function:
    """A kernel under construction: `void name(ptr args, i64 begin, i64 end)`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry = Block("entry")
        self.allocations = Block("allocations")
        self.blocks = [self.entry]
        self.declarations: dict[str, str] = {}
        self._count = 0

    def fresh(self, hint: str = "v") -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def block(self, hint: str) -> Block:
        made = Block(self.fresh(hint))
        self.blocks.append(made)
        return made

    def allocate(self, kind: str, count: int = 1) -> Value:
        """Stack memory of the kernel, aligned for vectors; a pointer."""
        name = "%" + self.fresh("a")
        shape = kind if count == 1 else f"[{count} x {kind}]"
        self.allocations.lines.append(f"{name} = alloca {shape}, align 64")
        return Value(name, "ptr")

    @cached_property
    def canonical_nan(self) -> Value:
        """The canonical NaN as a value that LLVM does not know. It holds any two NaN for the same, and would leave out
        the choice of one over another."""
        place, nan = "%" + self.fresh("a"), "%" + self.fresh("nan")
        self.allocations.lines += [
            f"{place} = alloca i32, align 4",
            f"store i32 {CANONICAL_NAN}, ptr {place}, align 4",
            f"{nan} = load volatile float, ptr {place}, align 4",
        ]
        return Value(nan, "float")

    def text(self) -> str:
        """The whole definition. Every block must have been closed by a branch."""
        lines = [f"define void @{self.name}(ptr noalias readonly %args, i64 %begin, i64 %end) nounwind {{"]
        for block in self.blocks:
            lines.append(f"{block.name}:")
            if block is self.entry:
                lines += self.allocations.lines
            lines += block.lines
        return "\n".join([*lines, "}"]) + "\n"


class Cursor:
    """Appends instructions to one block after another."""

    def __init__(self, function: Function, block: Block) -> None:
        self.function = function
        self.block = block

    def line(self, text: str) -> None:
        self.block.lines.append(text)

    def put(self, text: str, kind: str, lanes: int = 1) -> Value:
        name = "%" + self.function.fresh()
        self.block.lines.append(f"{name} = {text}")
        return Value(name, kind, lanes)

    def repeat(self, value: Value, lanes: int) -> Value:
        """A scalar in every lane; a vector of that many lanes is itself."""
        if value.lanes == lanes:
            return value
        if value.constant:
            return Value(f"splat ({value.typed})", value.kind, lanes, True)
        kind = f"<{lanes} x {value.kind}>"
        first = self.put(f"insertelement {kind} poison, {value.typed}, i64 0", value.kind, lanes)
        return self.put(
            f"shufflevector {kind} {first.text}, {kind} poison, <{lanes} x i32> zeroinitializer", value.kind, lanes
        )

    def alike(self, *values: Value) -> list[Value]:
        lanes = max(value.lanes for value in values)
        return [self.repeat(value, lanes) for value in values]

    def binary(self, name: str, x: Value, y: Value) -> Value:
        x, y = self.alike(x, y)
        return self.put(f"{name} {x.typed}, {y.text}", x.kind, x.lanes)

    def compare(self, name: str, x: Value, y: Value) -> Value:
        """`name` is the instruction and its predicate, as `icmp slt`."""
        x, y = self.alike(x, y)
        return self.put(f"{name} {x.typed}, {y.text}", "i1", x.lanes)

    def select(self, condition: Value, taken: Value, other: Value) -> Value:
        condition, taken, other = self.alike(condition, taken, other)
        return self.put(f"select {condition.typed}, {taken.typed}, {other.typed}", taken.kind, taken.lanes)

    def cast(self, name: str, x: Value, kind: str) -> Value:
        if x.kind == kind:
            return x
        to = kind if x.lanes == 1 else f"<{x.lanes} x {kind}>"
        return self.put(f"{name} {x.typed} to {to}", kind, x.lanes)

    def intrinsic(self, name: str, *arguments: Value, flag: str = "") -> Value:
        """A call of `llvm.name` overloaded on its first argument; `flag` is a trailing immediate argument."""
        given = self.alike(*arguments)
        kind, lanes = given[0].kind, given[0].lanes
        short = {"float": "f32", "double": "f64"}.get(kind, kind)
        full = f"llvm.{name}.{short}" if lanes == 1 else f"llvm.{name}.v{lanes}{short}"
        types = ", ".join([value.type for value in given] + (["i1"] if flag else []))
        self.function.declarations[full] = f"declare {given[0].type} @{full}({types})"
        passed = ", ".join([value.typed for value in given] + ([f"i1 {flag}"] if flag else []))
        return self.put(f"call {given[0].type} @{full}({passed})", kind, lanes)

    def reduce(self, name: str, x: Value) -> Value:
        """All lanes combined: `add`, `and`, `smax` or `umax`."""
        if x.lanes == 1:
            return x
        full = f"llvm.vector.reduce.{name}.v{x.lanes}{x.kind}"
        self.function.declarations[full] = f"declare {x.kind} @{full}({x.type})"
        return self.put(f"call {x.kind} @{full}({x.typed})", x.kind)

    def lane(self, x: Value, number: int) -> Value:
        return x if x.lanes == 1 else self.put(f"extractelement {x.typed}, i64 {number}", x.kind)

    def gather_lanes(self, values: Sequence[Value]) -> Value:
        """A vector of scalars."""
        if len(values) == 1:
            return values[0]
        kind, lanes = values[0].kind, len(values)
        made = Value("poison", kind, lanes)
        for number, value in enumerate(values):
            made = self.put(f"insertelement {made.typed}, {value.typed}, i64 {number}", kind, lanes)
        return made

    def address(self, base: Value, index: Value, kind: str) -> Value:
        return self.put(f"getelementptr inbounds {kind}, ptr {base.text}, {index.typed}", "ptr")

    def load(self, address: Value, kind: str, lanes: int = 1) -> Value:
        to = kind if lanes == 1 else f"<{lanes} x {kind}>"
        return self.put(f"load {to}, ptr {address.text}, align {bytes_of(kind)}", kind, lanes)

    def store(self, value: Value, address: Value) -> None:
        self.line(f"store {value.typed}, ptr {address.text}, align {bytes_of(value.kind)}")

    def jump(self, target: Block) -> None:
        self.line(f"br label %{target.name}")

    def branch(self, condition: Value, taken: Block, other: Block) -> None:
        self.line(f"br i1 {condition.text}, label %{taken.name}, label %{other.name}")

    def join(self, kind: str, lanes: int, incoming: Iterable[tuple[Value, Block]]) -> Value:
        to = kind if lanes == 1 else f"<{lanes} x {kind}>"
        return self.put(f"phi {to} " + ", ".join(f"[ {v.text}, %{b.name} ]" for v, b in incoming), kind, lanes)

    def linear(self, base: int, terms: Iterable[tuple[int, Value]]) -> Value:
        """base + sum of coefficient * i64 scalar, without what is zero."""
        total = integer(base)
        for coefficient, index in terms:
            if coefficient == 0 or index.text == "0":
                continue
            term = index if coefficient == 1 else self.binary("mul nsw", index, integer(coefficient))
            total = term if total.text == "0" else self.binary("add nsw", total, term)
        return total


def bytes_of(kind: str) -> int:
    return {"float": 4, "double": 8, "ptr": 8}.get(kind) or max(int(kind[1:]) // 8, 1)


class Loop:
    """`for index in range(start, stop, step)`.

    While the body is made, what is appended at the loop's place runs once before it; `close` moves the place behind it.

    Args:
        at: where the loop stands.
        start, stop: i64.
        surely: whether the body runs at least once.
    """

    def __init__(self, at: Cursor, start: Value, stop: Value, step: int = 1, *, surely: bool = False) -> None:
        function = at.function
        self._at, self._start, self._stop, self._step, self._surely = at, start, stop, step, surely
        at.jump(first := function.block("before"))
        at.block = first
        self._head = function.block("head")
        self._body = self._head if surely else function.block("body")
        self.body = Cursor(function, self._body)
        self.index = Value("%" + function.fresh("i"), "i64")

    def close(self) -> None:
        function = self._at.function
        after = function.block("after")
        following = self.body.binary("add nsw", self.index, integer(self._step))
        latch = self.body.block
        if self._surely:
            self.body.branch(self.body.compare("icmp slt", following, self._stop), self._head, after)
        else:
            self.body.jump(self._head)
            head = Cursor(function, self._head)
            head.branch(head.compare("icmp slt", self.index, self._stop), self._body, after)
        origin = self._at.block.name
        phi = f"{self.index.text} = phi i64 [ {self._start.text}, %{origin} ], [ {following.text}, %{latch.name} ]"
        self._head.lines.insert(0, phi)
        self._at.jump(self._head)
        self._at.block = after
