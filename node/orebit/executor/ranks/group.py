"""What ranks say to each other: four exchanges of dense tensors, over torch.distributed.

Every rank calls the same ones in the same order, but `pass_on`, which concerns only those that send or receive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as distributed

from orebit.errors import ExecutionError

Tensor = torch.Tensor
# How long a rank may be silent before the others give the shard up: a level's computing and compiling included.
TIMEOUT = 300.0


class Group(Protocol):
    """Ranks that execute one shard together."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over ranks of an i64 tensor, modulo 2^64; `tensor` may be overwritten."""
        ...

    def greatest(self, tensor: Tensor) -> Tensor:
        """The maximum over ranks of an i64 tensor; `tensor` may be overwritten."""
        ...

    def gather(self, part: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """Every rank's bytes (u8, one axis), of these sizes."""
        ...

    def pass_on(self, sent: Mapping[int, Tensor], received: Mapping[int, int]) -> dict[int, Tensor]:
        """Bytes (u8, one axis) to ranks and from ranks; `received` says how many."""
        ...


class ProcessGroup:
    """The process group of torch.distributed that is initialised, or the one that is given.

    Args:
        group: None for the default one. gloo passes tensors in memory; NCCL in the memory of this rank's current GPU.
        timeout: seconds after which a rank that should send and does not is lost; `init_process_group` has its own for
            what all ranks do together.

    Raises:
        ExecutionError: when torch.distributed is not initialised; by every exchange, when a rank is gone or silent for
            longer than the group's timeout.
    """

    def __init__(self, group: distributed.ProcessGroup | None = None, timeout: float = TIMEOUT) -> None:
        if not distributed.is_available() or not distributed.is_initialized():
            raise ExecutionError(
                "torch.distributed is not initialised; call init_process_group, with a timeout, on every rank before"
            )
        self._group = group
        self._patience = timedelta(seconds=timeout)
        self._on_gpu = distributed.get_backend(group) == "nccl"

    @property
    def rank(self) -> int:
        return distributed.get_rank(self._group)

    @property
    def size(self) -> int:
        return distributed.get_world_size(self._group)

    def add(self, tensor: Tensor) -> Tensor:
        return self._reduce(tensor, distributed.ReduceOp.SUM)

    def greatest(self, tensor: Tensor) -> Tensor:
        return self._reduce(tensor, distributed.ReduceOp.MAX)

    def _reduce(self, tensor: Tensor, op: Any) -> Tensor:
        held = self._there(tensor)
        self._do(lambda: distributed.all_reduce(held, op, group=self._group))
        return held.cpu()

    def gather(self, part: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        longest = max(sizes)
        mine = self._there(torch.nn.functional.pad(part, (0, longest - len(part))))
        found = [torch.empty_like(mine) for _ in sizes]
        self._do(lambda: distributed.all_gather(found, mine, group=self._group))
        return [tensor[:size].cpu() for tensor, size in zip(found, sizes, strict=True)]

    def pass_on(self, sent: Mapping[int, Tensor], received: Mapping[int, int]) -> dict[int, Tensor]:
        held = {rank: self._there(tensor) for rank, tensor in sent.items()}
        found = {rank: self._there(torch.empty(size, dtype=torch.uint8)) for rank, size in received.items()}
        acts = [distributed.P2POp(distributed.isend, held[rank], self._peer(rank), self._group) for rank in held]
        acts += [distributed.P2POp(distributed.irecv, found[rank], self._peer(rank), self._group) for rank in found]

        def all_of_them() -> None:
            for work in distributed.batch_isend_irecv(acts):
                work.wait(self._patience)

        if acts:
            self._do(all_of_them)
        return {rank: tensor.cpu() for rank, tensor in found.items()}

    def _peer(self, rank: int) -> int:
        return rank if self._group is None else distributed.get_global_rank(self._group, rank)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.cuda() if self._on_gpu else tensor

    def _do(self, exchange: Callable[[], object]) -> None:
        try:
            exchange()
        except (RuntimeError, ValueError) as error:
            raise ExecutionError(
                f"rank {self.rank} of {self.size} lost touch with another rank ({str(error).splitlines()[0]}); the "
                "shard has no result. Look for the rank that failed first, and start all of them again"
            ) from error
