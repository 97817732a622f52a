"""A rank's process: `python -m orebit.executor.ranks.worker PIPE FOLDER`, started by `launch.LocalRanks`."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as distributed

from orebit.errors import OrebitError
from orebit.executor.hardware import Split
from orebit.executor.ranks.executor import RanksExecutor
from orebit.executor.ranks.group import ProcessGroup
from orebit.executor.selection import choose_executor, load
from orebit.executor.storage import Given
from orebit.program.graph import Program


def main() -> None:
    """Obeys until the pipe is closed. What it cannot do, it tells; then it ends. The one that gives orders ends it: an
    interrupt is not for ranks."""
    for interrupt in (signal.SIGINT, signal.SIGTERM):
        signal.signal(interrupt, signal.SIG_IGN)
    pipe, folder = Connection(int(sys.argv[1])), Path(sys.argv[2])
    try:
        _obey(pipe, folder)
    except (EOFError, ConnectionError):
        shutil.rmtree(folder, ignore_errors=True)  # the one that gives orders is gone, and may not have tidied up
    except OrebitError as error:
        _tell(pipe, failed=str(error))
    except Exception as error:  # a stranger's program must not leave the one that waits without an answer
        traceback.print_exc()
        _tell(pipe, failed=f"a rank failed by a fault of this software: {type(error).__name__}: {error}")
    # Without the exit handlers of torch.distributed, which wait for ranks that may be gone.
    sys.stderr.flush()
    os._exit(0)


def _tell(pipe: Connection, **answer: Any) -> None:
    """Nobody listens any more where the one that gives orders is gone; the next order's absence says so."""
    with contextlib.suppress(ConnectionError):
        pipe.send_bytes(json.dumps(answer).encode())


def _obey(pipe: Connection, folder: Path) -> None:
    settings = json.loads(pipe.recv_bytes())
    executor = _executor(settings, folder)
    _tell(pipe, levels=executor.levels)
    while True:
        match json.loads(pipe.recv_bytes()):
            case {"do": "start", "name": name}:
                executor.start(_arrays(folder / name))
            case {"do": "step"}:
                executor.advance()
            case {"do": "whole"}:
                _write(folder / "whole", executor.kept())
        _tell(pipe, done=True)


def _executor(settings: dict[str, Any], folder: Path) -> RanksExecutor:
    torch.set_num_threads(settings["threads"])
    program = Program.decode((folder / "program").read_bytes())
    name, gpus = settings["executor"], torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(settings["rank"] % gpus)
    factory = choose_executor(program, settings["steps"]) if name is None else load(name)
    own_gpus = gpus >= settings["ranks"] and getattr(factory, "__module__", "").startswith("orebit.executor.cuda")
    distributed.init_process_group(
        "nccl" if own_gpus else "gloo",
        init_method=f"file://{folder / 'rendezvous'}",
        rank=settings["rank"],
        world_size=settings["ranks"],
        timeout=datetime.timedelta(seconds=settings["timeout"]),
    )
    constants, parameters = _arrays(folder / "constants"), _arrays(folder / "parameters")
    split, group = Split(settings["split"]), ProcessGroup(timeout=settings["timeout"])
    return RanksExecutor(program, constants, parameters, split=split, group=group, factory=factory)


def _arrays(folder: Path) -> list[Given]:
    """The tensors of a folder, mapped."""
    return [np.load(folder / f"{number}.npy", mmap_mode="r") for number in range(len(list(folder.iterdir())))]


def _write(folder: Path, tensors: Mapping[int, torch.Tensor]) -> None:
    folder.mkdir(exist_ok=True)
    for number, tensor in tensors.items():
        np.save(folder / f"{number}.npy", tensor.contiguous().numpy())


if __name__ == "__main__":
    main()
