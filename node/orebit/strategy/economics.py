"""What makes cheating unprofitable, and what a task costs: the arithmetic behind a requester's terms.

A lease holds n shards at price r that cost an honest node c each; it is drawn with probability p; a replica re-executes
an aligned block of k of them. A cheat answers a share f of the lottery itself and, through an alias, pockets the
prover's share b of its own slash. With m shards wrong it is caught with probability `p (1-f) ceil(m/k) k/n`, so
cheating to save work pays for no m exactly when the stake S satisfies

    S / (n r)  >=  [ (c/r) / (p (1-f)) - 1 ] / (1-b)
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf

PROVER_SHARE = 0.25
"""b: what a proof pays its prover, of the slashed stake."""

COST_SHARE = 0.8
"""c/r: an honest node's cost over the price, where nothing better is known."""

ADVERSARY_SHARE = 1 / 3
"""f: the share of the replica lottery that the cheat wins, at which a verdict is given."""

FEW_STEPS = 100
"""Steps a shard below which gas exceeds compute even on a cheap chain."""


def detection_probability(
    *, draw: float, shards: int, block: int, wrong: int, adversary: float = ADVERSARY_SHARE, audited: float = 0.0
) -> float:
    """Probability that a lease with `wrong` of its `shards` wrong is caught.

    `draw` is p, `block` is k, `adversary` is f; `audited` is the share a of shards that free auditors re-check, which
    turns P into `1 - (1-P)(1-a)^m`.
    """
    block = min(block, shards)
    replica = draw * (1 - adversary) * min(1.0, ceil(wrong / block) * block / shards)
    return 1 - (1 - replica) * (1 - audited) ** wrong


def effective_adversary(share: float, answering: float) -> float:
    """f of a cheat with `share` f0 of all stake when a share `answering` w of the honest stake joins the lottery."""
    if share == 0:
        return 0.0
    return share / (share + answering * (1 - share))


def stake_factor_needed(
    draw: float,
    *,
    adversary: float = ADVERSARY_SHARE,
    cost_share: float = COST_SHARE,
    prover_share: float = PROVER_SHARE,
) -> float:
    """Least S / (n r) at which saving work never pays. Infinite when nothing is ever drawn."""
    checked = draw * (1 - adversary)
    if checked <= 0:
        return inf
    return max(0.0, (cost_share / checked - 1) / (1 - prover_share))


def sabotage_factor_needed(
    draw: float,
    *,
    outside_gain: float,
    block: int,
    adversary: float = ADVERSARY_SHARE,
    cost_share: float = COST_SHARE,
    prover_share: float = PROVER_SHARE,
) -> float:
    """Least S / (n r) against a cheat that gains `outside_gain` prices G/r from one wrong shard.

    Its best lease leaves out the whole block around that shard: the gain is G + k c at the risk of one block.
    """
    checked = draw * (1 - adversary) * block
    if checked <= 0:
        return inf
    return max(0.0, ((outside_gain + block * cost_share) / checked - 1) / (1 - prover_share))


def draw_needed(
    factor: float,
    *,
    adversary: float = ADVERSARY_SHARE,
    cost_share: float = COST_SHARE,
    prover_share: float = PROVER_SHARE,
) -> float:
    """Least draw p at which saving work never pays with this stake S / (n r). Above 1 where no draw suffices."""
    return cost_share / ((1 - adversary) * (1 + factor * (1 - prover_share)))


def covered_gain(
    draw: float,
    factor: float,
    *,
    block: int,
    adversary: float = ADVERSARY_SHARE,
    cost_share: float = COST_SHARE,
    prover_share: float = PROVER_SHARE,
) -> float:
    """The outside gain G/r, in prices, up to which one planted wrong shard does not pay; below 0: saving work pays.

    The inverse of `sabotage_factor_needed`: it grows with the block k, which a saboteur risks whole.
    """
    checked = draw * (1 - adversary) * block
    return (1 + factor * (1 - prover_share)) * checked - block * cost_share


def bounty_only_equilibrium(
    factor: float, *, cost_share: float = COST_SHARE, prover_share: float = PROVER_SHARE
) -> float:
    """Share of leases that cheat where auditing for bounties alone just breaks even."""
    return min(1.0, cost_share / (prover_share * factor))


def overhead(draw: float, *, shards: int, block: int) -> float:
    """The requester's expected extra for replicas over the price of the work: p k / n, at a fee of 100%."""
    return draw * min(block, shards) / shards


def round_stall_probability(draw: float, leases: int) -> float:
    """Probability that a synchronous round of `leases` leases waits for at least one replica of the chain's draw."""
    return 1 - (1 - draw) ** leases


def ceil_log2(n: int) -> int:
    """Least h with 2^h >= n."""
    return (n - 1).bit_length()


@dataclass(frozen=True)
class LeaseEconomics:
    """The money of one lease of `shards` shards. Amounts in wei of TokenAI."""

    price: int
    shards: int
    block: int
    fee: int
    stake: int
    draw: float

    @property
    def factor(self) -> float:
        """S / (n r)."""
        return self.stake / (self.price * self.shards) if self.price else inf

    @property
    def overhead(self) -> float:
        """Expected replica fees over the price of the lease's work."""
        return self.draw * self.fee / (self.price * self.shards) if self.price else 0.0


def replica_fee(price: int, *, fee_percent: int, block_log2: int, shards: int) -> int:
    """Wei that each replica of a batch earns whose longest lease has `shards` shards.

    A percentage of price * 2^b, with b = min(block log2, h) and h = ceil(log2 shards).
    """
    return price * (1 << min(block_log2, ceil_log2(shards))) * fee_percent // 100


def lease_economics(
    *, price: int, shards: int, stake_factor: int, fee: int, block_log2: int, draw: float
) -> LeaseEconomics:
    """The money of one lease. `stake_factor` in hundredths, as on-chain; S = max(factor * price * n, 4 * fee)."""
    stake = max(stake_factor * price * shards // 100, 4 * fee)
    block = min(1 << min(block_log2, ceil_log2(shards)), shards)
    return LeaseEconomics(price=price, shards=shards, block=block, fee=fee, stake=stake, draw=draw)


@dataclass(frozen=True)
class Verdict:
    """Whether saving work pays under these terms, in numbers and in words."""

    needed: float
    offered: float
    sound: bool
    text: str


def verdict(lease: LeaseEconomics, *, adversary: float = ADVERSARY_SHARE, cost_share: float = COST_SHARE) -> Verdict:
    """Judges a lease's terms against a cheat that holds `adversary` of the replica lottery."""
    needed = stake_factor_needed(lease.draw, adversary=adversary, cost_share=cost_share)
    sound = lease.factor >= needed
    return Verdict(needed, lease.factor, sound, _verdict_text(lease, needed, sound, adversary))


def _verdict_text(lease: LeaseEconomics, needed: float, sound: bool, adversary: float) -> str:
    if lease.draw == 0:
        return "Nobody is drawn to check this work: a cheat is caught only by whoever re-executes a shard unasked."
    share = f"a cheat with {adversary:.0%} of the replica lottery"
    if sound:
        gain = covered_gain(lease.draw, lease.factor, block=lease.block, adversary=adversary)
        return (
            f"Saving work does not pay, even for {share}: stake {lease.factor:.2f}x the price, {needed:.2f}x needed. "
            f"One planted wrong shard pays whoever gains more than {max(0.0, gain):.1f} prices by it outside."
        )
    return (
        f"Saving work pays for {share}: stake {lease.factor:.2f}x the price, {needed:.2f}x needed. "
        f"{_remedy(lease, needed, adversary)}"
    )


def _remedy(lease: LeaseEconomics, needed: float, adversary: float) -> str:
    """What would make it unprofitable: more stake, or more draws."""
    stake = f"Raise the stake factor to {ceil(needed * 100) / 100:.2f}"
    draw = draw_needed(lease.factor, adversary=adversary)
    if draw > 1:
        return f"{stake}, or let a lease have several shards (run.grain), of which one is always drawn."
    return f"{stake}, or the draw to {ceil(draw * 100)}%."


def unfinal_exposure(*, depth: int, shards: int, price: int) -> int:
    """Wei of work that may stand on results that are not final yet: depth * shards a round * price."""
    return depth * shards * price


def steps_warning(steps: int) -> str | None:
    """A warning when a shard is so short that its gas outweighs its compute."""
    if steps >= FEW_STEPS:
        return None
    return f"{steps} steps a shard: below about {FEW_STEPS}, gas exceeds compute even on a cheap chain. Take more."
