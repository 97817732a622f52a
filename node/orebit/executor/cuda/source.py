"""One source for all kernels of a program."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from orebit.executor.cuda.kernel import Kernel

_FOLDER = Path(__file__).parent


@cache
def _text(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def source_of(kernels: Iterable[Kernel]) -> str:
    """CUDA C of these kernels, each once, in the order of their names."""
    distinct = {kernel.name: kernel.text for kernel in kernels}
    texts = [distinct[name] for name in sorted(distinct)]
    shared = [_text("prelude.cuh")] + [_text("product.cuh")] * any("ob_product<" in text for text in texts)
    return "\n".join([*shared, *texts])
