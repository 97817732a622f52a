"""Ranks as processes of this machine, started, driven and ended by one that asks them for steps.

Tensors pass through files of a temporary folder, which both sides map; orders and answers are lines of JSON in pipes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import connection
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, overload

import numpy as np
import torch

from orebit.errors import ExecutionError
from orebit.executor.hardware import Split
from orebit.executor.ranks.group import TIMEOUT
from orebit.executor.storage import Given, accept
from orebit.program.descriptor import Source
from orebit.program.graph import Program

# Steps that may be ordered before the first of them is done: ranks need not wait for the one that orders.
_AHEAD = 2
_SECONDS_TO_END = 5.0


class LocalRanks:
    """Executes a program on several processes of this machine, bit for bit as one executor does.

    A state that `step` returns stays with the ranks until it is looked at, which must happen before the next step.
    Close it when it is no longer needed, or use it in a `with` statement.

    Args:
        program: a valid program.
        constants, parameters: tensors or arrays of the declared types and shapes, in program order.
        ranks: processes.
        split: by data or by pipeline stage.
        executor: what each rank runs its parts on, by name; None: the fastest of those that work here.
        steps: how many steps are to come, to weigh compiling against.
        threads: of all ranks together; as many as torch uses here, unless given.
        timeout: seconds after which a rank that says nothing has failed.

    Raises:
        ExecutionError: when an input is not as declared, or a rank ends, fails or is silent: at once when a process is
            gone, after `timeout` seconds when it hangs. All ranks are then ended; the shard has no result.
    """

    def __init__(
        self,
        program: Program,
        constants: Sequence[Given],
        parameters: Sequence[Given],
        *,
        ranks: int = 2,
        split: Split = Split.DATA,
        executor: str | None = None,
        steps: int = 1 << 32,
        threads: int | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.program = program
        self._timeout = timeout
        self._outstanding = 0
        self._given = 0
        self._latest: _Held | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="orebit-ranks-", ignore_cleanup_errors=True)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[connection.Connection] = []
        self._heard: list[deque[dict[str, Any]]] = [deque() for _ in range(ranks)]
        self._levels = 1
        try:
            (self.folder / "program").write_bytes(program.encode())
            self._write("constants", Source.CONSTANT, constants)
            self._write("parameters", Source.PARAMETER, parameters)
            given = torch.get_num_threads() if threads is None else threads
            settings = {"split": split.value, "executor": executor, "steps": steps, "timeout": timeout}
            for rank in range(ranks):
                self._start(rank, dict(settings, rank=rank, ranks=ranks, threads=max(1, given // ranks)))
            answers = self._answers()
            self._levels = max(int(answer["levels"]) for answer in answers)
        except BaseException:
            self.close()
            raise

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    @property
    def processes(self) -> list[int]:
        """The ranks' process ids."""
        return [process.pid for process in self._processes]

    def _write(self, name: str, source: Source, given: Sequence[Given]) -> None:
        specs = self.program.specs(source)
        if len(given) != len(specs):
            raise ExecutionError(f"the program takes {len(specs)} {source.name.lower()} tensors, not {len(given)}")
        (self.folder / name).mkdir()
        for number, (spec, tensor) in enumerate(zip(specs, given, strict=True)):
            array = accept(tensor, spec, f"{source.name.lower()} tensor {number}").numpy()
            np.save(self.folder / name / f"{number}.npy", array)

    def _start(self, rank: int, settings: dict[str, Any]) -> None:
        ours, theirs = connection.Pipe()
        environment = dict(os.environ, OMP_NUM_THREADS=str(settings["threads"]))
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
        command = [sys.executable, "-m", "orebit.executor.ranks.worker", str(theirs.fileno()), str(self.folder)]
        with theirs:
            self._processes.append(subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()]))
        self._pipes.append(ours)
        self._tell(rank, settings)

    def _tell(self, rank: int, order: dict[str, Any]) -> None:
        try:
            self._pipes[rank].send_bytes(json.dumps(order).encode())
        except OSError:
            self._fail(f"rank {rank} of {len(self._pipes)} ended ({self._ending(rank)})")

    def _order(self, **order: Any) -> None:
        for rank in range(len(self._pipes)):
            self._tell(rank, order)

    def _answers(self) -> list[dict[str, Any]]:
        """One answer of every rank. All are listened to all the time: the one that fails may be ahead of the others."""
        end = time.monotonic() + self._timeout * (self._levels + 1)
        while not all(self._heard):
            ready = connection.wait(self._pipes, max(0.0, end - time.monotonic()))
            if not ready:
                self._fail(
                    f"ranks {[rank for rank, heard in enumerate(self._heard) if not heard]} say nothing any more"
                )
            for rank, pipe in enumerate(self._pipes):
                if pipe in ready:
                    self._heard[rank].append(self._answer(rank))
        return [heard.popleft() for heard in self._heard]

    def _answer(self, rank: int) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = json.loads(self._pipes[rank].recv_bytes())
        except (EOFError, OSError):
            self._fail(f"rank {rank} of {len(self._pipes)} ended ({self._ending(rank)})")
        if "failed" in answer:
            self._fail(str(answer["failed"]))
        return answer

    def _ending(self, rank: int) -> str:
        try:
            code = self._processes[rank].wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        return f"signal {-code}" if code < 0 else f"exit code {code}"

    def _fail(self, reason: str) -> NoReturn:
        self.close()
        raise ExecutionError(
            f"{reason[:1].upper()}{reason[1:]}. All ranks were ended and this shard has no result yet: it continues "
            "from its last checkpoint. If it happens again, run it with ranks = 1."
        )

    def step(self, state: Sequence[Given]) -> Sequence[torch.Tensor]:
        """The state after one step.

        Raises:
            ExecutionError: when a state tensor is not as declared, or a rank failed.
        """
        if not self._processes:
            raise ExecutionError("these ranks were ended; start them again")
        if state is not self._latest or self._latest is None:
            self._take(list(state))
        while self._outstanding >= _AHEAD:
            self._wait()
        self._order(do="step")
        self._outstanding += 1
        self._latest = _Held(self)
        return self._latest

    def _take(self, state: Sequence[Given]) -> None:
        name = f"state{self._given}"
        self._given += 1
        self._write(name, Source.STATE, state)
        self._order(do="start", name=name)
        self._outstanding += 1
        while self._outstanding:
            self._wait()
        shutil.rmtree(self.folder / name)  # the ranks have mapped it

    def _wait(self) -> None:
        self._answers()
        self._outstanding -= 1

    def fetch(self, held: _Held) -> list[torch.Tensor]:
        """The tensors of a state that the ranks hold.

        Raises:
            ExecutionError: when they have gone on since, or a rank failed.
        """
        if held is not self._latest or not self._processes:
            raise ExecutionError("the ranks have gone on since this state; look at a state before the next step")
        while self._outstanding:
            self._wait()
        self._order(do="whole")
        self._answers()
        paths = [self.folder / "whole" / f"{number}.npy" for number in range(self.program.header.state)]
        return [torch.from_numpy(np.load(path)) for path in paths]

    def close(self) -> None:
        """Ends the ranks."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.kill()
            process.wait()
        self._pipes, self._processes, self._latest = [], [], None
        self._folder.cleanup()

    def __enter__(self) -> LocalRanks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Held(Sequence[torch.Tensor]):
    """A state that the ranks hold; its tensors are fetched when one is asked for."""

    def __init__(self, ranks: LocalRanks) -> None:
        self._ranks = ranks
        self._tensors: list[torch.Tensor] | None = None

    def __len__(self) -> int:
        return self._ranks.program.header.state

    @overload
    def __getitem__(self, index: int) -> torch.Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[torch.Tensor]: ...
    def __getitem__(self, index: int | slice) -> torch.Tensor | Sequence[torch.Tensor]:
        if self._tensors is None:
            self._tensors = self._ranks.fetch(self)
        return self._tensors[index]
