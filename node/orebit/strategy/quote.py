"""What a job will cost and whether its terms are sound, before any money moves."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from orebit.chain.token import format_amount
from orebit.chain.types import Terms
from orebit.errors import ConfigError
from orebit.strategy.economics import (
    LeaseEconomics,
    Verdict,
    lease_economics,
    overhead,
    replica_fee,
    round_stall_probability,
    steps_warning,
    unfinal_exposure,
    verdict,
)

MAX_GRAINS = 128
ROUND_BLOCKS = 6
"""Transactions that follow one another in a round without replicas: post, lease, commit, reveal; then averaging's."""
REPLICA_BLOCKS = 4
"""What a replica adds: take, its commit, its reveal, the primary's."""
SPARE_AVERAGES = 2
COMMON_STALL = 0.5
"""A round that waits for a replica more often than this deserves a word."""


@dataclass(frozen=True)
class Quote:
    """Rounds of `shards` shards of `steps` steps in grains of `grain`. Amounts in wei of TokenAI."""

    training: Terms
    averaging: Terms
    rounds: int
    shards: int
    steps: int
    grain: int
    depth: int
    call: float

    def __post_init__(self) -> None:
        if self.shards % self.grain:
            raise ConfigError(
                f"{self.shards} shards a round do not divide into grains of {self.grain}. Choose run.grain among the "
                f"divisors of {self.shards}."
            )
        if self.grains > MAX_GRAINS:
            raise ConfigError(
                f"A round of {self.grains} grains is too large: a batch holds {MAX_GRAINS}. Set run.grain to at least "
                f"{ceil(self.shards / MAX_GRAINS)}."
            )

    @property
    def grains(self) -> int:
        """Grains of one round."""
        return self.shards // self.grain

    @property
    def longest_lease(self) -> int:
        """Shards of the longest lease."""
        return self.grain * min(self.training.max_grains, self.grains)

    @property
    def draw(self) -> float:
        """Probability that a lease is replicated, by chance or by the driver's call."""
        drawn = self.training.draw_bp / 10_000
        return 1 - (1 - drawn) * (1 - self.call)

    @property
    def fee(self) -> int:
        """One replica's fee."""
        return replica_fee(
            self.training.price,
            fee_percent=self.training.fee_percent,
            block_log2=self.training.block_log2,
            shards=self.longest_lease,
        )

    @property
    def lease(self) -> LeaseEconomics:
        """The longest lease: the one with the least stake for its price."""
        return self._lease(self.longest_lease)

    @property
    def averaging_stake(self) -> int:
        return self.averaging.stake_factor * self.averaging.price // 100

    @property
    def work(self) -> int:
        """Price of all the work of all rounds."""
        return self.rounds * (self.shards * self.training.price + self.averaging.price)

    @property
    def expected_fees(self) -> int:
        """Replica fees to expect, if every lease is one grain."""
        return int(self.rounds * self.grains * self.fee * self.draw)

    @property
    def round_reserve(self) -> int:
        """What one round reserves while it runs: its work, and a fee for every grain."""
        return self.shards * self.training.price + self.grains * self.fee + self.averaging.price

    @property
    def training_reserve(self) -> int:
        """The most that all training rounds can reserve: every grain replicated."""
        return self.rounds * (self.shards * self.training.price + self.grains * self.fee)

    @property
    def averaging_reserve(self) -> int:
        """Averaging is cheap and done again when it was done wrong, so some of it is kept in hand."""
        return (self.rounds + SPARE_AVERAGES) * self.averaging.price

    @property
    def overhead(self) -> float:
        """Expected replica fees over the price, if every lease is one grain."""
        least = self._lease(self.grain)
        return overhead(self.draw, shards=self.grain, block=least.block) * self.training.fee_percent / 100

    @property
    def verdict(self) -> Verdict:
        return verdict(self.lease)

    @property
    def exposure(self) -> int:
        """What may stand on unfinal results."""
        return unfinal_exposure(depth=self.depth, shards=self.shards, price=self.training.price)

    def escrow(self, chosen: int | None) -> tuple[int, int]:
        """What the training and the averaging task are given at the start.

        Raises ConfigError when the chosen sum does not cover the first round.
        """
        if chosen is None:
            return self.training_reserve, self.averaging_reserve
        first = self.round_reserve
        if chosen < first:
            raise ConfigError(
                f"An escrow of {format_amount(chosen)} TokenAI does not cover the first round, which reserves "
                f"{format_amount(first)}. Raise run.escrow or lower terms.price."
            )
        share = chosen * self.averaging_reserve // (self.training_reserve + self.averaging_reserve)
        averaging = max(self.averaging.price, min(share, chosen - first + self.averaging.price))
        return chosen - averaging, averaging

    def warnings(self) -> list[str]:
        """What a prudent requester would want to hear."""
        found = [] if self.verdict.sound else [self.verdict.text]
        stall = round_stall_probability(self.draw, self.grains)
        if self.grain == 1 and not self.call and stall > COMMON_STALL:
            found.append(
                f"{stall:.0%} of rounds will wait for a replica. Let the driver call whole rounds instead "
                f'(run.call = "{self.draw:.0%}", terms.draw = 0, terms.draw_delay = 3), or enlarge run.grain.'
            )
        if (short := steps_warning(self.steps)) is not None:
            found.append(short)
        return found

    def expected_seconds(self, *, step_seconds: float, nodes: int, block_seconds: float) -> float:
        """A rough time to the final result: compute of `nodes` equal nodes, the blocks of each round, one window."""
        waves = ceil(self.shards / max(1, nodes))
        blocks = ROUND_BLOCKS + self.training.draw_delay + self.draw * REPLICA_BLOCKS
        compute = self.steps * step_seconds * (waves + self.draw)
        return self.rounds * (compute + blocks * block_seconds) + self.training.challenge_seconds

    def _lease(self, shards: int) -> LeaseEconomics:
        return lease_economics(
            price=self.training.price,
            shards=shards,
            stake_factor=self.training.stake_factor,
            fee=self.fee,
            block_log2=self.training.block_log2,
            draw=self.draw,
        )
