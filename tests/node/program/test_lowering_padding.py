"""Padding and other movements of elements, with gradients, against eager float64; what only moves keeps its bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from spatial import agrees, execute
from torch.nn import functional as F

Case = tuple[Callable[[torch.Tensor], torch.Tensor], tuple[int, ...]]

MOVED: dict[str, Case] = {
    "zeros": (lambda x: F.pad(x, (1, 2, 0, 3)) * 1, (2, 3, 4)),
    "constant": (lambda x: F.pad(x, (1, 2, 0, 3), value=-2.5), (2, 3, 4)),
    "cropped": (lambda x: F.pad(x, (-1, 2, 1, -2), value=1.5), (2, 4, 5)),
    "reflect_1d": (lambda x: F.pad(x, (2, 3), mode="reflect"), (2, 3, 5)),
    "reflect_2d": (lambda x: F.pad(x, (1, 0, 2, 3), mode="reflect"), (2, 2, 4, 3)),
    "reflect_3d": (lambda x: F.pad(x, (1, 1, 2, 0, 1, 2), mode="reflect"), (1, 2, 3, 3, 4)),
    "replicate_1d": (lambda x: F.pad(x, (2, 3), mode="replicate"), (2, 3, 4)),
    "replicate_2d": (lambda x: F.pad(x, (4, 0, 2, 1), mode="replicate"), (2, 2, 3, 1)),
    "replicate_3d": (lambda x: F.pad(x, (1, 1, 2, 0, 0, 2), mode="replicate"), (1, 2, 3, 2, 4)),
    "replicate_far": (lambda x: F.pad(x, (40, 1), mode="replicate"), (1, 2, 2)),
    "circular": (lambda x: F.pad(x, (2, 3), mode="circular"), (2, 3, 4)),
    "circular_2d": (lambda x: F.pad(x, (1, 2, 3, 0), mode="circular"), (2, 2, 4, 3)),
    "pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (2, 8, 3, 2)),
    "pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 3), (2, 2, 6, 3)),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (2, 6, 2, 3)),
    "rot90": (lambda x: torch.rot90(x, 3, (1, 2)), (2, 3, 4)),
    "flip": (lambda x: x.flip(0, -1), (3, 4, 2)),
    "roll": (lambda x: x.roll((1, -2), (0, 2)), (3, 2, 5)),
    "roll_flat": (lambda x: x.roll(4), (3, 5)),
    "triu": (lambda x: x.triu(1), (2, 4, 5)),
    "tril": (lambda x: x.tril(-1), (5, 4)),
    "unfold": (lambda x: x.unfold(1, 3, 2), (2, 8, 3)),
    "unfold_overlap": (lambda x: x.unfold(-1, 5, 2), (2, 9)),
    "unfold_gaps": (lambda x: x.unfold(0, 2, 3), (9, 2)),
    "im2col": (lambda x: F.unfold(x, (2, 3), dilation=(1, 2), padding=1, stride=(2, 1)), (2, 2, 5, 6)),
    "col2im": (lambda x: F.fold(x, (5, 4), 2, padding=1, stride=2), (2, 8, 9)),
}


@pytest.mark.parametrize("name", MOVED)
def test_movement(name: str) -> None:
    function, shape = MOVED[name]
    agrees(function, shape, tolerance=1e-6)


@pytest.mark.parametrize("name", [name for name in MOVED if name != "col2im"])
def test_bits_are_moved(name: str) -> None:
    function, shape = MOVED[name]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x.view(-1)[:3] = torch.tensor([1e-40, -0.0, float("inf")])
    value = execute(function, [x], bits=4)[1][0]
    wanted = function(x).numpy()
    # A product with 1 in the case of zeros, and a select of zeros, keep these bits too.
    assert np.array_equal(value.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_a_convolution_pads_as_it_is_told(mode: str) -> None:
    layer = torch.nn.Conv2d(2, 3, 3, padding=2, padding_mode=mode, bias=False)

    def convolve(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"weight": w}, (x,))

    agrees(convolve, (2, 2, 4, 5), (3, 2, 3, 3))
