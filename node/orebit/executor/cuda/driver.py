"""NVIDIA's driver through ctypes: what loads machine code and launches it on a stream that torch made."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

from orebit.errors import ExecutionError
from orebit.executor.cuda.kernel import Kernel


@cache
def driver() -> Driver:
    """The driver of this machine.

    Raises:
        ExecutionError: when there is none.
    """
    return Driver()


class Driver:
    """The few calls of libcuda that are needed; every status is checked."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise ExecutionError(f"NVIDIA's driver cannot be loaded: {error}") from error
        self._library.cuLaunchKernel.argtypes = [
            ctypes.c_void_p,
            *[ctypes.c_uint] * 7,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]

    def context(self) -> int:
        """The calling thread's context: torch's, once it has touched the device here."""
        held = ctypes.c_void_p()
        self._check(self._library.cuCtxGetCurrent(ctypes.byref(held)), "its context")
        if not held.value:
            raise ExecutionError("torch has not begun to use the GPU in this thread; this is a fault of Orebit's")
        return held.value

    def enter(self, context: int) -> None:
        self._check(self._library.cuCtxSetCurrent(ctypes.c_void_p(context)), "its context")

    def load(self, image: bytes) -> int:
        module = ctypes.c_void_p()
        self._check(self._library.cuModuleLoadData(ctypes.byref(module), image), "kernels")
        assert module.value is not None
        return module.value

    def function(self, module: int, name: str) -> int:
        found = ctypes.c_void_p()
        status = self._library.cuModuleGetFunction(ctypes.byref(found), ctypes.c_void_p(module), name.encode())
        self._check(status, f"the kernel {name}")
        assert found.value is not None
        return found.value

    def unload(self, module: int) -> None:
        self._library.cuModuleUnload(ctypes.c_void_p(module))

    def launch(self, function: int, kernel: Kernel, pointers: Sequence[int], stream: int) -> None:
        """Appends a launch to a stream; raises as others do when the driver refuses it."""
        words = (ctypes.c_uint64 * max(1, len(pointers)))(*pointers)
        start = ctypes.addressof(words)
        places = (ctypes.c_void_p * max(1, len(pointers)))(*(start + 8 * k for k in range(len(pointers))))
        status = self._library.cuLaunchKernel(function, *kernel.grid, kernel.block, 1, 1, 0, stream, places, None)
        self._check(status, f"the launch of {kernel.name}")

    def _check(self, status: int, what: str) -> None:
        if status:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(status, ctypes.byref(text))
            reason = text.value.decode() if text.value else f"error {status}"
            raise ExecutionError(f"NVIDIA's driver refuses {what}: {reason}; check `nvidia-smi`, update the driver")
