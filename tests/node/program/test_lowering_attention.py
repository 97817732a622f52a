"""Attention and products in every layout, from unmodified torch code, against eager float64."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from test_lowering import Forward, check, step_program, weighted
from torch import nn
from torch.nn import functional as F

from orebit.program.descriptor import Kind

CAUSAL = torch.ones(6, 6).tril().bool()
# The fourth query may look at nothing.
MASK = torch.zeros(6, 6).masked_fill(torch.ones(6, 6).triu(1).bool(), -torch.inf)
EMPTY = MASK.clone().index_fill(0, torch.tensor([3]), -torch.inf)


def heads(w: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values [1, 2, 6, 4] from [6, 8]."""
    q, k, v = ((w * (x + 0.2 * n)).reshape(1, 6, 2, 4).transpose(1, 2) for n in range(3))
    return q, k, v


def unmasked(x: torch.Tensor) -> torch.Tensor:
    """What torch computes where a row is masked, without its NaN."""
    return torch.where(torch.isnan(x), torch.zeros((), dtype=x.dtype), x)


ATTENTION: dict[str, Forward] = {
    "plain": lambda w, x: F.scaled_dot_product_attention(*heads(w, x)),
    "causal": lambda w, x: F.scaled_dot_product_attention(*heads(w, x), is_causal=True),
    "boolean_mask": lambda w, x: F.scaled_dot_product_attention(*heads(w, x), attn_mask=CAUSAL),
    "infinite_mask": lambda w, x: F.scaled_dot_product_attention(*heads(w, x), attn_mask=MASK.to(w.dtype)),
    "masked_row": lambda w, x: F.scaled_dot_product_attention(*heads(w, x), attn_mask=EMPTY.to(w.dtype)),
    "scaled": lambda w, x: F.scaled_dot_product_attention(*heads(w, x), scale=0.3),
    "by_hand": lambda w, x: (
        torch.softmax((w @ x.t() / 8**0.5).masked_fill(~CAUSAL, -torch.inf), 1) @ x + torch.log_softmax(w, 0)
    ),
}
PRODUCTS: dict[str, Forward] = {
    "bmm_permuted": lambda w, x: torch.bmm(w.reshape(2, 3, 8).permute(0, 2, 1), x.reshape(3, 2, 8).permute(1, 0, 2)),
    "matmul_batched": lambda w, x: w.reshape(2, 3, 8) @ x.reshape(2, 3, 8).transpose(1, 2),
    "matmul_broadcast": lambda w, x: w.reshape(2, 3, 8) @ x[:4].t(),
    "matmul_sliced": lambda w, x: w[:, 1:7:2] @ x[::2, 2:5].t(),
    "vector": lambda w, x: w @ x[0] + (w.t() @ x[:, 1]).sum(),
    "baddbmm": lambda w, x: torch.baddbmm(w.reshape(2, 3, 8)[:, :, :3], w.reshape(2, 3, 8), x.reshape(2, 8, 3)),
    "einsum": lambda w, x: torch.einsum("bid,bjd->bij", w.reshape(2, 3, 8), x.reshape(2, 3, 8)),
    "einsum_heads": lambda w, x: torch.einsum("bthd,bshd->bhts", w.reshape(1, 6, 2, 4), x.reshape(1, 6, 2, 4)),
    "einsum_outer": lambda w, x: torch.einsum("i,j->ij", w[0], x[:, 0]),
    "einsum_diagonal": lambda w, x: torch.einsum("ii->i", w[:, :6]) * 2,
    "outer": lambda w, x: torch.outer(w[1], x[2]),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str) -> None:
    check(ATTENTION[name], shape=(6, 8), tolerance=5e-6)


@pytest.mark.parametrize("name", PRODUCTS)
def test_product_in_layout(name: str) -> None:
    check(PRODUCTS[name], shape=(6, 8))


def compare(model: nn.Module, *, bits: int = 22, tolerance: float = 1e-5) -> int:
    """One SGD step of the program and of eager float64; the number of nodes."""
    torch.manual_seed(6)
    batches = tuple((torch.randn(2, 6, 8), torch.zeros(1)) for _ in range(2))
    exact = copy.deepcopy(model).double()
    program, made, _ = step_program(model, lambda out, _: weighted(out), batches, bits)
    loss = weighted(exact(batches[0][0].double()))
    loss.backward()
    assert abs(float(made[-1]) - float(loss.detach())) <= tolerance * max(1.0, abs(float(loss.detach())))
    for parameter, old, new in zip(exact.parameters(), model.parameters(), made, strict=False):
        assert parameter.grad is not None
        scale = max(1.0, float(parameter.grad.abs().max()))
        assert np.abs(old.detach().numpy() - new - parameter.grad.numpy()).max() <= tolerance * scale
    return len(program.nodes)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention of a sequence over itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.register_buffer("mask", ~CAUSAL)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made, weights = self.attention(x, x, x, attn_mask=self.mask)
        return made + weights.sum()


@pytest.mark.parametrize(
    "layer",
    [
        SelfAttention,
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, activation="gelu"),
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True),
    ],
    ids=["multihead", "encoder_layer", "encoder_layer_norm_first"],
)
def test_layer_of_torch(layer: type[nn.Module]) -> None:
    torch.manual_seed(5)
    compare(layer())


def test_a_transposed_operand_costs_no_node() -> None:
    batches = tuple((torch.randn(6, 6), torch.zeros(1)) for _ in range(2))
    sizes = []
    for transposed in (False, True):
        model = nn.Linear(6, 6, bias=False)

        def loss(out: torch.Tensor, _: torch.Tensor, turned: bool = transposed) -> torch.Tensor:
            return weighted(out.t() @ out if turned else out @ out)

        program, _, _ = step_program(model, loss, batches, 15)
        sizes.append(sum(program.descriptor(n).kind is Kind.MAP for n in program.operations))
    assert sizes[1] <= sizes[0]
