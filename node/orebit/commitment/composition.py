"""New heads over bytes: another type, an aligned run of leaves, or pieces laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orebit.commitment.head import TensorHead
from orebit.commitment.merkle import (
    EMPTY,
    HASH_SIZE,
    LEAF_SIZE,
    Levels,
    check_path,
    height,
    node_hash,
    path,
    root,
    width,
)
from orebit.errors import CommitmentError


@dataclass(frozen=True, slots=True)
class Slice:
    """A tensor that is leaves [index * 2^log2, (index + 1) * 2^log2) of another, and the path that proves it."""

    whole: TensorHead
    part: TensorHead
    log2: int
    index: int
    siblings: tuple[bytes, ...]

    @property
    def offset(self) -> int:
        """Where the part's bytes begin in the whole's."""
        return (self.index * LEAF_SIZE) << self.log2

    def check(self) -> None:
        """Raises CommitmentError unless the part's bytes are exactly that run of the whole's."""
        size = _run_size(self.whole, self.log2, self.index)
        if self.part.size != size:
            raise CommitmentError(f"the run of leaves has {size} bytes, the part's head {self.part.size}")
        count = self.whole.leaves
        check_path(self.whole.raw_root, count, self.index, self.part.raw_root, self.siblings, level=self.log2)


def retype(head: TensorHead, dtype: int, shape: Sequence[int]) -> TensorHead:
    """The same bytes under another type and shape of the same size."""
    return _sized(TensorHead(int(dtype), tuple(shape), head.raw_root), head.size)


def take(whole: TensorHead, levels: Levels, log2: int, index: int, dtype: int, shape: Sequence[int]) -> Slice:
    """Slice number `index` of 2^log2 leaves off a tensor whose tree is `levels`.

    Raises CommitmentError when the run does not lie wholly inside the tensor or the shape has another size.
    """
    size = _run_size(whole, log2, index)
    if levels[-1] != whole.raw_root or len(levels[0]) // HASH_SIZE != whole.leaves:
        raise CommitmentError("these levels are another tensor's")
    node = levels[log2][index * HASH_SIZE : (index + 1) * HASH_SIZE]
    part = _sized(TensorHead(int(dtype), tuple(shape), node), size)
    return Slice(whole, part, log2, index, tuple(path(levels[log2:], index)))


def compose(pieces: Sequence[TensorHead], dtype: int, shape: Sequence[int]) -> TensorHead:
    """The head of the pieces' bytes laid end to end. The pieces' own heads are the proof.

    Every piece but the last fills the same number 2^k of leaves exactly; the last fills at most as many.
    Raises CommitmentError when a piece has another size, or the shape another size than all of them.
    """
    log2 = piece_log2([piece.size for piece in pieces])
    last = pieces[-1].raw_root
    if len(pieces) > 1:
        for _ in range(log2 - height(pieces[-1].leaves)):
            last = node_hash(last, EMPTY)
    raw_root = root([piece.raw_root for piece in pieces[:-1]] + [last])
    return _sized(TensorHead(int(dtype), tuple(shape), raw_root), sum(piece.size for piece in pieces))


def piece_log2(sizes: Sequence[int]) -> int:
    """k, for pieces of these sizes in bytes that can be composed; CommitmentError when they cannot."""
    if not sizes:
        raise CommitmentError("a composition has at least one piece")
    log2 = height(-(-sizes[0] // LEAF_SIZE))
    if len(sizes) == 1:
        return log2
    full = LEAF_SIZE << log2
    if any(size != full for size in sizes[:-1]) or sizes[-1] > full:
        raise CommitmentError(
            "pieces can be composed when each fills the same power of two of 1 KiB leaves exactly, "
            f"and the last at most as many; these have {sorted(set(sizes))} bytes"
        )
    return log2


def _run_size(whole: TensorHead, log2: int, index: int) -> int:
    run = 1 << log2 if 0 <= log2 <= height(whole.leaves) else 0
    if not run or index < 0 or (index + 1) * run > whole.leaves or index >= width(whole.leaves, log2):
        raise CommitmentError(f"run {index} of 2^{log2} leaves does not lie inside {whole.leaves} leaves")
    return min(run * LEAF_SIZE, whole.size - index * run * LEAF_SIZE)


def _sized(head: TensorHead, size: int) -> TensorHead:
    if head.size != size:
        raise CommitmentError(f"the shape {head.shape} has {head.size} bytes; the bytes below it are {size}")
    return head
