"""Reading and writing by index against eager float64, values and gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_lowering import Forward, check, step_program, weighted
from torch import nn
from torch.nn import functional as F

ROWS = torch.tensor([[4, 0, 2], [2, 5, 2]])
PLACES = torch.tensor([[0, 4, 2, 2, 1], [3, 3, 0, 1, 4]])

READS: dict[str, Forward] = {
    "embedding": lambda w, x: F.embedding(ROWS, w * x),
    "embedding_padding": lambda w, x: F.embedding(ROWS, w * x, padding_idx=2),
    "embedding_by_frequency": lambda w, x: F.embedding(ROWS, w * x, scale_grad_by_freq=True),
    "index_select": lambda w, x: (w * x).index_select(0, ROWS[0]),
    "index_select_columns": lambda w, x: (w * x).index_select(1, PLACES[1]),
    "gather": lambda w, x: (w * x).gather(0, PLACES),
    "gather_columns": lambda w, x: (w * x).gather(1, PLACES[:, :3]),
    "take_along_dim": lambda w, x: torch.take_along_dim(w * x, PLACES[:1], 1),
    "index": lambda w, x: (w * x)[ROWS],
    "index_negative": lambda w, x: (w * x)[torch.tensor([-1, 0, -6])],
    "index_columns": lambda w, x: (w * x)[:, PLACES[0]],
    "index_both": lambda w, x: (w * x)[torch.tensor([1, 5, 0]), torch.tensor([4, 4, 2])],
    "index_broadcast": lambda w, x: (w * x)[torch.tensor([[1], [5]]), torch.tensor([4, 0, 2])],
    "index_apart": lambda w, x: (w * x).reshape(2, 3, 5)[torch.tensor([1, 0]), :, torch.tensor([2, 4])],
    "index_middle": lambda w, x: (w * x).reshape(2, 3, 5)[:, torch.tensor([[2, 0], [1, 1]])],
    "select_slice": lambda w, x: (w * x)[2, 1::2],
    "unbind": lambda w, x: torch.stack((w * x).unbind(1)[1:3]),
    "split": lambda w, x: (w * x).split(2)[1] * 3,
    "chunk": lambda w, x: torch.cat((w * x).chunk(3, 1)[::-1], 1),
    "narrow": lambda w, x: (w * x).narrow(0, 1, 3),
    "repeat": lambda w, x: (w * x).repeat(2, 3) * torch.arange(180).reshape(12, 15),
    "tile": lambda w, x: torch.tile(w * x, (2, 1, 2)),
    "repeat_interleave": lambda w, x: (w * x).repeat_interleave(2, 1),
    "diagonal": lambda w, x: torch.diagonal(w * x, 1) * 2,
    "stack": lambda w, x: torch.stack([w, x, w * x], 1),
    "cat_many": lambda w, x: torch.cat([w * k for k in range(40)], 0),
    "meshgrid": lambda w, x: torch.meshgrid(w[0], w[:, 1], indexing="ij")[1] * x.t(),
}


@pytest.mark.parametrize("name", READS)
def test_read(name: str) -> None:
    check(READS[name])


def assigned(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    y = w * x
    y[1:4, 2] = x[0, 0]
    y[0] = w[5]
    return y


def filled(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, PLACES[0, :3]] += w[:, :3]
    return y


def assigned_apart(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[::2, 1:4] = w[:3, :3]
    y.t()[4] *= w[:, 0]
    return y * w


WRITES: dict[str, Forward] = {
    "assignment": assigned,
    "assignment_apart": assigned_apart,
    "diag_embed": lambda w, x: torch.diag_embed(w * x),
    "take": lambda w, x: torch.take(w * x, torch.tensor([3, 0, 29])),
    "new": lambda w, x: w * x.new_full((5,), 2.0) + x.new_ones(6, 5),
    "indexed_assignment": filled,
    "index_put": lambda w, x: x.index_put((ROWS[0],), w[:3]),
    "index_put_broadcast": lambda w, x: (w * x).index_put((ROWS[0], torch.tensor([1, 2, 3])), w[0, 0]),
    "index_put_accumulate": lambda w, x: (w * x).index_put((ROWS,), w.reshape(2, 3, 5), accumulate=True),
    "index_add": lambda w, x: x.index_add(0, ROWS[0], w[:3], alpha=2),
    "index_add_columns": lambda w, x: (w * x).index_add(1, PLACES[0], w),
    "index_copy": lambda w, x: (w * x).index_copy(1, torch.tensor([3, 0]), w[:, :2]),
    "index_fill": lambda w, x: (w * x).index_fill(0, ROWS[1], 0.5),
    "scatter": lambda w, x: (w * x).scatter(1, PLACES[:, :1], w[:2, :1]),
    "scatter_number": lambda w, x: (w * x).scatter(1, PLACES[:, :2], 2.0),
    "scatter_add": lambda w, x: (w * x).scatter_add(0, PLACES, w[:2]),
    "scatter_add_columns": lambda w, x: x.scatter_add(1, PLACES, (w * x)[:2]),
    "scatter_mean": lambda w, x: x.scatter_reduce(0, PLACES, (w * x)[:2], "mean"),
    "scatter_sum_only": lambda w, x: x.scatter_reduce(0, PLACES, (w * x)[:2], "sum", include_self=False),
    "scatter_amax": lambda w, x: x.scatter_reduce(0, PLACES, (w * x)[:2], "amax"),
    "scatter_amin": lambda w, x: x.scatter_reduce(1, PLACES, (w * x)[:2], "amin", include_self=False),
    "slice_scatter": lambda w, x: x.slice_scatter(w[:, :2], 1, 1, 5, 2),
    "select_scatter": lambda w, x: x.select_scatter(w[:, 1], 1, 3) * w,
    "diagonal_scatter": lambda w, x: x.diagonal_scatter(w[0], 0) * w,
    "masked_fill": lambda w, x: (w * x).masked_fill(x > 0.3, -2.0),
    "masked_fill_tensor": lambda w, x: (w * x).masked_fill(x > 0.3, w[0, 0].detach()),
    "where": lambda w, x: torch.where(x > 0.3, w, torch.zeros(())),
    "one_hot": lambda w, x: F.one_hot(ROWS, 6).to(w.dtype) @ w,
    "eye": lambda w, x: torch.eye(6).to(w.dtype) @ w * torch.arange(5.0),
    "linspace": lambda w, x: w * torch.linspace(0, 1, 5).to(w.dtype),
}


@pytest.mark.parametrize("name", WRITES)
def test_write(name: str) -> None:
    check(WRITES[name])


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_embedding_bag(mode: str) -> None:
    check(lambda w, x: F.embedding_bag(ROWS, w * x, mode=mode))
    check(lambda w, x: F.embedding_bag(ROWS.flatten(), w * x, torch.tensor([0, 1, 4]), mode=mode))
    check(lambda w, x: F.embedding_bag(ROWS, w * x, mode=mode, padding_idx=2))


def test_embedding_bag_with_weights_of_its_own() -> None:
    check(lambda w, x: F.embedding_bag(ROWS, w * x, mode="sum", per_sample_weights=w[:2, :3] * 2))


def test_embedding_with_max_norm_shortens_rows_in_place() -> None:
    model = nn.Embedding(6, 5, max_norm=1.0)
    batches = tuple((ROWS, torch.zeros(1)) for _ in range(2))
    _, made, (before, *_) = step_program(model, lambda out, _: weighted(out), batches, 22)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    weighted(model(ROWS)).backward()
    optimizer.step()
    assert np.abs(before).max() > 1  # some row is too long
    np.testing.assert_allclose(made[0], model.weight.detach().numpy(), atol=3e-6)


def test_of_duplicates_the_last_wins() -> None:
    check(lambda w, x: x.index_put((torch.tensor([3, 3, 3]),), w[:3]))


def test_masks_as_indices_are_refused_by_name() -> None:
    from orebit.errors import TraceError

    with pytest.raises(TraceError, match="mask"):
        check(lambda w, x: (w * x)[x > 0])
    with pytest.raises(TraceError, match="masked_select"):
        check(lambda w, x: (w * x).masked_select(x > 0))
