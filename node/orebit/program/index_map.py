"""Index maps: how an operand's elements are found from a point of the iteration space (docs/protocol.md, 4).

Per source axis: `n = offset + sum(coefficient[k] * i[k])`; the source coordinate is `n / divisor`. If the divisor does
not divide n (tested first), or the coordinate is out of range, the operand's fill is read. Below: maps of common views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.errors import ProgramError

BOUND = 1 << 62


@dataclass(frozen=True, slots=True)
class AxisMap:
    """One source axis: offset, one signed coefficient for each axis of the space, positive divisor."""

    offset: int
    coefficients: tuple[int, ...]
    divisor: int = 1

    def bounds(self, space: Sequence[int]) -> tuple[int, int]:
        """Least and greatest `n` over the whole space, exactly."""
        low = high = self.offset
        for coefficient, extent in zip(self.coefficients, space, strict=True):
            reach = coefficient * (extent - 1)
            low += min(reach, 0)
            high += max(reach, 0)
        return low, high


@dataclass(frozen=True, slots=True)
class IndexMap:
    """One AxisMap for each axis of the source view."""

    axes: tuple[AxisMap, ...]

    def check(self, space: Sequence[int]) -> None:
        """Refuses a map whose shape does not fit the space or whose arithmetic could leave 62 bits.

        Raises:
            ProgramError: naming the axis.
        """
        for number, axis in enumerate(self.axes):
            if len(axis.coefficients) != len(space):
                raise ProgramError(
                    f"source axis {number} has {len(axis.coefficients)} coefficients for {len(space)} iteration axes"
                )
            if axis.divisor < 1:
                raise ProgramError(f"source axis {number} has divisor {axis.divisor}; it must be at least 1")
            # Every partial sum, in whatever order, is the value at some point of the space, hence within the bounds.
            low, high = axis.bounds(space)
            if low <= -BOUND or high >= BOUND or axis.divisor >= BOUND:
                raise ProgramError(f"source axis {number} of an index map can exceed 62 bits; use smaller strides")

    def in_range(self, space: Sequence[int], source: Sequence[int]) -> bool:
        """Whether every point of the space reads an element (never the fill), with every divisor 1."""
        return all(
            axis.divisor == 1 and low >= 0 and high < extent
            for axis, extent in zip(self.axes, source, strict=True)
            for low, high in (axis.bounds(space),)
        )

    def locate(self, point: Sequence[int], source: Sequence[int]) -> tuple[int, ...] | None:
        """The source coordinates that `point` reads, or None for the fill."""
        coordinates = []
        for axis, extent in zip(self.axes, source, strict=True):
            n = axis.offset + sum(c * i for c, i in zip(axis.coefficients, point, strict=True))
            if n % axis.divisor:
                return None
            n //= axis.divisor
            if not 0 <= n < extent:
                return None
            coordinates.append(n)
        return tuple(coordinates)


def _unit(rank: int, axis: int, coefficient: int = 1) -> tuple[int, ...]:
    return tuple(coefficient if k == axis else 0 for k in range(rank))


def select_axes(rank: int, axes: Sequence[int | None]) -> IndexMap:
    """Source axis j reads iteration axis `axes[j]`; None reads coordinate 0. Transposes, broadcasts, contractions."""
    return IndexMap(tuple(AxisMap(0, (0,) * rank if axis is None else _unit(rank, axis)) for axis in axes))


def identity(rank: int) -> IndexMap:
    return select_axes(rank, range(rank))


def broadcast(source: Sequence[int], space: Sequence[int]) -> IndexMap:
    """numpy's rule: axes are aligned at the right, extent 1 repeats.

    Raises:
        ProgramError: when the shapes do not broadcast.
    """
    shift = len(space) - len(source)
    if shift < 0 or any(extent not in (1, space[shift + j]) for j, extent in enumerate(source)):
        raise ProgramError(f"shape {tuple(source)} does not broadcast to {tuple(space)}")
    return select_axes(len(space), [None if extent == 1 else shift + j for j, extent in enumerate(source)])


def transpose(permutation: Sequence[int]) -> IndexMap:
    """Output axis k is source axis `permutation[k]`, as torch.permute."""
    return select_axes(len(permutation), [list(permutation).index(j) for j in range(len(permutation))])


def slices(starts: Sequence[int], steps: Sequence[int]) -> IndexMap:
    """Output coordinate i reads source start + step * i, axis by axis; a negative start pads, out of range is fill."""
    rank = len(starts)
    return IndexMap(
        tuple(AxisMap(start, _unit(rank, j, step)) for j, (start, step) in enumerate(zip(starts, steps, strict=True)))
    )


def pad(before: Sequence[int]) -> IndexMap:
    """The source placed `before[j]` elements in on axis j, fill around it."""
    return slices([-count for count in before], [1] * len(before))


def dilate(before: Sequence[int], steps: Sequence[int]) -> IndexMap:
    """The adjoint of a strided slice: source element i stands at before + step * i, fill elsewhere."""
    rank = len(before)
    return IndexMap(
        tuple(AxisMap(-b, _unit(rank, j), step) for j, (b, step) in enumerate(zip(before, steps, strict=True)))
    )


def window(
    rank: int,
    axes: Sequence[int | None],
    windows: Sequence[tuple[int, int] | None],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int = 0,
) -> IndexMap:
    """im2col: source axis j reads `stride * i[out] + dilation * i[kernel] - padding` if `windows[j] = (out, kernel)`,
    else iteration axis `axes[j]` (None: coordinate 0)."""
    result = []
    for axis, pair in zip(axes, windows, strict=True):
        if pair is None:
            result.append(AxisMap(0, (0,) * rank if axis is None else _unit(rank, axis)))
        else:
            coefficients = [0] * rank
            coefficients[pair[0]] += stride
            coefficients[pair[1]] += dilation
            result.append(AxisMap(-padding, tuple(coefficients)))
    return IndexMap(tuple(result))
