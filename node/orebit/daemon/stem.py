"""A process that stays as it was when the node began, to be forked for each measurement: torch is loaded once.

It is forked before the node has threads, a key, a lock or a journal, so that none of them is in what runs strangers'
programs. It ends with the node, and with it what it measures.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from types import TracebackType
from typing import IO

from orebit.daemon import measuring
from orebit.daemon.measuring import Measurement, measured_apart, seconds_of, too_slow

GRACE = 10.0
"""Seconds in which the stem must have ended a process that it was told to end."""

_BEGIN, _END = b"b", b"e"


class Stem:
    """Make it first thing, before any thread, and use it as a context manager."""

    def __init__(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._one_by_one = threading.Lock()
        self._socket, theirs = socket.socketpair()
        process = os.fork()
        if process == 0:
            self._socket.close()
            _serve(theirs)
        theirs.close()
        self._process: int | None = process

    def __enter__(self) -> Stem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def measured(self, wanted: Measurement, seconds: float) -> float:
        """As `measured_apart`, which takes over should the stem be gone, without the start of a new interpreter."""
        with self._one_by_one:
            if self._process is None:
                return measured_apart(wanted, seconds)
            with tempfile.TemporaryFile("w+") as asked, tempfile.TemporaryFile("w+") as out, \
                    tempfile.TemporaryFile("w+") as complaint:  # fmt: skip
                json.dump(asdict(wanted), asked)
                asked.seek(0)
                try:
                    in_time = self._fork([asked, out, complaint], seconds)
                except OSError:
                    self._end()
                    return measured_apart(wanted, seconds)
                if not in_time:
                    raise too_slow(wanted, seconds)
                out.seek(0)
                complaint.seek(0)
                return seconds_of(wanted, out.read(), complaint.read(), "the process ended")

    def _fork(self, files: Sequence[IO[str]], seconds: float) -> bool:
        """Whether a process with these as its standard files ended by itself. Raises OSError when the stem does not."""
        self._socket.settimeout(seconds)
        socket.send_fds(self._socket, [_BEGIN], [file.fileno() for file in files])
        try:
            self._hear()
            return True
        except TimeoutError:
            self._socket.sendall(_END)
            self._socket.settimeout(GRACE)
            self._hear()
            return False

    def _hear(self) -> None:
        if not self._socket.recv(1):
            raise ConnectionResetError("the stem is gone")

    def _end(self) -> None:
        self._socket.close()
        if self._process is not None:
            with suppress(ChildProcessError):
                os.waitpid(self._process, 0)
            self._process = None


def _serve(node: socket.socket) -> None:
    """The stem's life. It never returns into the program that it was forked from."""
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            said, files, _, _ = socket.recv_fds(node, 1, 3)
            if not said:
                break
            if said == _BEGIN:  # the end of a process that has ended already is nothing to act on
                _measure_once(node, files)
    except OSError:
        pass  # the node is gone
    finally:
        os._exit(0)


def _measure_once(node: socket.socket, files: Sequence[int]) -> None:
    """Forks, waits until that ends or the node says so or is gone, and then tells it."""
    alive, held = os.pipe()
    process = os.fork()
    if process == 0:
        node.close()
        os.close(alive)
        _become(files)
    for descriptor in (*files, held):
        os.close(descriptor)
    select.select([alive, node.fileno()], [], [])
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, signal.SIGKILL)
        os.killpg(process, signal.SIGKILL)  # whatever it has started
    os.waitpid(process, 0)
    os.close(alive)
    node.sendall(_END)


def _become(files: Sequence[int]) -> None:
    """The process that measures: in a session of its own, the three files its standard ones."""
    code, before = 1, (sys.stdout, sys.stderr)
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        for place, descriptor in enumerate(files):
            os.dup2(descriptor, place)
        sys.stdin, sys.stdout, sys.stderr = (open(place, "r" if place == 0 else "w") for place in range(3))
        measuring.main()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Loggers may have kept the old ones; what is found comes last.
        for stream in (*before, sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
