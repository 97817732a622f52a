"""Ranks as threads of one process, for tests of what is split how; and random placements of any program."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from orebit.executor.memory import independent_of_state
from orebit.executor.ranks.cuts import Cuts
from orebit.executor.ranks.localise import can_cut
from orebit.executor.ranks.placement import Placement
from orebit.program.descriptor import Source
from orebit.program.graph import Program

T = TypeVar("T")


class Room:
    """Where threads meet to exchange tensors."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.said: dict[int, torch.Tensor] = {}
        self.posts: dict[tuple[int, int], list[torch.Tensor]] = {}
        self.arrived = threading.Condition()
        self.exchanges = 0


class ThreadGroup:
    """One rank of a room."""

    def __init__(self, room: Room, rank: int) -> None:
        self._room = room
        self._rank = rank

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def size(self) -> int:
        return self._room.size

    def _hear(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        self._room.said[self._rank] = tensor.clone()
        self._room.barrier.wait()
        heard = [self._room.said[rank] for rank in range(self.size)]
        if self._rank == 0:
            self._room.exchanges += 1
        self._room.barrier.wait()
        return heard

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.dtype is torch.int64
        heard = self._hear(tensor)
        return torch.stack(heard[self._rank :] + heard[: self._rank]).sum(0)  # another order on every rank

    def greatest(self, tensor: torch.Tensor) -> torch.Tensor:
        assert tensor.dtype is torch.int64
        return torch.stack(self._hear(tensor)).amax(0)

    def gather(self, part: torch.Tensor, sizes: Sequence[int]) -> list[torch.Tensor]:
        assert part.dtype is torch.uint8 and len(part) == sizes[self._rank]
        heard = self._hear(part)
        assert [len(tensor) for tensor in heard] == list(sizes)
        return heard

    def pass_on(self, sent: Mapping[int, torch.Tensor], received: Mapping[int, int]) -> dict[int, torch.Tensor]:
        room = self._room
        with room.arrived:
            for rank, tensor in sent.items():
                room.posts.setdefault((self._rank, rank), []).append(tensor.clone())
            room.arrived.notify_all()
            found = {}
            for rank, size in received.items():
                box = room.posts.setdefault((rank, self._rank), [])
                assert room.arrived.wait_for(lambda box=box: bool(box), timeout=60)
                found[rank] = box.pop(0)
                assert len(found[rank]) == size
        return found


def in_ranks(size: int, act: Callable[[ThreadGroup], T]) -> list[T]:
    """What `act` returns on every rank."""
    room = Room(size)

    def one(rank: int) -> T:
        try:
            return act(ThreadGroup(room, rank))
        except BaseException:
            room.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(one, rank) for rank in range(size)]
        errors = [error for error in (future.exception() for future in futures) if error is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
            raise error
        return [future.result() for future in futures]


def random_cut(program: Program, ranks: int, seed: int) -> Placement | None:
    """Any node along any axis that can be cut, state kept in parts too; None where no axis is long enough."""
    rng = random.Random(seed)
    extents = [e for number in program.operations for e in program.descriptor(number).space if e >= ranks]
    if not extents:
        return None
    cuts, fixed = Cuts(rng.choice(extents), ranks), independent_of_state(program)
    axes: list[int | None] = []
    for number in range(len(program.nodes)):
        descriptor = program.descriptor(number)
        possible = [axis for axis in range(len(descriptor.space)) if can_cut(descriptor, axis, cuts)]
        may = number in program.inputs(Source.STATE) or (number in program.operations and not fixed[number])
        axes.append(rng.choice(possible) if may and possible and rng.random() < 0.8 else None)
    return Placement(program, ranks, cuts, axes, [None] * len(axes))


def random_owners(program: Program, ranks: int, seed: int) -> Placement:
    """Any node on any rank."""
    rng = random.Random(seed)
    fixed = independent_of_state(program)
    owners: list[int | None] = [None] * len(program.nodes)
    for number in program.operations:
        owners[number] = None if fixed[number] else rng.randrange(ranks)
    for old, new in zip(program.inputs(Source.STATE), program.new_state, strict=True):
        owners[old] = owners[new] if rng.random() < 0.7 else rng.randrange(ranks)
    return Placement(program, ranks, None, [None] * len(owners), owners)
