"""Kernels of dot, sum, max, gather and the scatters. Integer sums have no order, so any exact product serves."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch

from orebit.executor.elementwise import Kernel
from orebit.executor.ranges import Range, magnitude, union
from orebit.executor.storage import canonicalise, fill_scalar
from orebit.executor.views import plan_reader, positions
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Kind
from orebit.program.index_map import IndexMap

Tensor = torch.Tensor

# float64 holds every integer up to here: no partial sum of a product below it can round.
EXACT_FLOAT64 = 1 << 53


def dot_fits_float64(descriptor: Descriptor, reads: Sequence[Range]) -> bool:
    """Whether no sum of these operands' products, however ordered, reaches 2^53."""
    reach = prod(descriptor.reduction)
    for operand, bounds in zip(descriptor.operands, reads, strict=True):
        reach *= magnitude(union(bounds, (operand.fill, operand.fill)))
    return reach < EXACT_FLOAT64


def plan_dot(descriptor: Descriptor, float64: bool) -> Kernel:
    """A batched matrix product, in float64 where that cannot round, else in int64, which wraps as the format asks."""
    rank, space = len(descriptor.shape), descriptor.space
    read_a, read_b = (plan_reader(operand, space) for operand in descriptor.operands)
    work = torch.float64 if float64 else torch.int64
    in_a, in_b = (_dependence(operand.map, space) for operand in descriptor.operands)
    batch = [k for k in range(rank) if in_a[k] and in_b[k]]
    rows = [k for k in range(rank) if in_a[k] and not in_b[k]]
    columns = [k for k in range(rank) if in_b[k] and not in_a[k]]
    neither = [k for k in range(rank) if not in_a[k] and not in_b[k]]
    inner = list(range(rank, len(space)))
    back = _inverse(batch + rows + columns + neither)

    def matrix(view: Tensor, own: list[int], others: list[int]) -> Tensor:
        view = view.permute(batch + own + inner + others + neither)
        kept = [space[k] for k in batch + own + inner]
        view = view.reshape(view.shape[: len(kept)]).expand(kept).to(work)
        return view.reshape(prod(kept[: len(batch)]), prod(space[k] for k in own), prod(descriptor.reduction))

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        a = matrix(read_a(tensors[0]), rows, columns)
        b = matrix(read_b(tensors[1]), columns, rows)
        product = torch.bmm(a, b.transpose(1, 2)) if len(a) > 1 else torch.mm(a[0], b[0].t())
        sizes = [space[k] for k in batch + rows + columns] + [1] * len(neither)
        result = product.to(torch.int64).reshape(sizes).permute(back)
        return result.expand(descriptor.shape).contiguous()

    return kernel


def _dependence(index_map: IndexMap, space: Sequence[int]) -> list[bool]:
    return [extent > 1 and any(axis.coefficients[k] for axis in index_map.axes) for k, extent in enumerate(space)]


def _inverse(permutation: Sequence[int]) -> list[int]:
    return [permutation.index(k) for k in range(len(permutation))]


def plan_sum(descriptor: Descriptor) -> Kernel:
    rank, space = len(descriptor.shape), descriptor.space
    read = plan_reader(descriptor.operands[0], space)
    inner = list(range(rank, len(space)))

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        view = read(tensors[0])
        repeats = prod(space[k] for k in inner if view.shape[k] == 1)
        total = torch.sum(view, dim=inner, dtype=torch.int64)
        total = total * torch.tensor(repeats, dtype=torch.int64)
        return total.expand(descriptor.shape).contiguous()

    return kernel


def sort_key(x: Tensor) -> Tensor:
    """An i32 that orders f32 as `max` does: -0 below +0, and NaN, canonical, above everything."""
    bits = canonicalise(x).view(torch.int32)
    return bits ^ ((bits >> 31) & torch.tensor(0x7FFFFFFF, dtype=torch.int32))


def from_sort_key(key: Tensor) -> Tensor:
    return (key ^ ((key >> 31) & torch.tensor(0x7FFFFFFF, dtype=torch.int32))).view(torch.float32)


def plan_max(descriptor: Descriptor) -> Kernel:
    rank, space = len(descriptor.shape), descriptor.space
    read = plan_reader(descriptor.operands[0], space)
    inner = list(range(rank, len(space)))
    is_float = descriptor.dtype is DType.F32

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        view = read(tensors[0])
        best = torch.amax(sort_key(view) if is_float else view, dim=inner)
        best = from_sort_key(best) if is_float else best
        return best.expand(descriptor.shape).contiguous()

    return kernel


def plan_gather(descriptor: Descriptor) -> Kernel:
    index, source = descriptor.operands
    read_index = plan_reader(index, descriptor.shape)
    fill = fill_scalar(source.fill, source.dtype)
    rows, row_shape = source.shape[0], source.shape[1:]
    row_size = prod(row_shape)
    whole = _reads_whole_rows(descriptor)
    lead = len(descriptor.shape) - len(row_shape)

    def by_rows(tensor: Tensor, row: Tensor, inside: Tensor) -> Tensor:
        picked = tensor.view(rows, row_size).index_select(0, row.reshape(-1))
        picked = picked.view(descriptor.shape[:lead] + row_shape)
        # A transposed index has `where` lay out its result transposed; readers take every tensor as row-major.
        return picked if bool(inside.all()) else torch.where(inside, picked, fill).contiguous()

    def by_elements(tensor: Tensor, row: Tensor, inside: Tensor) -> Tensor:
        position, valid = positions(source.map, row_shape, descriptor.shape)
        place = row * torch.tensor(row_size, dtype=torch.int64) + position
        found = torch.where(inside & valid, torch.take(tensor, place), fill)
        return found.expand(descriptor.shape).contiguous()

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        given = read_index(tensors[0]).to(torch.int64)
        inside = (given >= 0) & (given < rows)
        row = torch.where(inside, given, torch.zeros_like(given))
        if whole:
            row = row.expand(descriptor.shape[:lead] + (1,) * len(row_shape))
            return by_rows(tensors[1], row, inside)
        return by_elements(tensors[1], row, inside)

    return kernel


def _reads_whole_rows(descriptor: Descriptor) -> bool:
    """Whether the last output axes are exactly a row of the source, and the index does not depend on them."""
    index, source = descriptor.operands
    row_shape = source.shape[1:]
    lead = len(descriptor.shape) - len(row_shape)
    if lead < 0 or descriptor.shape[lead:] != row_shape:
        return False
    for j, axis in enumerate(source.map.axes):
        wanted = tuple(int(k == lead + j) for k in range(len(descriptor.shape)))
        if axis.offset or axis.divisor != 1 or axis.coefficients != wanted:
            return False
    return not any(any(axis.coefficients[lead:]) for axis in index.map.axes)


def plan_scatter(descriptor: Descriptor) -> Kernel:
    """Rows of the flattened source go to bins of output axis 0; one more bin takes what lands nowhere."""
    maximum = descriptor.kind is Kind.SCATTER_MAX
    index, source = descriptor.operands
    rank, space = len(descriptor.shape), descriptor.space
    bins, others = descriptor.shape[0], descriptor.shape[1:]
    count = prod(descriptor.reduction)
    read_index, read_source = plan_reader(index, space), plan_reader(source, space)
    is_float = source.dtype is DType.F32

    def kernel(tensors: Sequence[Tensor]) -> Tensor:
        given = read_index(tensors[0]).to(torch.int64).expand((1,) * rank + descriptor.reduction).reshape(count)
        inside = (given >= 0) & (given < bins)
        place = torch.where(inside, given, torch.tensor(bins, dtype=torch.int64))
        view = read_source(tensors[1])
        view = sort_key(view) if is_float else view
        values = view.to(torch.int64).expand((1, *others, *descriptor.reduction)).reshape(prod(others), count)
        out = collect(place, values).narrow(1, 0, bins).reshape(*others, bins).movedim(-1, 0)
        if is_float:
            return from_sort_key(out.to(torch.int32).contiguous())
        return out.to(held).contiguous()

    held = fill_scalar(0, descriptor.dtype).dtype
    fill = fill_scalar(source.fill, source.dtype)
    ground = (sort_key(fill) if is_float else fill).to(torch.int64)

    def collect(place: Tensor, values: Tensor) -> Tensor:
        if not maximum:
            return torch.zeros(len(values), bins + 1, dtype=torch.int64).index_add_(1, place, values)
        out = ground.repeat(len(values), bins + 1)
        return out.scatter_reduce_(1, place.expand(values.shape), values, "amax", include_self=True)

    return kernel
