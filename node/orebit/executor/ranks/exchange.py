"""The exchange after a level: partial results completed, parts put together, tensors passed from rank to rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from math import prod

import torch

from orebit.executor.ranks.group import Group
from orebit.executor.ranks.placement import Placement
from orebit.executor.ranks.segments import Key
from orebit.executor.reductions import from_sort_key, sort_key
from orebit.numerics.types import DType
from orebit.program.descriptor import Source

Tensor = torch.Tensor
Values = dict[Key, Tensor]
Reduce = Callable[[Tensor], Tensor]
# Tensors of at least so many bytes are exchanged where they lie, smaller ones as one.
_APART = 1 << 20


class Exchange:
    """Exchanges wholes of nodes between the ranks of a placement."""

    def __init__(self, placement: Placement, group: Group) -> None:
        self._placement = placement
        self._group = group
        self._takers = _takers(placement)

    def run(self, numbers: Sequence[int], values: Values) -> None:
        """Adds the wholes of these nodes to `values`, where this rank needs them.

        Raises:
            ExecutionError: when a rank is gone.
        """
        placement = self._placement
        partial = [number for number in numbers if placement.partial(number)]
        self._complete([number for number in partial if placement.added(number)], values, self._group.add)
        self._complete([number for number in partial if not placement.added(number)], values, self._group.greatest)
        self._gather([number for number in numbers if placement.periods[number] is not None], values)
        self._pass_on([number for number in numbers if placement.owners[number] is not None], values)

    def _complete(self, numbers: Sequence[int], values: Values, reduce: Reduce) -> None:
        """Partial sums or maxima."""
        held = [_to_integers(values[Key(number)], self._dtype(number)) for number in numbers]
        for number, tensor in zip(numbers, _together(held, reduce), strict=True):
            values[Key(number, True)] = _from_integers(tensor, self._dtype(number))

    def _dtype(self, number: int) -> DType:
        return self._placement.program.descriptor(number).dtype

    def _gather(self, numbers: Sequence[int], values: Values) -> None:
        """Parts along an axis: of each period, first rank 0's, then rank 1's."""
        if not numbers:
            return
        placement, ranks = self._placement, range(self._group.size)
        shapes = [[placement.shape(number, False, rank) for number in numbers] for rank in ranks]
        sizes = [
            [prod(shape) * self._dtype(n).size for shape, n in zip(shapes[rank], numbers, strict=True)]
            for rank in ranks
        ]
        found = self._group.gather(_as_bytes(values[Key(number)] for number in numbers), [sum(s) for s in sizes])
        pieces = [_pieces(found[rank], sizes[rank]) for rank in ranks]
        for place, number in enumerate(numbers):
            shape, period = placement.program.descriptor(number).shape, placement.periods[number]
            assert period is not None
            rows = prod(shape) // period
            whole = torch.cat([pieces[rank][place].reshape(rows, -1) for rank in ranks], dim=1)
            values[Key(number, True)] = _from_bytes(whole.reshape(-1), self._dtype(number), shape)

    def _pass_on(self, numbers: Sequence[int], values: Values) -> None:
        """From the rank that made a tensor to those that need it."""
        mine = self._group.rank
        owners = self._placement.owners
        sent: dict[int, list[int]] = {}
        received: dict[int, list[int]] = {}
        for number in numbers:
            for taker in sorted(self._takers.get(number, ())):
                owner = owners[number]
                if owner == mine:
                    sent.setdefault(taker, []).append(number)
                elif owner is not None and taker == mine:
                    received.setdefault(owner, []).append(number)
        outgoing = {rank: _as_bytes(values[Key(number)] for number in given) for rank, given in sent.items()}
        sizes = {rank: [self._bytes(number) for number in given] for rank, given in received.items()}
        found = self._group.pass_on(outgoing, {rank: sum(each) for rank, each in sizes.items()})
        for rank, given in received.items():
            for number, piece in zip(given, _pieces(found[rank], sizes[rank]), strict=True):
                shape = self._placement.program.descriptor(number).shape
                values[Key(number, True)] = _from_bytes(piece, self._dtype(number), shape)

    def everywhere(self, state: Sequence[Tensor | None]) -> list[Tensor]:
        """The whole of every state tensor on every rank, of what each rank keeps.

        Raises:
            ExecutionError: when a rank is gone.
        """
        values = {Key(number): tensor for number, tensor in enumerate(state) if tensor is not None}
        placement = self._placement
        self._gather([number for number in range(len(state)) if placement.periods[number] is not None], values)
        self._spread([number for number in range(len(state)) if placement.owners[number] is not None], values)
        return [values[Key(number, Key(number, True) in values)] for number in range(len(state))]

    def _spread(self, numbers: Sequence[int], values: Values) -> None:
        """From the rank that keeps a tensor to all others."""
        if not numbers:
            return
        owned = [[number for number in numbers if self._placement.owners[number] == r] for r in range(self._group.size)]
        sizes = [[self._bytes(number) for number in each] for each in owned]
        mine = _as_bytes(values[Key(number)] for number in owned[self._group.rank])
        for each, given, found in zip(owned, sizes, self._group.gather(mine, [sum(s) for s in sizes]), strict=True):
            for number, piece in zip(each, _pieces(found, given), strict=True):
                shape = self._placement.program.descriptor(number).shape
                values[Key(number, True)] = _from_bytes(piece, self._dtype(number), shape)

    def _bytes(self, number: int) -> int:
        descriptor = self._placement.program.descriptor(number)
        return descriptor.dtype.size * prod(descriptor.shape)


def _takers(placement: Placement) -> dict[int, set[int]]:
    """For nodes that are passed on, the ranks that need them."""
    found: dict[int, set[int]] = {}

    def note(number: int, taker: int | None) -> None:
        if placement.owners[number] is not None and taker is not None:
            found.setdefault(number, set()).add(taker)

    for number, reads in enumerate(placement.reads):
        for read in reads:
            if read.exchanged:
                note(read.producer, placement.owners[number])
    for state in placement.program.inputs(Source.STATE):
        renewed = placement.renewed(state)
        if renewed.exchanged:
            note(renewed.producer, placement.owners[state])
    return found


def _together(tensors: Sequence[Tensor], reduce: Reduce) -> list[Tensor]:
    """Every tensor reduced; small ones in one exchange."""
    small = [tensor.reshape(-1) for tensor in tensors if tensor.nbytes < _APART]
    joined = iter(_pieces(reduce(torch.cat(small)), [len(tensor) for tensor in small]) if small else ())
    return [(next(joined) if tensor.nbytes < _APART else reduce(tensor)).reshape(tensor.shape) for tensor in tensors]


def _pieces(tensor: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Consecutive parts of a tensor of one axis."""
    return [tensor[end - size : end] for size, end in zip(sizes, accumulate(sizes), strict=True)]


def _to_integers(tensor: Tensor, dtype: DType) -> Tensor:
    """As i64 whose order is that of the values: a maximum orders -0 below +0 and NaN above everything."""
    return (sort_key(tensor) if dtype.is_float else tensor).to(torch.int64)


def _from_integers(tensor: Tensor, dtype: DType) -> Tensor:
    return from_sort_key(tensor.to(torch.int32)) if dtype.is_float else tensor.to(dtype.torch)


def _as_bytes(tensors: Iterable[Tensor]) -> Tensor:
    parts = [tensor.contiguous().as_strided((tensor.numel(),), (1,)).view(torch.uint8) for tensor in tensors]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8)


def _from_bytes(data: Tensor, dtype: DType, shape: Sequence[int]) -> Tensor:
    """In memory of its own where it is a piece of other memory: aligned as its type wants it."""
    return (
        (data.clone() if data.nbytes < data.untyped_storage().nbytes() else data)
        .view(dtype.torch)
        .reshape(tuple(shape))
    )
