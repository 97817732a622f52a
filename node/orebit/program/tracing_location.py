"""Where in the user's code an operation comes from, forward and backward."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import torch
import torch.fx.traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.utils._python_dispatch import TorchDispatchMode

from orebit.errors import TraceError
from orebit.program.tracing_randomness import SITE, Sites
from orebit.program.tracing_reading import Origins
from orebit.program.tracing_rewriting import NOTHING, has_mask, is_selection, recorded

TORCH_FOLDER = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
META = "orebit_location"

# Operations whose result, or whose result's shape, is known only when they run.
DATA_DEPENDENT = {
    "aten._local_scalar_dense": "a tensor's value is read as a Python number (.item(), float(), bool(), if)",
    "aten.is_nonzero": "Python branches on a tensor's value",
    "aten.nonzero": "the shape of a result depends on data",
    "aten.masked_select": "the shape of a result depends on data",
    "aten._unique2": "the shape of a result depends on data",
    "aten.unique_dim": "the shape of a result depends on data",
    "aten.unique_consecutive": "the shape of a result depends on data",
    "aten.equal": "Python asks whether tensors are equal",
    "aten.repeat_interleave.Tensor": "the shape of a result depends on data",
    "aten._pack_padded_sequence": "lengths of packed sequences are read from data",
    "aten._assert_async": "Python checks a tensor's values",
}


class LocationMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Notes for every operation the line it comes from, in the graph node's metadata; for one of the backward pass,
    the line of the forward operation that it differentiates; for a random one its site. Refuses what depends on data.
    """

    def __init__(self, model: torch.nn.Module, fallback: str, origins: Origins) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._names = {id(module): name for name, module in model.named_modules()}
        self._fallback = fallback
        self._forward: dict[int, str] = {}
        self.latest = fallback
        self.sites = Sites()
        self._origins = origins

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.latest = self._locate()
        if self._reads_constants(func, args):
            with disable_proxy_modes_tracing():
                return func(*args, **(kwargs or {}))
        site = self.sites.number(func, args, kwargs or {})
        fx_traceback.current_meta["custom"] = {META: self.latest} | ({} if site is None else {SITE: site})
        made = recorded(func, args, kwargs or {})
        return func(*args, **(kwargs or {})) if made is NOTHING else made

    def _reads_constants(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Whether an operation depends on data, but only on what is the same in every step.

        Raises:
            TraceError: when the data differs from step to step.
        """
        reason = DATA_DEPENDENT.get(str(func)) or DATA_DEPENDENT.get(str(func).rsplit(".", 1)[0])
        if str(func).startswith("aten.index_put") and is_selection(args, {}):
            return False
        if reason is None and str(func).startswith(("aten.index.Tensor", "aten.index_put")) and has_mask(args[1]):
            reason = "the shape of a result depends on data (indexing by a mask)"
        if reason is None:
            return False
        if any(self._origins.vary(tensor) for tensor in _tensors(args)):
            raise TraceError(
                f"{reason}: {func} at {self.latest}. A program is the same for all data: use torch.where or a"
                " multiplication by a mask, and keep statistics as tensors"
            )
        return True

    def _locate(self) -> str:
        node = torch._C._current_autograd_node()
        if node is not None:
            number = node._sequence_nr()
            return f"the backward pass of {self._forward.get(number, self._fallback)}"
        place = self._user_line(sys._getframe(2))
        # The autograd node of the operation at hand was just numbered; a composite one has yet to be.
        following = torch.autograd._get_sequence_nr()
        self._forward[following - 1] = place
        self._forward[following] = place
        return place

    def _user_line(self, frame: FrameType | None) -> str:
        module = ""
        while frame is not None and frame.f_code.co_name != "_run_user_step":
            if not module:
                module = self._module(frame)
            if not frame.f_code.co_filename.startswith((TORCH_FOLDER, PACKAGE_FOLDER, "<")):
                return f"{frame.f_code.co_filename}:{frame.f_lineno}{module}"
            frame = frame.f_back
        return self._fallback + module

    def _module(self, frame: FrameType) -> str:
        owner = frame.f_locals.get("self")
        name = self._names.get(id(owner))
        return f", module '{name}' ({type(owner).__name__})" if name else ""


def _tensors(args: Iterable[Any]) -> Iterator[torch.Tensor]:
    for argument in args:
        if isinstance(argument, torch.Tensor):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors(argument)


def failing_line(error: BaseException) -> str:
    """file:line of the user's code in which `error` arose, as far as its traceback tells."""
    place, trace = "the user's code", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith((TORCH_FOLDER, PACKAGE_FOLDER, "<")):
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def caller(skip: Callable[[str], bool] = lambda name: name.startswith((TORCH_FOLDER, PACKAGE_FOLDER, "<"))) -> str:
    """file:line of the nearest frame outside torch and this package."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and skip(frame.f_code.co_filename):
        frame = frame.f_back
    return "the user's code" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
