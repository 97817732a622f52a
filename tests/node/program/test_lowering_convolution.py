"""Convolutions and their gradients against eager float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from spatial import agrees, execute
from torch.nn import functional as F

from orebit.program.descriptor import Kind
from orebit.program.graph import Program
from orebit.program.lowering import contraction

# name: convolution, shape of the input, of the weight, of the bias (or none), settings
PLAIN: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": (F.conv1d, (2, 3, 9), (4, 3, 5), {}),
    "1d_stride": (F.conv1d, (2, 3, 11), (4, 3, 4), {"stride": 3, "padding": 2}),
    "1d_causal": (F.conv1d, (2, 4, 9), (4, 4, 3), {"dilation": 2, "padding": 4}),
    "2d": (F.conv2d, (2, 3, 6, 5), (4, 3, 3, 3), {}),
    "2d_padding": (F.conv2d, (2, 3, 6, 5), (4, 3, 3, 3), {"padding": 1}),
    "2d_same": (F.conv2d, (2, 3, 6, 5), (4, 3, 5, 3), {"padding": "same"}),
    "2d_stride": (F.conv2d, (2, 3, 8, 7), (4, 3, 3, 3), {"stride": 2, "padding": 1}),
    "2d_stride_unequal": (F.conv2d, (2, 3, 9, 7), (4, 3, 2, 4), {"stride": (3, 2), "padding": (0, 2)}),
    "2d_dilation": (F.conv2d, (2, 3, 9, 8), (4, 3, 3, 2), {"dilation": (2, 3), "padding": 2}),
    "2d_groups": (F.conv2d, (2, 8, 5, 5), (6, 4, 2, 2), {"groups": 2, "stride": 2}),
    "2d_depthwise": (F.conv2d, (2, 4, 6, 5), (8, 1, 3, 3), {"groups": 4, "padding": 1}),
    "2d_depthwise_large": (F.conv2d, (2, 3, 6, 7), (3, 1, 5, 5), {"groups": 3, "padding": 2}),
    "2d_pointwise": (F.conv2d, (2, 12, 4, 4), (5, 12, 1, 1), {"stride": 2}),
    "2d_few_channels": (F.conv2d, (2, 1, 6, 6), (4, 1, 3, 3), {"stride": 2}),
    "2d_one_column": (F.conv2d, (2, 4, 5, 1), (4, 4, 3, 3), {"padding": 1}),
    "2d_stride_dilation": (F.conv2d, (2, 3, 9, 8), (4, 3, 3, 3), {"stride": 2, "dilation": (2, 1), "padding": 1}),
    "2d_stride_beyond_kernel": (F.conv2d, (2, 5, 8, 7), (4, 5, 2, 1), {"stride": 3, "padding": (1, 0)}),
    "3d": (F.conv3d, (2, 2, 4, 5, 4), (3, 2, 2, 3, 2), {"padding": 1}),
    "3d_stride_groups": (F.conv3d, (1, 4, 5, 5, 4), (4, 2, 3, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
}
TRANSPOSED: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1d": (F.conv_transpose1d, (2, 3, 6), (3, 4, 4), {"stride": 2, "padding": 1}),
    "2d": (F.conv_transpose2d, (2, 3, 4, 5), (3, 4, 3, 3), {}),
    "2d_upsampling": (F.conv_transpose2d, (2, 4, 4, 3), (4, 3, 2, 2), {"stride": 2}),
    "2d_output_padding": (
        F.conv_transpose2d,
        (2, 3, 4, 3),
        (3, 4, 3, 3),
        {"stride": (3, 2), "padding": 1, "output_padding": (2, 1)},
    ),
    "2d_groups": (F.conv_transpose2d, (2, 4, 4, 4), (4, 3, 3, 3), {"groups": 2, "stride": 2, "dilation": 2}),
    "2d_wide_output_padding": (F.conv_transpose2d, (1, 3, 3, 3), (3, 4, 2, 2), {"dilation": 3, "output_padding": 2}),
    "3d": (F.conv_transpose3d, (1, 3, 3, 2, 3), (3, 2, 3, 2, 2), {"stride": 2}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_convolution(name: str) -> None:
    function, source, weight, settings = PLAIN[name]
    agrees(lambda x, w, b: function(x, w, b, **settings), source, weight, (weight[0],))


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name: str) -> None:
    function, source, weight, settings = TRANSPOSED[name]
    outputs = weight[1] * settings.get("groups", 1)
    agrees(lambda x, w, b: function(x, w, b, **settings), source, weight, (outputs,))


@pytest.mark.parametrize(("bits", "tolerance"), [(8, 2e-2), (14, 4e-4), (15, 2e-4), (22, 2e-6)])
def test_error_follows_the_bits(bits: int, tolerance: float) -> None:
    agrees(lambda x, w: F.conv2d(x, w, padding=1), (3, 4, 7, 7), (5, 4, 3, 3), bits=bits, tolerance=tolerance)


def _count(program: Program, kind: Kind) -> int:
    return sum(program.descriptor(number).kind is kind for number in program.operations)


def test_a_depthwise_kernel_is_a_map_and_its_gradient_a_dot() -> None:
    """Nine products are summed as floats, in one order: no bits are lost to quantising."""
    program = agrees(
        lambda x, w: F.conv2d(x, w, padding=1, groups=4), (2, 4, 6, 5), (4, 1, 3, 3), bits=15, tolerance=2e-4
    )
    assert _count(program, Kind.DOT) == 1
    _, (value, *_) = execute(lambda x, w: F.conv2d(x, w, groups=4), [X, W], bits=4)
    assert torch.allclose(torch.from_numpy(value), F.conv2d(X, W, groups=4), atol=1e-6)


X = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
W = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))


def test_nothing_is_unfolded() -> None:
    """No node is larger than the input or the output: what im2col would copy is an index map."""
    program = agrees(lambda x, w: F.conv2d(x, w, padding=2), (2, 4, 8, 8), (4, 4, 5, 5))
    assert max(program.descriptor(number).size for number in program.operations) == 2 * 4 * 8 * 8


def test_no_product_is_with_a_zero_between_strides() -> None:
    """The gradient of an input through stride 2 contracts 2 x 2 kernel positions of 4 x 4, not all of them."""
    program = agrees(lambda x, w: F.conv2d(x, w, stride=2, padding=1), (2, 8, 8, 8), (6, 8, 4, 4))
    nodes = [program.descriptor(number) for number in program.operations]
    assert {node.reduction for node in nodes if node.kind is Kind.DOT} == {(8, 4, 4), (6, 2, 2), (2, 4, 4)}


def test_small_channels_keep_their_digits() -> None:
    """An exponent belongs to a sample or to a channel: what is small beside others is as precise as they are."""
    scale = torch.tensor([1.0, 1e-6]).reshape(2, 1, 1, 1)
    samples = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3)) * scale
    weight = torch.randn(2, 3, 3, 3, generator=torch.Generator().manual_seed(4)) * scale
    _, (value, *_) = execute(lambda x, w: F.conv2d(x, w), [samples, weight], bits=15)
    wanted = F.conv2d(samples.double(), weight.double())
    error = (torch.from_numpy(value) - wanted).abs().amax((2, 3)) / wanted.abs().amax((2, 3))
    assert error.max() < 2e-4


def test_a_contraction_that_could_overflow_is_split(monkeypatch: pytest.MonkeyPatch) -> None:
    def parts(lowering: Any, space: Any) -> Any:
        return [(0, 2), (2, 1)] if space.reduction[0] == 3 else [(0, space.reduction[0])]

    whole = agrees(lambda x, w: F.conv2d(x, w), (3, 4, 6, 6), (5, 4, 3, 3))
    monkeypatch.setattr(contraction, "_parts", parts)
    split = agrees(lambda x, w: F.conv2d(x, w), (3, 4, 6, 6), (5, 4, 3, 3))
    assert (_count(whole, Kind.DOT), _count(split, Kind.DOT)) == (3, 4)
