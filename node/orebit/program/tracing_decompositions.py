"""What is written out while a step is traced, and which of torch's kernels are switched off.

A composite operation goes here when its parts have lowerings and are as good; it gets a lowering of its own when that
is shorter, exacter, or its decomposition is wrong. Either way it is tested against eager, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch._decomp import get_decompositions
from torch._ops import OpOverload
from torch.nn.attention import SDPBackend, sdpa_kernel

aten = torch.ops.aten
Function = TypeVar("Function", bound=Callable[..., Any])

# Composite operations that torch's own decompositions write out, all overloads of each.
DECOMPOSED: list[Any] = [
    aten.addcmul,
    aten.addcdiv,
    aten.hardtanh_backward,
    aten.leaky_relu,
    aten.leaky_relu_backward,
    aten.silu,
    aten.silu_backward,
    aten.huber_loss,
    aten.huber_loss_backward,
    aten.smooth_l1_loss,
    aten.smooth_l1_loss_backward,
]
# Those written out by functions of ours, which are called with the operation's arguments (see `decomposes`).
WRITTEN_OUT: dict[OpOverload, Callable[..., Any]] = {}
# Operations whose schema hides that they update an argument; the parts that do say so, and are made functional later.
HIDDEN_MUTATIONS: list[Any] = [
    aten.native_batch_norm,
]


def decomposes(*operations: OpOverload) -> Callable[[Function], Function]:
    """Registers a function that computes `operations` from simpler ones; it takes and returns torch tensors."""

    def register(function: Function) -> Function:
        for operation in operations:
            if operation in WRITTEN_OUT:
                raise ValueError(f"{operation} is already written out")
            WRITTEN_OUT[operation] = function
        return function

    return register


def composite_operations() -> dict[Any, Callable[..., Any]]:
    """The decompositions of the second pass, over the whole step with its backward pass."""
    table: dict[Any, Callable[..., Any]] = dict(get_decompositions(DECOMPOSED))
    return table | WRITTEN_OUT


def hidden_mutations() -> dict[Any, Callable[..., Any]]:
    """The decompositions of the first pass, below autograd: backward passes stay operations of their own."""
    return dict(get_decompositions(HIDDEN_MUTATIONS))


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Vendor kernels, fused attention and evaluation fast paths off: a trace must not depend on the machine."""
    fast_path, vendor = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel([SDPBackend.MATH]):
            yield
    finally:
        torch._C._set_mkldnn_enabled(vendor)
        torch.backends.mha.set_fastpath_enabled(fast_path)
