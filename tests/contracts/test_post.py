"""`post`: a batch and what it reserves."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import PLAN, WHOLE_LEASE, Stage

SHAPES = [
    # grains, size, maxGrains, blockLog2, feePercent
    (1, 1, 1, 0, 25),
    (64, 1, 1, 0, 25),
    (1, 64, 1, 0, 100),
    (2, 3, 4, 1, 61),
    (5, 3, 3, 13, 33),
    (7, 5, 4, WHOLE_LEASE, 1),
    (128, 64, 128, WHOLE_LEASE, 100),
    (128, 64, 128, 13, 0),
]


@pytest.mark.parametrize(("grains", "size", "most", "log2", "percent"), SHAPES)
def test_reserve(stage: Stage, grains: int, size: int, most: int, log2: int, percent: int) -> None:
    task = stage.task(escrow=10**26, maxGrains=most, blockLog2=log2, feePercent=percent)
    receipt = stage.market.post(task.id, PLAN, grains, size, sender=stage.requester)
    price = task.terms.price
    height = (size * min(most, grains) - 1).bit_length()
    fee = price * percent * 2 ** min(log2, height) // 100
    posted = receipt.one("BatchPosted")
    assert posted.reserved == grains * size * price + grains * fee
    assert (posted.batch, posted.task, posted.planRoot, posted.grains, posted.size) == (1, task.id, PLAN, grains, size)
    assert stage.escrow(task) == 10**26 - posted.reserved
    assert (stage.market.feeOf(1), stage.reserve(1)) == (fee, posted.reserved)
    info = stage.market.batchOf(1)
    assert (info.task, info.grains, info.size, info.planRoot) == (task.id, grains, size, PLAN)
    assert (info.free, info.unsettled, info.replicasPaid) == (2**grains - 1, grains, 0)
    assert info.posted == stage.chain.time
    assert stage.market.batchCount() == 1


@pytest.mark.parametrize(
    ("grains", "size", "term"), [(0, 1, "grains"), (129, 1, "grains"), (1, 0, "size"), (1, 65, "size")]
)
def test_shape_out_of_range(stage: Stage, grains: int, size: int, term: str) -> None:
    task = stage.task()
    value, most = (grains, 128) if term == "grains" else (size, 64)
    with reverts("TermOutOfRange", term, value, 1, most):
        stage.market.post(task.id, PLAN, grains, size, sender=stage.requester)


def test_escrow_short_by_a_wei(stage: Stage) -> None:
    task = stage.task()
    batch = stage.post(task)
    stage.market.withdrawEscrow(
        task.id, stage.escrow(task) - batch.reserved + 1, stage.requester, sender=stage.requester
    )
    with reverts("EscrowShort", task.id, batch.reserved, batch.reserved - 1):
        stage.post(task)
    stage.market.deposit(task.id, 1, sender=stage.fund(stage.stranger, 1))
    stage.post(task)
    assert stage.escrow(task) == 0


def test_price_beyond_all_tokens(stage: Stage) -> None:
    task = stage.task(price=2**96 - 1, feePercent=2**16 - 1, blockLog2=13, maxGrains=128)
    fee = (2**96 - 1) * (2**16 - 1) * 2**13 // 100
    needed = 128 * (64 * (2**96 - 1) + fee)
    with reverts("EscrowShort", task.id, needed, stage.escrow(task)):
        stage.post(task, grains=128, size=64)


def test_only_the_requester_posts(stage: Stage) -> None:
    task = stage.task(watcher=stage.watcher)
    for who in (stage.stranger, stage.watcher):
        with reverts("NotRequester", task.id, who):
            stage.market.post(task.id, PLAN, 1, 1, sender=who)
    with reverts("NotRequester", 9, stage.requester):
        stage.market.post(9, PLAN, 1, 1, sender=stage.requester)


def test_a_plan_has_a_root(stage: Stage) -> None:
    task = stage.task()
    with reverts("ZeroHash"):
        stage.market.post(task.id, bytes(32), 1, 1, sender=stage.requester)


def test_nothing_there(stage: Stage) -> None:
    info = stage.market.batchOf(1)
    assert set(vars(info).values()) == {0, bytes(32)}
