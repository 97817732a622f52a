"""What is written out while a step is traced, and which of torch's kernels are switched off.

A composite operation goes here when its parts have lowerings and are as good; it gets a lowering of its own when that
is shorter, exacter, or its decomposition is wrong. Either way it is tested against eager, forward and backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch._decomp import get_decompositions
from torch._ops import OpOverload
from torch.distributions import Distribution
from torch.nn.attention import SDPBackend, sdpa_kernel

from orebit.program import tracing_antialias as antialias
from orebit.program.tracing_composites import WrittenOut
from orebit.program.tracing_methods import single_precision, written_methods
from orebit.program.tracing_padding import CircularPadding
from orebit.program.tracing_pooling import fractional_max_pool, fractional_max_pool_backward
from orebit.program.tracing_strides import as_strided, as_strided_scatter

aten = torch.ops.aten

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
    aten.stack,
    aten.celu,
    aten.hardsigmoid,
    aten.hardsigmoid_backward,
    aten.hardswish,
    aten.hardswish_backward,
    aten.hardshrink,
    aten.softshrink,
    aten._prelu_kernel,
    aten._prelu_kernel_backward,
    aten.glu,
    aten.glu_backward,
    aten.threshold,
    aten.soft_margin_loss,
    aten.soft_margin_loss_backward,
    aten.max_unpool2d,
    aten.max_unpool3d,
    aten.rot90,
    aten.addmv,
    aten.addr,
    aten.trace,
    aten.aminmax,
    aten.sinc,
    aten.heaviside,
    aten.new_full,
    aten.new_ones,
    aten.nansum,
    aten.dist,
    aten.logit,
    aten.logit_backward,
    aten.deg2rad,
    aten.special_xlog1py,
    aten.diag_embed,
    aten.linalg_cross,
    aten.take,
    aten._euclidean_dist,
]
# Those written out by functions of ours, which are called with the operation's arguments.
WRITTEN_OUT: dict[OpOverload, Callable[..., Any]] = {
    aten.as_strided.default: as_strided,
    aten.as_strided_copy.default: as_strided,
    aten.as_strided_scatter.default: as_strided_scatter,
    aten.fractional_max_pool2d.default: fractional_max_pool,
    aten.fractional_max_pool3d.default: fractional_max_pool,
    aten.fractional_max_pool2d_backward.default: fractional_max_pool_backward,
    aten.fractional_max_pool3d_backward.default: fractional_max_pool_backward,
    aten._upsample_bilinear2d_aa.default: antialias.bilinear,
    aten._upsample_bicubic2d_aa.default: antialias.bicubic,
    aten._upsample_bilinear2d_aa_backward.default: antialias.bilinear_backward,
    aten._upsample_bicubic2d_aa_backward.default: antialias.bicubic_backward,
}


def composite_operations() -> dict[Any, Callable[..., Any]]:
    """The decompositions of the second pass, over the whole step with its backward pass."""
    table: dict[Any, Callable[..., Any]] = dict(get_decompositions(DECOMPOSED))
    return table | WRITTEN_OUT


def hidden_mutations() -> dict[Any, Callable[..., Any]]:
    """The decompositions of the first pass, below autograd: backward passes stay operations of their own.

    They are of operations whose schema hides that they update an argument; the parts that do say so, and are made
    functional later.
    """
    return {aten.native_batch_norm.default: _batch_norm}


def _batch_norm(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    """Batch normalisation whose update of the running statistics is an operation of its own."""
    if not training or running_mean is None or running_var is None:
        return NotImplemented  # nothing is updated: it stays as it is
    made, mean, rstd, new_mean, new_var = aten._native_batch_norm_legit_functional.default(
        x, weight, bias, running_mean, running_var, training, momentum, eps
    )
    running_mean.copy_(new_mean)
    running_var.copy_(new_var)
    return made, mean, rstd


@contextmanager
def plain_kernels(written_out: bool = True) -> Iterator[None]:
    """Vendor kernels, fused attention, evaluation fast paths and checks of values off: a trace must depend neither on
    the machine nor on the data. Numbers are f32: autocast and the scaling of losses are off.

    Args:
        written_out: also calls our compositions instead of functions that cannot be traced; without, torch's own, for
            comparing the two.
    """
    fast_path, vendor = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    validates = Distribution._validate_args
    # What distributions check about their arguments is read from tensors, and only ever raises.
    Distribution.set_default_validate_args(False)
    try:
        with ExitStack() as modes:
            modes.enter_context(sdpa_kernel([SDPBackend.MATH]))
            modes.enter_context(single_precision())
            if written_out:
                modes.enter_context(written_methods())
                modes.enter_context(CircularPadding())
                modes.enter_context(WrittenOut())
            yield
    finally:
        Distribution.set_default_validate_args(validates)
        torch._C._set_mkldnn_enabled(vendor)
        torch.backends.mha.set_fastpath_enabled(fast_path)
