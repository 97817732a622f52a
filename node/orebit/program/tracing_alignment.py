"""The CTC loss (Graves et al., 2006), written out: the recursion over time in logarithms, whatever the lengths."""

from __future__ import annotations

from typing import Any

import torch

from orebit.errors import TraceError

# In place of the logarithm of 0, whose sums have no gradient.
NEVER = -1e30


def ctc_loss(
    log_probs: torch.Tensor,
    targets: torch.Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = "mean",
    zero_infinity: bool = False,
) -> torch.Tensor:
    """As torch.nn.functional.ctc_loss; `targets` are [n, s], padded in any way, or one row after the other.

    Raises:
        TraceError: for targets one after the other whose lengths are data.
    """
    batched = log_probs.dim() == 3
    if not batched:
        log_probs, targets = log_probs.unsqueeze(1), targets.unsqueeze(0)
    rows = log_probs.shape[1]
    spans, counts = (_lengths(given, rows) for given in (input_lengths, target_lengths))
    if targets.dim() == 1:
        targets = _padded(targets, target_lengths, counts)
    loss = _negative_log_likelihood(log_probs, targets.long(), spans, counts, blank)
    # torch's gradient is that of a softmax before it, which has this part beside.
    running = torch.arange(log_probs.shape[0]).reshape(-1, 1, 1) < spans.reshape(1, -1, 1)
    feasible = loss < -NEVER / 10
    alone = log_probs.exp() * (running & feasible.reshape(1, -1, 1))
    loss = loss + (alone - alone.detach()).sum((0, 2))
    # What cannot be aligned is infinite, and so is its gradient.
    loss = torch.where(feasible, loss, torch.zeros_like(loss)) if zero_infinity else loss / feasible.to(loss.dtype)
    if reduction in ("mean", 1):
        return (loss / counts.clamp(min=1)).mean()
    if reduction in ("sum", 2):
        return loss.sum()
    return loss if batched else loss.squeeze(0)


def _lengths(given: Any, rows: int) -> torch.Tensor:
    lengths = given if isinstance(given, torch.Tensor) else torch.tensor(given)
    return lengths.reshape(-1).expand(rows).long()


def _padded(targets: torch.Tensor, given: Any, counts: torch.Tensor) -> torch.Tensor:
    if isinstance(given, torch.Tensor):
        raise TraceError(
            "the targets of a CTC loss stand one after the other, and their lengths are a tensor; pad them to"
            " [rows, longest], or give the lengths as a list"
        )
    starts, longest = torch.cumsum(counts, 0) - counts, max(int(length) for length in given)
    places = starts.unsqueeze(1) + torch.arange(max(longest, 1))
    return targets[places.clamp(max=max(len(targets) - 1, 0))]


def _negative_log_likelihood(
    log_probs: torch.Tensor, targets: torch.Tensor, spans: torch.Tensor, counts: torch.Tensor, blank: int
) -> torch.Tensor:
    """[n]; -NEVER or more where no alignment is long enough."""
    steps, rows, _ = log_probs.shape
    width = 2 * targets.shape[1] + 1
    blanks = torch.full_like(targets, blank)
    # Blanks before, between and after the labels.
    labels = torch.cat([torch.stack([blanks, targets], 2).flatten(1), torch.full((rows, 1), blank)], 1)
    state = torch.arange(width)
    exists = state < 2 * counts.unsqueeze(1) + 1
    labels = torch.where(exists, labels, torch.full_like(labels, blank))
    differs = torch.cat([torch.zeros(rows, min(2, width), dtype=torch.bool), labels[:, 2:] != labels[:, :-2]], 1)
    skips = differs & (state % 2 == 1)
    emitted = log_probs.gather(2, labels.unsqueeze(0).expand(steps, -1, -1))
    never = torch.full_like(emitted[0], NEVER)
    alpha = torch.where((state < 2) & exists, emitted[0], never)
    for step in range(1, steps):
        once = torch.cat([never[:, :1], alpha[:, :-1]], 1)
        twice = torch.where(skips, torch.cat([never[:, :2], alpha[:, :-2]], 1)[:, :width], never)
        reached = torch.logsumexp(torch.stack([alpha, once, twice]), 0)
        moved = torch.where(exists, (reached + emitted[step]).clamp(min=NEVER), never)
        alpha = torch.where((spans > step).unsqueeze(1), moved, alpha)
    ends = torch.stack([2 * counts, (2 * counts - 1).clamp(min=0)], 1)
    last = alpha.gather(1, ends)
    last = torch.where(torch.stack([counts >= 0, counts > 0], 1), last, never[:, :1])
    return -torch.logsumexp(last, 1)
