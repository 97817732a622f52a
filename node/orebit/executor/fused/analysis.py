"""What is known of a region's values before code is made: ranges, and how much of each value anybody looks at.

AVX2 has no 64-bit multiplication, conversion or maximum, so an i64 is computed in 32 bits wherever its range, or what
its readers look at, allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isinf
from struct import pack, unpack

from orebit.executor.fused.region import Affine, Apply, Constant, Load, Reduce, Region, Step, Store, View, Wrap
from orebit.executor.ranges import FULL, Range, union
from orebit.numerics.types import INT64_MAX, INT64_MIN, MASK32, DType
from orebit.program.opcodes import Op

INT32 = (-(1 << 31), (1 << 31) - 1)
UINT32 = (0, MASK32)
# The greatest f32 below 2^31: where a conversion to 32 bits saturates.
CONVERTED = (-(1 << 31), (1 << 31) - 128)

MODULAR = frozenset((Op.IADD, Op.ISUB, Op.IMUL, Op.INEG, Op.IAND, Op.IOR, Op.IXOR))
COMPARISONS = frozenset((Op.FLT, Op.FLE, Op.FEQ, Op.ILT, Op.ILE, Op.IEQ))


@dataclass(frozen=True, slots=True)
class Interval:
    """An f32 lies in low..high or, if `nan`, is a NaN."""

    low: float = -inf
    high: float = inf
    nan: bool = True

    @property
    def finite(self) -> bool:
        return not isinf(self.low) and not isinf(self.high)


ANY = Interval()


class Analysis:
    """Ranges of a region's i64 values, intervals of its f32 values, and demand.

    Attributes:
        ranges: of each i64 value, as it is computed (see `clamped`).
        intervals: of each f32 value.
        low_only: whether readers look at the low 32 bits only.
        clamped: conversions to integer whose readers see them only after a clamp well within 32 bits, so that they
            may saturate there, with the limits.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self.clamped = _clamped(region)
        self.ranges: list[Range] = []
        self.intervals: list[Interval] = []
        for number, step in enumerate(region.steps):
            is_float = region.is_float[number]
            self.intervals.append(self._interval(step) if is_float else ANY)
            self.ranges.append(FULL if is_float else self._range(number, step))
        self.low_only = self._demand()

    def narrow(self, number: int) -> bool:
        """Whether 32 bits hold what anybody needs of this i64."""
        return self.low_only[number] or fits(self.ranges[number])

    def constant(self, number: int) -> int | None:
        """A constant i64's value."""
        step = self.region.steps[number]
        return step.value if isinstance(step, Constant) and step.dtype is not DType.F32 else None

    def _range(self, number: int, step: Step) -> Range:
        match step:
            case Load(bounds=bounds):
                return bounds
            case View(bounds=bounds, fill=fill):
                return union(bounds, (fill, fill))
            case Constant(value=value):
                return value, value
            case Affine():
                low = step.base + sum(
                    min(s * (e - 1), 0) for s, e in zip(step.strides, self.region.extents, strict=True)
                )
                high = step.base + sum(
                    max(s * (e - 1), 0) for s, e in zip(step.strides, self.region.extents, strict=True)
                )
                return low, high
            case Wrap(dtype=dtype, args=(arg,)):
                low, high = dtype.range
                return self.ranges[arg] if low <= self.ranges[arg][0] and self.ranges[arg][1] <= high else (low, high)
            case Reduce(maximum=maximum, args=(arg,)):
                low, high = self.ranges[arg]
                count = self.region.reduced_size
                return (low, high) if maximum else _unless_wrapping(min(low * count, low), max(high * count, high))
            case Store(args=(arg,)):
                return self.ranges[arg]
            case Apply(op=Op.F_TO_I, args=(arg,)):
                return self.clamped[number] if number in self.clamped else _converted(self.intervals[arg])
            case Apply():
                return _operation_range(step.op, [self.ranges[arg] for arg in step.args])
            case _:
                raise AssertionError(f"{step} is no step of a region")

    def _interval(self, step: Step) -> Interval:
        match step:
            case Constant(value=value):
                return _of_bits(value)
            case Apply(op=Op.I_TO_F, args=(arg,)):
                low, high = self.ranges[arg]
                return _outward(low, high, False)
            case Apply():
                return _float_interval(step.op, [self.intervals[arg] for arg in step.args])
            case Reduce(args=(arg,)):
                return self.intervals[arg]
            case _:
                return ANY

    def _demand(self) -> list[bool]:
        low_only = [True] * len(self.region.steps)
        for number in range(len(low_only) - 1, -1, -1):
            step = self.region.steps[number]
            for position, arg in enumerate(step.args):
                if not self._takes_low(number, step, position, low_only[number]):
                    low_only[arg] = False
        return low_only

    def _takes_low(self, number: int, step: Step, position: int, low: bool) -> bool:
        """Whether a step looks only at the low 32 bits of an argument."""
        narrow = low or fits(self.ranges[number])
        match step:
            case Wrap(dtype=dtype) | Store(dtype=dtype):
                return dtype.size <= 4
            case Reduce(maximum=maximum):
                return narrow and not maximum
            case Apply(op=op):
                if op in MODULAR or (op is Op.SELECT and position > 0):
                    return narrow
                if op is Op.ISHL:
                    return narrow and position == 0
                return op in (Op.ROTL32, Op.BITS_F)
            case _:
                return False


def fits(bounds: Range) -> bool:
    """Whether i32 or u32 holds the whole range."""
    return within(bounds, INT32) or within(bounds, UINT32)


def within(bounds: Range, limits: Range) -> bool:
    return limits[0] <= bounds[0] and bounds[1] <= limits[1]


def _clamped(region: Region) -> dict[int, Range]:
    """Conversions seen only through clamps that saturation within 32 bits cannot be told from, with limits that an f32
    holds."""
    unseen: tuple[float, float] = (inf, -inf)
    seen = [unseen] * len(region.steps)
    found: dict[int, Range] = {}
    for number in range(len(region.steps) - 1, -1, -1):
        step, (low, high) = region.steps[number], seen[number]
        if isinstance(step, Apply) and step.op is Op.F_TO_I and CONVERTED[0] <= low <= high <= CONVERTED[1]:
            # A NaN is 0 and must be within the limits.
            exact = low <= 0 <= high and all(_of_float(limit) == limit for limit in (low, high))
            found[number] = (int(low), int(high)) if exact else CONVERTED
        for position, arg in enumerate(step.args):
            through = _seen_through(region, step, position, low, high)
            seen[arg] = (min(seen[arg][0], through[0]), max(seen[arg][1], through[1]))
    return found


def _of_float(value: float) -> float:
    """The f32 next to it."""
    (rounded,) = unpack("<f", pack("<f", value))
    return float(rounded)


def _seen_through(region: Region, step: Step, position: int, low: float, high: float) -> tuple[float, float]:
    if isinstance(step, Apply) and step.op is Op.SELECT and position > 0:
        return low, high
    if isinstance(step, Apply) and step.op in (Op.IMIN, Op.IMAX):
        other = region.steps[step.args[1 - position]]
        if isinstance(other, Constant):
            return (low, min(high, other.value)) if step.op is Op.IMIN else (max(low, other.value), high)
    return -inf, inf


def _unless_wrapping(low: int, high: int) -> Range:
    return (low, high) if low >= INT64_MIN and high <= INT64_MAX else FULL


def _operation_range(op: Op, args: list[Range]) -> Range:
    if op in COMPARISONS:
        return 0, 1
    match op, args:
        case ((Op.F_BITS | Op.ROTL32), _):
            return UINT32
        case Op.SELECT, [_, taken, other]:
            return union(taken, other)
        case Op.IMIN, [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case Op.IMAX, [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case Op.IADD, [(a, b), (c, d)]:
            return _unless_wrapping(a + c, b + d)
        case Op.ISUB, [(a, b), (c, d)]:
            return _unless_wrapping(a - d, b - c)
        case Op.IMUL, [(a, b), (c, d)]:
            corners = (a * c, a * d, b * c, b * d)
            return _unless_wrapping(min(corners), max(corners))
        case Op.INEG, [(a, b)]:
            return _unless_wrapping(-b, -a)
        case Op.IABS, [(a, b)]:
            return _unless_wrapping(0 if a <= 0 <= b else min(abs(a), abs(b)), max(abs(a), abs(b)))
        case _:
            return _bitwise_range(op, args)


def _bitwise_range(op: Op, args: list[Range]) -> Range:
    match op, args:
        case Op.IAND, [(a, b), (c, d)] if a >= 0 or c >= 0:
            return 0, min(high for low, high in ((a, b), (c, d)) if low >= 0)
        case ((Op.IOR | Op.IXOR), [(a, b), (c, d)]) if a >= 0 and c >= 0:
            return 0, (1 << max(b, d).bit_length()) - 1
        case Op.ISHL, [(a, b), (c, d)] if c == d:
            return _unless_wrapping(a << (c & 63), b << (c & 63))
        case Op.ISAR, [(a, b), (c, d)] if c == d:
            return a >> (c & 63), b >> (c & 63)
        case Op.ISHR, [(a, b), (c, d)] if c == d and a >= 0:
            return a >> (c & 63), b >> (c & 63)
        case Op.ISHR, [_, (c, d)] if c == d and c & 63:
            return 0, (1 << (64 - (c & 63))) - 1
        case Op.IDIV, [(a, b), (c, d)] if a > INT64_MIN:
            reach = max(abs(a), abs(b))
            return (0 if a >= 0 and c >= 0 else -reach), reach
        case Op.IREM, [(a, b), (c, d)] if a > INT64_MIN and c > INT64_MIN:
            reach = min(max(abs(a), abs(b)), max(abs(c), abs(d), 1) - 1)
            return (0 if a >= 0 else -reach), reach
        case _:
            return FULL


def _of_bits(bits: int) -> Interval:
    (value,) = unpack("<f", bits.to_bytes(4, "little"))
    return ANY if value != value else Interval(value, value, False)


def _outward(low: float, high: float, nan: bool) -> Interval:
    """An interval of exact results, widened by more than a rounding to f32."""
    low, high = float(low), float(high)
    low, high = low - abs(low) * 1e-6 - 1e-40, high + abs(high) * 1e-6 + 1e-40
    if not -3.4e38 < low <= high < 3.4e38:
        return Interval(-inf if not low > -3.4e38 else low, inf if not high < 3.4e38 else high, nan)
    return Interval(low, high, nan)


def _float_interval(op: Op, args: list[Interval]) -> Interval:
    nan = any(arg.nan for arg in args)
    match op, args:
        case Op.SELECT, [_, x, y]:
            return Interval(min(x.low, y.low), max(x.high, y.high), x.nan or y.nan)
        case Op.FMIN, [x, y]:
            return Interval(min(x.low, y.low), min(x.high, y.high), nan)
        case Op.FMAX, [x, y]:
            return Interval(max(x.low, y.low), max(x.high, y.high), nan)
        case Op.FNEG, [x]:
            return Interval(-x.high, -x.low, nan)
        case Op.FABS, [x]:
            return Interval(
                0.0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high)), max(abs(x.low), abs(x.high)), nan
            )
    if not all(arg.finite for arg in args):
        return ANY
    match op, args:
        case Op.FADD, [x, y]:
            return _outward(x.low + y.low, x.high + y.high, nan)
        case Op.FSUB, [x, y]:
            return _outward(x.low - y.high, x.high - y.low, nan)
        case Op.FMUL, [x, y]:
            corners = (x.low * y.low, x.low * y.high, x.high * y.low, x.high * y.high)
            return _outward(min(corners), max(corners), nan)
        case Op.FROUND, [x]:
            return _outward(x.low - 0.5, x.high + 0.5, nan)
        case _:
            return ANY


def _converted(interval: Interval) -> Range:
    if not interval.finite:
        return FULL
    low, high = int(interval.low) - 1, int(interval.high) + 1
    return max(min(low, 0), INT64_MIN), min(max(high, 0), INT64_MAX)
