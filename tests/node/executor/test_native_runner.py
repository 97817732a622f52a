"""The native task runner: order, splitting, threads, forks, and the floating-point mode its kernels see."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from orebit.errors import ExecutionError
from orebit.executor.native import library
from orebit.executor.native.library import Library, Step, Work, python_kernel

PLAIN_X86 = 0x1F80
FLUSH_AND_DENORMALS_ARE_ZERO = 0x8040


@pytest.fixture(scope="module")
def native() -> Iterator[Library]:
    loaded = library.status()
    if loaded.library is None:
        pytest.skip(loaded.reason)
    yield loaded.library


class Recorder:
    """A kernel that notes every part it is given, with its task's first word."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.parts: list[tuple[int, int, int]] = []
        self.threads: set[int] = set()
        self.seconds = seconds
        self.address, self._alive = python_kernel(self._call)

    def _call(self, args: ctypes._Pointer[ctypes.c_int64], begin: int, end: int) -> None:
        time.sleep(self.seconds)
        self.threads.add(threading.get_native_id())
        self.parts.append((args[0], begin, end))

    def work(self, name: int, count: int, grain: int = 1) -> Work:
        return Work(self.address, (name,), count, grain)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize(("count", "grain"), [(0, 1), (1, 1), (5, 8), (8, 8), (9, 8), (1000, 1), (1000, 7), (4096, 64)])
def test_every_index_runs_once_in_parts_that_start_at_the_grain(
    native: Library, threads: int, count: int, grain: int
) -> None:
    recorder = Recorder()
    Step(native, [recorder.work(1, count, grain)]).run(threads)
    parts = sorted((begin, end) for _, begin, end in recorder.parts)
    assert [index for begin, end in parts for index in range(begin, end)] == list(range(count))
    assert all(begin % grain == 0 for begin, _ in parts)
    if count <= grain or threads == 1:
        assert len(parts) <= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_task_begins_only_when_the_one_before_it_is_done(native: Library, threads: int) -> None:
    recorder = Recorder()
    counts = [40, 1, 1, 0, 33, 1, 50, 2] * 4
    Step(native, [recorder.work(name, count) for name, count in enumerate(counts)]).run(threads)
    names = [name for name, _, _ in recorder.parts]
    assert names == sorted(names)
    for name, count in enumerate(counts):
        assert sum(end - begin for at, begin, end in recorder.parts if at == name) == count


def test_work_is_shared_between_threads(native: Library) -> None:
    recorder = Recorder(seconds=0.002)
    Step(native, [recorder.work(0, 40)]).run(4)
    assert len(recorder.threads) > 1
    assert threading.get_native_id() in recorder.threads


def test_the_number_of_threads_may_change_between_runs(native: Library) -> None:
    total = 0
    for threads in [2, 6, 1, 3, 8, 2]:
        recorder = Recorder()
        Step(native, [recorder.work(0, 100)] * 3).run(threads)
        total += sum(end - begin for _, begin, end in recorder.parts)
    assert total == 6 * 300


def test_sleeping_workers_wake_for_the_next_run(native: Library) -> None:
    for _ in range(3):
        recorder = Recorder(seconds=0.002)
        Step(native, [recorder.work(0, 20), recorder.work(1, 1), recorder.work(2, 20)]).run(3)
        assert len(recorder.threads) > 1
        time.sleep(0.05)


def test_several_python_threads_run_steps_at_once(native: Library) -> None:
    totals: list[int] = []

    def run() -> None:
        for _ in range(20):
            recorder = Recorder()
            Step(native, [recorder.work(0, 64), recorder.work(1, 64)]).run(3)
            totals.append(sum(end - begin for _, begin, end in recorder.parts))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [128] * 80


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_workers_of_its_own(native: Library) -> None:
    Step(native, [Recorder().work(0, 64)]).run(3)
    words = np.zeros(64, dtype=np.int64)
    step = Step(native, [Work(native.address("orebit_probe_floats"), (words.ctypes.data,), 64)])
    child = os.fork()
    if child == 0:
        step.run(3)
        os._exit(0 if words.all() else 1)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        finished, status = os.waitpid(child, os.WNOHANG)
        if finished:
            break
        time.sleep(0.01)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail("the forked child hangs")
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("threads", [1, 3])
def test_denormals_are_on_in_every_thread_and_the_callers_mode_comes_back(native: Library, threads: int) -> None:
    import torch

    if os.uname().machine != "x86_64":
        pytest.skip("the control word that is read here is that of x86-64")
    words = np.zeros(256, dtype=np.int64)
    caller = np.zeros(1, dtype=np.int64)
    probe = native.address("orebit_probe_floats")
    kernel = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_int64), ctypes.c_int64, ctypes.c_int64)(probe)
    torch.set_flush_denormal(True)
    try:
        Step(native, [Work(probe, (words.ctypes.data,), 256)]).run(threads)
        kernel((ctypes.c_int64 * 1)(caller.ctypes.data), 0, 1)
    finally:
        torch.set_flush_denormal(False)
    assert set(words & ~0x3F) == {PLAIN_X86}
    assert caller[0] & FLUSH_AND_DENORMALS_ARE_ZERO == FLUSH_AND_DENORMALS_ARE_ZERO


@pytest.mark.parametrize(("count", "grain", "threads"), [(-1, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 1025)])
def test_a_step_that_is_not_valid_is_refused(native: Library, count: int, grain: int, threads: int) -> None:
    with pytest.raises(ExecutionError, match="native runner refused"):
        Step(native, [Recorder().work(0, count, grain)]).run(threads)


def test_an_unknown_kernel_is_refused_by_name(native: Library) -> None:
    with pytest.raises(ExecutionError, match="no_such_kernel"):
        native.address("no_such_kernel")


def test_a_missing_library_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(library, "__file__", f"{tmp_path}/library.py")
    library.status.cache_clear()
    try:
        assert library.load() is None
        with pytest.raises(ExecutionError, match="install a C compiler"):
            library.require()
    finally:
        library.status.cache_clear()
