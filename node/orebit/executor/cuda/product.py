"""Kernels of exact products over packed digits (product.cuh), and what they do with each sum.

A sum goes through its epilogue where it stands in registers: the map that rescales it, or a plain store. Deep products
are cut along the depth, and every part adds its sums to the output by atomic integer additions, which have no order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.executor.cuda.body import Body, Scope, decode
from orebit.executor.cuda.digits import DEPTH, Product
from orebit.executor.cuda.kernel import BLOCK, Kernel, make
from orebit.executor.cuda.packing import padded
from orebit.executor.fused.region import Region, Store
from orebit.executor.views import row_major

# As in product.cuh.
TILE_ROWS, TILE_COLUMNS = 64, 128
# Blocks that keep a large GPU busy, and the least depth that is worth blocks of its own.
ENOUGH_BLOCKS, LEAST_DEPTH = 132, 1024


@dataclass(frozen=True)
class Epilogue:
    """What takes one sum: parameters of the kernel, and statements over them and `sum`, `batch`, `row`, `column`."""

    parameters: tuple[str, ...]
    lines: tuple[str, ...]


def part_of(product: Product) -> int:
    """The depth that one block sums: all of it, or a multiple of a tile's depth where it is cut."""
    whole = padded(product.shape[3])
    parts = max(-(-whole // DEPTH), min(-(-ENOUGH_BLOCKS // tiles(product)), whole // LEAST_DEPTH), 1)
    return padded(-(-whole // parts))


def is_cut(product: Product) -> bool:
    """Whether several blocks sum parts of one result."""
    return part_of(product) < padded(product.shape[3])


def tiles(product: Product) -> int:
    batch, rows, columns, _ = product.shape
    return batch * -(-rows // TILE_ROWS) * -(-columns // TILE_COLUMNS)


def through(region: Region, dot: int, product: Product) -> Epilogue:
    """The epilogue that computes a region over the dot's output.

    Args:
        region: one axis for each axis of the output, none merged.
        dot: the slot whose loads are the sum; it has no parameter.
    """
    body = Body(region, {dot: "sum"})
    lines, indices = _coordinates(product, region.extents)
    scope = Scope(indices, lines=lines)
    for step in region.steps:
        if isinstance(step, Store):
            body.store(scope, step)
    return Epilogue(tuple(body.parameters()), tuple(scope.lines))


def adding(product: Product) -> Epilogue:
    """The epilogue of a part: adds to the dot's row-major output of i64, which begins as zeros."""
    shape = product.space[: product.rank]
    lines, indices = _coordinates(product, shape)
    strides = row_major(shape)
    place = " + ".join(f"(i64){name} * {strides[k]}LL" for k, name in indices.items() if shape[k] > 1) or "0"
    return Epilogue(("u64* __restrict__ sums",), (*lines, f"atomicAdd(sums + ({place}), (u64)sum);"))


def _coordinates(product: Product, extents: Sequence[int]) -> tuple[list[str], dict[int, str]]:
    """Statements that find a result's place along every axis of the output, and the names by axis."""
    lines: list[str] = []
    indices = {k: "0" for k in range(len(extents))}
    for axes, flat in ((product.batch, "batch"), (product.rows, "row"), (product.columns, "column")):
        decoded, names = decode(axes, extents, flat, "i32", "i")
        lines += decoded
        indices |= names
    return lines, indices


def product_kernel(product: Product, epilogue: Epilogue, tensor_cores: bool) -> Kernel:
    """Multiplies packed operands; its pointers are both of them, then the epilogue's."""
    batch, rows, columns, depth = product.shape
    whole, part = padded(depth), part_of(product)
    left, right = product.digits
    names = [parameter.split()[-1] for parameter in epilogue.parameters]
    put = [
        "struct OB_KERNEL_put {",
        *(f"  {parameter.replace('__restrict__ ', '')};" for parameter in epilogue.parameters),
        "  __device__ __forceinline__ void operator()(i64 sum, i32 batch, i32 row, i32 column) const {",
        *("    " + line for line in epilogue.lines),
        "  }",
        "};",
    ]
    sums = f"{'ObTensor' if tensor_cores else 'ObPlain'}<{left}, {right}>"
    numbers = f"{batch}, {rows}, {columns}, {whole}, {part}, {left}, {right}"
    return make(
        ["const uint4* __restrict__ pa", "const uint4* __restrict__ pb", *epilogue.parameters],
        [
            f"const OB_KERNEL_put put = {{{', '.join(names)}}};",
            f"ob_product<{sums}, {numbers}>(pa, pb, put);",
        ],
        (tiles(product) * -(-whole // part), 1, 1),
        BLOCK,
        True,
        put,
    )
