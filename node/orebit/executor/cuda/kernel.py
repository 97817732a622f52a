"""Generated kernels: their text, and how they are launched."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Grid = tuple[int, int, int]

# What a launch passes for a pointer: a node's buffer, or bytes into the stage's workspace.
Argument = tuple[Literal["node", "workspace"], int]

BLOCK = 256
_NAME = "OB_KERNEL"


@dataclass(frozen=True, slots=True)
class Kernel:
    """One `extern "C"` function over pointers, named after its own text.

    Attributes:
        text: without what every source begins with (prelude.cuh).
        grid: blocks along x, y and z.
        block: threads of a block, along x.
        together: whether threads of a block wait for each other.
    """

    name: str
    text: str
    grid: Grid
    block: int
    together: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel with what its pointers point to."""

    kernel: Kernel
    arguments: tuple[Argument, ...]


def make(
    parameters: Sequence[str],
    lines: Sequence[str],
    grid: Grid,
    block: int = BLOCK,
    together: bool = False,
    before: Sequence[str] = (),
) -> Kernel:
    """A kernel of these parameters and statements; `before` is what only it uses, OB_KERNEL in its names."""
    head = f'extern "C" __global__ void __launch_bounds__({block}) {_NAME}({", ".join(parameters)}) {{'
    text = "\n".join([*before, head, *("  " + line for line in lines), "}", ""])
    name = "k" + hashlib.sha256(f"{block} {text}".encode()).hexdigest()[:20]
    return Kernel(name, text.replace(_NAME, name), grid, block, together)


def blocks(points: int, block: int = BLOCK) -> int:
    return -(-points // block)


def index_type(points: int) -> str:
    """The C type of indices and counters below `points`, with room to add a block's threads."""
    return "i32" if points < 1 << 30 else "i64"


def point_lines(points: int) -> list[str]:
    """The beginning of a kernel of one thread a point, of `blocks(points)` blocks: `point` is its number."""
    kind = index_type(points)
    return [
        f"const {kind} point = ({kind})blockIdx.x * {BLOCK} + ({kind})threadIdx.x;",
        f"if (point >= {points}) return;",
    ]


def pointwise(parameters: Sequence[str], points: int, line: str) -> Kernel:
    """A kernel that runs one statement for every `point`."""
    return make(parameters, [*point_lines(points), line], (blocks(points), 1, 1))
