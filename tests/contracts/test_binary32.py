"""Scalar arithmetic in Solidity against this processor and against the oracle, and what each operation takes of gas.

OREBIT_LONG_TESTS=1 takes a million operands of each operation, drawn anew; `make snapshots` writes
`snapshots/binary32.json` anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evm import Chain, Contract, alone
from scalar_vectors import Ints, exact, operands

from orebit.executor import interpreter
from orebit.numerics.types import CANONICAL_NAN, INT64_MAX, INT64_MIN, DType
from orebit.program.opcodes import SIGNATURES, Op
from orebit.program.price import instruction_gas

SNAPSHOT = Path(__file__).resolve().parent.parent.parent / "snapshots" / "binary32.json"
WRITE = os.environ.get("OREBIT_SNAPSHOTS") == "write"
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
COUNT, LONG_COUNT = 12_000, 1_000_000
PER_CALL = 8_000
# The harness's codes for what an expression's loads and stores do: the argument, and its bytes.
SIGN_EXTENDED, ZERO_EXTENDED, STORED = 0x60, 0x61, 0x62
OPERATIONS = list(SIGNATURES)


@dataclass(frozen=True)
class Bench:
    """The harness: one operation over arrays of operands."""

    harness: Contract

    def run(self, op: int, x: Ints, y: Ints) -> tuple[Ints, Ints]:
        """Results, and the gas that each took."""
        packed = np.stack((x, y), axis=1).astype(">i8")
        parts = [self.harness.run(op, packed[at : at + PER_CALL].tobytes()) for at in range(0, len(x), PER_CALL)]
        results = np.frombuffer(b"".join(part[0] for part in parts), ">i8").astype(np.int64)
        return results, np.frombuffer(b"".join(part[1] for part in parts), ">u2").astype(np.int64)


@pytest.fixture(scope="module")
def bench(contracts: Any, aside: Chain) -> Bench:
    return Bench(alone(aside, contracts.ScalarHarness))


# What the processor says


def floats(bits: Ints) -> Ints:
    return bits.astype(np.uint32).view(np.float32)


def bits(values: Ints) -> Ints:
    return np.where(np.isnan(values), CANONICAL_NAN, values.astype(np.float32).view(np.uint32).astype(np.int64))


def ordered(x: Ints, y: Ints, first: bool) -> Ints:
    """The lesser or the greater, -0 before +0, which numpy takes for equal."""
    swap = (x > y) | ((x == y) & (np.signbit(y) > np.signbit(x)))
    picked = np.where(swap == first, y, x)
    return np.where(np.isnan(x) | np.isnan(y), np.float32(np.nan), picked)


def root(x: Ints) -> Ints:
    """numpy's, proven to be the nearest float: the squares of the halves below and above it lie on either side."""
    result = np.sqrt(x)
    proper = (x > 0) & np.isfinite(x)
    fraction, exponent = np.frexp(result[proper].astype(np.float64))
    digits = (fraction * 2**26).astype(np.int64)
    square = np.ldexp(x[proper].astype(np.float64), 52 - 2 * exponent).astype(np.int64)
    below = digits - np.where(fraction == 0.5, 1, 2)
    assert (below**2 < square).all() and (square < (digits + 2) ** 2).all()
    return result


def whole(x: Ints) -> Ints:
    rounded = np.rint(x).astype(np.float64)
    inside = np.where(np.abs(rounded) < 2.0**63, rounded, 0).astype(np.int64)
    return np.where(rounded >= 2.0**63, INT64_MAX, np.where(rounded <= -(2.0**63), INT64_MIN, inside))


def truncated(x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """Quotient and remainder of C, total."""
    safe = np.where((y == 0) | (y == -1), 1, y)
    rest = np.fmod(x, safe)
    quotient = np.where(y == -1, np.negative(x), (x - rest) // safe)
    return np.where(y == 0, 0, quotient), rest


def rotated(x: Ints, y: Ints) -> Ints:
    low, count = x & 0xFFFFFFFF, y & 31
    return (low << count | low >> (32 - count)) & 0xFFFFFFFF


HARDWARE: dict[Op, Any] = {
    Op.FADD: np.add,
    Op.FSUB: np.subtract,
    Op.FMUL: np.multiply,
    Op.FDIV: np.divide,
    Op.FSQRT: root,
    Op.FNEG: np.negative,
    Op.FABS: np.abs,
    Op.FMIN: lambda x, y: ordered(x, y, True),
    Op.FMAX: lambda x, y: ordered(x, y, False),
    Op.FLT: np.less,
    Op.FLE: np.less_equal,
    Op.FEQ: np.equal,
    Op.FROUND: np.rint,
    Op.F_TO_I: whole,
    Op.I_TO_F: lambda x: x.astype(np.float32),
    Op.F_BITS: bits,
    Op.BITS_F: floats,
    Op.IADD: np.add,
    Op.ISUB: np.subtract,
    Op.IMUL: np.multiply,
    Op.INEG: np.negative,
    Op.IABS: np.abs,
    Op.IAND: np.bitwise_and,
    Op.IOR: np.bitwise_or,
    Op.IXOR: np.bitwise_xor,
    Op.ISHL: lambda x, y: x << (y & 63),
    Op.ISHR: lambda x, y: (x.view(np.uint64) >> (y & 63).view(np.uint64)).view(np.int64),
    Op.ISAR: lambda x, y: x >> (y & 63),
    Op.ROTL32: rotated,
    Op.ILT: np.less,
    Op.ILE: np.less_equal,
    Op.IEQ: np.equal,
    Op.IMIN: np.minimum,
    Op.IMAX: np.maximum,
    Op.IDIV: lambda x, y: truncated(x, y)[0],
    Op.IREM: lambda x, y: truncated(x, y)[1],
}


def by_hardware(op: Op, *arguments: Ints) -> Ints:
    given, result = SIGNATURES[op]
    values = [floats(column) if kind.is_float else column for kind, column in zip(given, arguments, strict=True)]
    with np.errstate(all="ignore"):
        answer = HARDWARE[op](*values)
    return bits(answer) if result.is_float else answer.astype(np.int64)


def by_oracle(op: Op, *arguments: Ints) -> Ints:
    columns = [column.tolist() for column in arguments]
    return np.array([interpreter.SCALAR[op](*row) for row in zip(*columns, strict=True)], dtype=np.int64)


def check(bench: Bench, op: Op, x: Ints, y: Ints) -> Ints:
    """The three agree. Returns gas."""
    results, gas = bench.run(op, x, y)
    arguments = (x, y)[: len(SIGNATURES[op][0])]
    for judge, expected in (("hardware", by_hardware(op, *arguments)), ("oracle", by_oracle(op, *arguments))):
        wrong = np.flatnonzero(results != expected)
        shown = [(*(hex(column[i]) for column in arguments), hex(results[i]), hex(expected[i])) for i in wrong[:3]]
        assert not len(wrong), f"{op.name} and the {judge} differ in {len(wrong)} of {len(x)}: {shown}"
    return gas


@pytest.mark.parametrize("op", OPERATIONS, ids=[op.name for op in OPERATIONS])
def test_operation(bench: Bench, figures: dict[str, Any], op: Op) -> None:
    """The same bits as hardware and oracle, and the gas of the snapshot, under the price."""
    gas = check(bench, op, *operands(op, COUNT, seed=0))
    taken = {"median": int(np.median(gas)), "most": int(gas.max())}
    name = op.name.lower()
    assert taken["most"] <= instruction_gas(op), f"{name} takes {taken['most']}, its price is {instruction_gas(op)}"
    figures["seen"][name] = taken
    if not WRITE:
        known = figures["known"].get(name)
        assert known == taken, f"{name} takes {taken}, the snapshot says {known}: make snapshots"


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, Any]]:
    """The snapshot's figures, and those measured, which may replace them."""
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.is_file() else {}
    seen: dict[str, Any] = {}
    yield {"known": known, "seen": seen}
    if WRITE:
        SNAPSHOT.write_text(json.dumps(dict(sorted((known | seen).items())), indent=2) + "\n")


@pytest.mark.skipif(not LONG, reason="ten minutes: OREBIT_LONG_TESTS=1")
@pytest.mark.parametrize("op", OPERATIONS, ids=[op.name for op in OPERATIONS])
def test_a_million(bench: Bench, figures: dict[str, Any], op: Op) -> None:
    """New ones in every run, and none takes more gas than the snapshot says."""
    seed = int.from_bytes(os.urandom(2), "big")
    print(f"{op.name}: seed {seed}")
    gas = check(bench, op, *operands(op, LONG_COUNT, seed))
    assert gas.max() <= figures["known"][op.name.lower()]["most"]


@pytest.mark.parametrize("dtype", list(DType)[1:], ids=[dtype.label for dtype in list(DType)[1:]])
def test_loads_extend_and_stores_wrap(bench: Bench, dtype: DType) -> None:
    values, _ = operands(Op.IADD, 500, seed=1)
    size = np.full_like(values, dtype.size)
    stored, _ = bench.run(STORED, values, size)
    raw = values.astype(dtype.numpy)
    assert (stored == raw.view(f"u{dtype.size}").astype(np.uint64).view(np.int64)).all()
    for given in (stored, values):  # what is above the type's bytes does not count
        loaded, _ = bench.run(SIGN_EXTENDED if dtype.is_signed else ZERO_EXTENDED, given, size)
        assert (loaded == raw.astype(np.int64)).all()


def ties(value: Ints, result: Ints) -> tuple[int, int]:
    """How many exact values lie halfway between two floats, the result one of them: normal ones, and subnormal ones."""
    nearest = floats(result)
    use = np.isfinite(value) & np.isfinite(nearest) & (value != nearest)
    value, nearest = value[use], nearest[use]
    other = np.nextafter(nearest, np.where(value > nearest, np.float32(np.inf), np.float32(-np.inf)))
    tie = value - nearest == other.astype(np.float64) - value
    tiny = np.abs(value) < 2.0**-126
    return np.count_nonzero(tie & ~tiny), np.count_nonzero(tie & tiny)


def test_the_vectors_hold_ties() -> None:
    """Exact halves, which float64 holds, wherever an operation can meet them."""
    met = {}
    for op in (Op.FADD, Op.FSUB, Op.FMUL, Op.FDIV):
        x, y = operands(op, COUNT, seed=0)
        with np.errstate(all="ignore"):
            met[op] = ties(HARDWARE[op](exact(x), exact(y)), by_hardware(op, x, y))
    assert min(met[Op.FADD][0], met[Op.FSUB][0], *met[Op.FMUL], met[Op.FDIV][1]) > 100, met
    assert met[Op.FADD][1] == met[Op.FSUB][1] == met[Op.FDIV][0] == 0
    for op in (Op.FROUND, Op.F_TO_I):
        value = exact(operands(op, COUNT, seed=0)[0])
        value = value[np.abs(value) < 2.0**24]
        assert np.count_nonzero(value % 1 == 0.5) > 100
    x, _ = operands(Op.I_TO_F, COUNT, seed=0)
    nearest = floats(by_hardware(Op.I_TO_F, x))
    assert np.count_nonzero(2 * np.abs(x - whole(nearest)) == np.spacing(np.abs(nearest))) > 100
