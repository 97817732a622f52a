"""An NVIDIA GPU: memory and streams are torch's, code comes from the run-time compiler, launches go to the driver."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import structlog
import torch

from orebit.errors import ExecutionError
from orebit.executor.cuda.capability import LEAST, Capability
from orebit.executor.cuda.device import Call
from orebit.executor.cuda.driver import Driver, driver
from orebit.executor.cuda.kernel import Kernel
from orebit.executor.cuda.nvrtc import nvrtc

_log = structlog.get_logger(__name__)


def require() -> None:
    """Refuses a machine without what this executor needs.

    Raises:
        ExecutionError: saying what is missing: a torch for CUDA, a GPU, one that is recent enough, or the compiler.
    """
    if torch.version.cuda is None:
        raise ExecutionError("this torch was built without CUDA; install one with it to use an NVIDIA GPU")
    if not torch.cuda.is_available():
        raise ExecutionError("torch finds no NVIDIA GPU; check `nvidia-smi`")
    found = Capability(*torch.cuda.get_device_capability())
    if found < LEAST:
        raise ExecutionError(
            f"the GPU has compute capability {found.major}.{found.minor}, but {LEAST.major}.{LEAST.minor} is the least"
        )
    nvrtc()
    driver()


def current_gpu() -> Gpu:
    """torch's current GPU. Raises as `require` does."""
    require()
    return _gpu(torch.cuda.current_device())


@cache
def _gpu(index: int) -> Gpu:
    return Gpu(index)


class Gpu:
    """One GPU, with a stream for steps and one for copies to the host beside them (device.Device)."""

    def __init__(self, index: int) -> None:
        self.place = torch.device("cuda", index)
        self.capability = Capability(*torch.cuda.get_device_capability(self.place))
        compiler = nvrtc().version
        self.identity = f"cuda {self.capability.number} nvrtc {compiler[0]}.{compiler[1]}"
        torch.zeros(1, device=self.place)  # makes torch's context this thread's
        self._turn = threading.Lock()
        self._driver = driver()
        self._context = self._driver.context()
        self._steps = torch.cuda.Stream(self.place)  # type: ignore[no-untyped-call]  # torch's annotations lack it
        self._copies = torch.cuda.Stream(self.place)  # type: ignore[no-untyped-call]  # torch's annotations lack it

    def free_bytes(self) -> int:
        kept = torch.cuda.memory_reserved(self.place) - torch.cuda.memory_allocated(self.place)
        return torch.cuda.mem_get_info(self.place)[0] + kept

    def compile(self, source: str) -> bytes:
        return nvrtc().cubin(source, self.capability)

    def load(self, image: bytes, kernels: Sequence[Kernel]) -> Loaded:
        self._driver.enter(self._context)
        return Loaded(self._driver, self._context, self._steps, image, kernels)

    @contextmanager
    def working(self) -> Iterator[None]:
        # Another thread's launches would become part of a graph that is being captured.
        with self._turn:
            self._driver.enter(self._context)
            with torch.cuda.device(self.place), torch.cuda.stream(self._steps), _named_errors():
                yield

    def recorded(self) -> Call:
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch's annotations lack it
        event.record(self._steps)

        def wait() -> None:
            with _named_errors():
                event.synchronize()

        return wait

    def captured(self, work: Call) -> Call | None:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._steps, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            _log.warning("cuda_graph_not_captured", reason=str(error))
            return None
        return graph.replay

    def fetch(self, block: torch.Tensor, ready: Call) -> torch.Tensor:
        self._driver.enter(self._context)
        ready()
        with torch.cuda.device(self.place), torch.cuda.stream(self._copies), _named_errors():
            held = torch.empty(block.shape, dtype=block.dtype, pin_memory=True)
            held.copy_(block, non_blocking=True)
            self._copies.synchronize()
        return held


class Loaded:
    """Kernels of one program on a GPU, unloaded with this object."""

    def __init__(
        self, driver: Driver, context: int, stream: torch.cuda.Stream, image: bytes, kernels: Sequence[Kernel]
    ) -> None:
        self._driver, self._stream = driver, stream
        module = driver.load(image)
        weakref.finalize(self, _unload, driver, context, module).atexit = False
        self._functions = {kernel.name: driver.function(module, kernel.name) for kernel in kernels}

    def launch(self, kernel: Kernel, pointers: Sequence[int]) -> None:
        self._driver.launch(self._functions[kernel.name], kernel, pointers, self._stream.cuda_stream)


def _unload(driver: Driver, context: int, module: int) -> None:
    driver.enter(context)
    driver.unload(module)


@contextmanager
def _named_errors() -> Iterator[None]:
    """torch's errors of CUDA as the node's own."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise ExecutionError(
            "the GPU has too little memory for one step of the program; run fewer slots at once, or leave this task to "
            "a larger GPU"
        ) from error
    except RuntimeError as error:
        if "CUDA" not in str(error):
            raise
        raise ExecutionError(f"the GPU failed: {str(error).splitlines()[0]}; run `orebit doctor`") from error
