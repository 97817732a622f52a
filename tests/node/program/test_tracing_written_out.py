"""Functions that a trace writes out, against torch's own in float64: values and gradients."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from spatial import agrees_on, execute
from torch.nn import functional as F

from orebit.errors import TraceError


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


PADDINGS = ("zeros", "border", "reflection")
SAMPLINGS = [*product(("bilinear", "nearest"), PADDINGS, (False, True)), ("bicubic", "reflection", False)]


@pytest.mark.parametrize(("mode", "padding", "aligned"), SAMPLINGS)
def test_grid_sample(mode: str, padding: str, aligned: bool) -> None:
    """Places lie inside and outside; nearest has no gradient for them."""

    def sample(image: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(image, grid, mode, padding, aligned) + 0 * grid.sum()

    agrees_on(sample, [random(2, 2, 5, 4), 1.2 * random(2, 3, 4, 2)], tolerance=2e-5)


def test_grid_sample_in_three_axes() -> None:
    agrees_on(
        lambda x, g: F.grid_sample(x, g, padding_mode="border", align_corners=False),
        [random(1, 2, 3, 4, 3), random(1, 2, 2, 3, 3)],
        tolerance=2e-5,
    )


@pytest.mark.parametrize("aligned", [False, True])
def test_a_spatial_transformer(aligned: bool) -> None:
    def transform(image: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
        grid = F.affine_grid(theta, [2, 2, 5, 4], align_corners=aligned)
        return F.grid_sample(image, grid, align_corners=aligned)

    agrees_on(transform, [random(2, 2, 5, 4), random(2, 2, 3)], tolerance=2e-5)


TARGETS = torch.tensor([[1, 2, 2], [3, 3, 0], [4, 1, 1]])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_loss(reduction: str) -> None:
    """Repeated labels, an empty target, and rows of different lengths."""

    def loss(x: torch.Tensor) -> torch.Tensor:
        return F.ctc_loss(x.log_softmax(2), TARGETS, (7, 6, 5), (3, 2, 0), reduction=reduction)

    agrees_on(loss, [random(7, 3, 5)], tolerance=1e-5)


def test_ctc_loss_of_what_no_softmax_made() -> None:
    """torch's gradient is then not that of the value."""
    agrees_on(lambda x: F.ctc_loss(x, TARGETS, (7, 6, 5), (3, 2, 1)), [random(7, 3, 5)], tolerance=1e-5)


def test_ctc_loss_of_targets_one_after_the_other() -> None:
    targets = torch.tensor([1, 2, 2, 3, 3, 4])
    agrees_on(lambda x: F.ctc_loss(x.log_softmax(2), targets, (7, 6, 5), (3, 2, 1)), [random(7, 3, 5)], tolerance=1e-5)
    with pytest.raises(TraceError, match="lengths are a tensor; pad them"):
        execute(
            lambda x: F.ctc_loss(x.log_softmax(2), targets, torch.tensor([7, 6, 5]), torch.tensor([3, 2, 1])),
            [random(7, 3, 5)],
        )


def test_ctc_loss_that_cannot_be_aligned() -> None:
    def loss(x: torch.Tensor, zero: bool) -> torch.Tensor:
        return F.ctc_loss(x.log_softmax(2), TARGETS, (3, 6, 5), (3, 2, 1), reduction="none", zero_infinity=zero)

    agrees_on(lambda x: loss(x, True), [random(7, 3, 5)], tolerance=1e-5)
    value, gradient = execute(lambda x: loss(x, False), [random(7, 3, 5)])[1]
    assert value[0] == float("inf") and not torch.isfinite(torch.from_numpy(gradient[:, 0])).any()


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, float("inf")])
def test_cdist(p: float) -> None:
    agrees_on(lambda x, y: torch.cdist(x, y, p=p), [random(2, 4, 3), random(2, 5, 3)], tolerance=1e-5)


def test_cdist_of_equal_rows_has_no_gradient() -> None:
    x = random(4, 3)
    x[1] = x[0]
    agrees_on(lambda x: torch.cdist(x, x), [x], tolerance=1e-5)


def test_cdist_of_many_rows_is_a_product() -> None:
    agrees_on(lambda x, y: torch.cdist(x, y), [random(30, 3), random(4, 3)], tolerance=1e-4)


def test_pdist_and_bilinear() -> None:
    agrees_on(lambda x: F.pdist(x), [random(5, 3)], tolerance=1e-5)
    given = [random(5, 3), random(5, 4), random(2, 3, 4), random(2)]
    agrees_on(lambda a, b, w, c: F.bilinear(a, b, w, c), given, tolerance=1e-5)


@pytest.mark.parametrize("outputs", [(3, 4), (1, 2), (5, 5)])
def test_fractional_max_pooling(outputs: tuple[int, int]) -> None:
    samples = torch.rand(2, 3, 2, generator=torch.Generator().manual_seed(0))

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.fractional_max_pool2d(x, 2, output_size=outputs, _random_samples=samples.to(x.dtype))

    agrees_on(pool, [random(2, 3, 7, 8)])


def test_fractional_max_pooling_in_three_axes() -> None:
    samples = torch.rand(1, 2, 3, generator=torch.Generator().manual_seed(0))

    def pool(x: torch.Tensor) -> torch.Tensor:
        return F.fractional_max_pool3d(x, 2, output_size=(2, 3, 2), _random_samples=samples.to(x.dtype))

    agrees_on(pool, [random(1, 2, 5, 6, 4)])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("aligned", [False, True])
def test_interpolation_with_antialias(mode: str, aligned: bool) -> None:
    for size in ((5, 3), (12, 9)):
        agrees_on(
            lambda x, size=size: F.interpolate(x, size, mode=mode, antialias=True, align_corners=aligned),
            [random(2, 2, 9, 8)],
            tolerance=1e-5,
        )


def test_interpolation_with_antialias_by_a_factor() -> None:
    agrees_on(
        lambda x: F.interpolate(x, scale_factor=0.45, mode="bicubic", antialias=True),
        [random(2, 2, 9, 8)],
        tolerance=1e-5,
    )


def test_constants_that_functions_make() -> None:
    def upper(x: torch.Tensor) -> torch.Tensor:
        rows, columns = torch.triu_indices(3, 4)
        return x[rows, columns] * torch.hann_window(9).to(x.dtype)

    agrees_on(upper, [random(3, 4)])


NOTHING = {
    "joined": lambda x: torch.cat([x[:, :4] * 2, x[:, 4:].sin()], 1),
    "split": lambda x: torch.cat([part * 2 for part in x.split([4, 0], 1)], 1),
    "summed": lambda x: x + x[:, 4:].sum(),
    "multiplied": lambda x: x + x[:, 4:] @ x[:, 4:].T @ x,
    "a constant": lambda x: torch.cat([torch.empty(0), x.flatten()]),
}


@pytest.mark.parametrize("name", NOTHING)
def test_tensors_of_no_elements(name: str) -> None:
    """What rotates the first features and passes the rest on, where there is no rest."""
    agrees_on(NOTHING[name], [random(3, 4)])


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_of_64_bits(descending: bool) -> None:
    """By two halves; of equal numbers the first stays first."""
    numbers = torch.tensor([3, 1, -5, 3, 1 << 40, -(1 << 40), 1, (1 << 62) + 1, (1 << 62)])

    def ordered(x: torch.Tensor) -> torch.Tensor:
        values, places = numbers.sort(dim=0, descending=descending, stable=True)
        return x[places] * 2 + (values % 1000).to(x.dtype) * 1e-3 + numbers.topk(9)[1].to(x.dtype)

    agrees_on(ordered, [random(9)])


def test_a_histogram() -> None:
    counted = torch.tensor([0, 1.0, 1, 2, 3, 3, 3, -1, 4])
    agrees_on(lambda x: torch.histc(counted.to(x.dtype), 4, 0, 3) * x, [random(4)])


def test_lists_of_tensors_at_once() -> None:
    def together(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        made = torch._foreach_mul([x.clone(), y.clone()], 2.0)
        torch._foreach_lerp_(made, [y, x], 0.25)
        torch._foreach_addcdiv_(made, [x, y], [y.square() + 1, x.square() + 1], 0.5)
        return made[0] + made[1] * torch._foreach_norm([x, y])[0]

    agrees_on(together, [random(3, 4), random(3, 4)], tolerance=1e-5)


def test_views_by_strides_of_all_elements() -> None:
    """Axes joined and exchanged, as autograd leaves them of a flattened image."""

    def strided(x: torch.Tensor) -> torch.Tensor:
        joined = torch.as_strided(x * 2, (2, 12, 3), (36, 1, 12))
        written = torch.as_strided_scatter(x * 3, joined.sin(), (2, 12, 3), (36, 1, 12))
        return joined.sum(1) + written.flatten(1)[:, :3]

    agrees_on(strided, [random(2, 3, 3, 4)], tolerance=1e-5)
