"""`create`, `deposit`, `withdrawEscrow`: a task's terms and its escrow."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from evm import Contract, address_of, reverts
from market_steps import ESCROW, OPEN, Stage, Terms, person

DAY = 86_400
UINT24, UINT16, UINT96 = 2**24 - 1, 2**16 - 1, 2**96 - 1


def test_create(stage: Stage) -> None:
    terms = Terms(watcher=stage.watcher, flags=6)
    stage.fund(stage.requester, 1000)
    with stage.deltas(market=1000):
        receipt = stage.market.create(terms.values, "https://r.example", 1000, sender=stage.requester)
    created = receipt.one("TaskCreated")
    assert (created.task, created.requester, created.url) == (1, stage.requester, "https://r.example")
    assert vars(created.terms) == asdict(terms)
    assert vars(receipt.one("Deposited")) == {"task": 1, "from": stage.requester, "amount": 1000}
    info = stage.market.taskOf(1)
    assert (info.requester, info.escrow, vars(info.terms)) == (stage.requester, 1000, asdict(terms))
    assert stage.market.taskCount() == 1


def test_create_without_escrow(stage: Stage) -> None:
    receipt = stage.market.create(Terms().values, "", 0, sender=stage.stranger)
    assert not receipt.named("Deposited", "Transfer")
    assert stage.market.taskOf(1).escrow == 0


OUTSIDE = [
    ("price", 0, 1, UINT96),
    ("computeSeconds", 0, 1, UINT24),
    ("revealSeconds", 0, 1, UINT24),
    ("moveTime", 0, 1, DAY),
    ("moveTime", DAY + 1, 1, DAY),
    ("challengeSeconds", 0, 1, UINT24),
    ("stakeFactor", 0, 1, UINT16),
    ("lateBp", 99, 100, 2000),
    ("lateBp", 2001, 100, 2000),
    ("drawBp", 10_001, 0, 10_000),
    ("drawDelay", 0, 1, 255),
    ("lotteryBlocks", 0, 1, 200),
    ("lotteryBlocks", 201, 1, 200),
    ("blockLog2", 14, 0, 13),
    ("blockLog2", 254, 0, 13),
    ("maxGrains", 0, 1, 128),
    ("maxGrains", 129, 1, 128),
    ("flags", 8, 0, 7),
]


@pytest.mark.parametrize(("term", "value", "least", "most"), OUTSIDE)
def test_term_out_of_range(stage: Stage, term: str, value: int, least: int, most: int) -> None:
    with reverts("TermOutOfRange", term, value, least, most):
        stage.market.create(replace(Terms(), **{term: value}).values, "", 0, sender=stage.requester)


INSIDE = [
    {"price": 1},
    {"price": UINT96},
    {"computeSeconds": 1, "revealSeconds": 1, "challengeSeconds": 1, "moveTime": 1},
    {"computeSeconds": UINT24, "revealSeconds": UINT24, "challengeSeconds": UINT24, "moveTime": DAY},
    {"stakeFactor": 1, "lateBp": 100, "drawBp": 0, "feePercent": 0},
    {"stakeFactor": UINT16, "lateBp": 2000, "drawBp": 10_000, "feePercent": UINT16},
    {"drawDelay": 255, "lotteryBlocks": 200, "blockLog2": 13, "maxGrains": 128, "flags": 6, "revealDepth": 255},
    {"drawDelay": 1, "lotteryBlocks": 1, "blockLog2": 255, "maxGrains": 1},
]


@pytest.mark.parametrize("changes", INSIDE)
def test_extreme_terms(stage: Stage, changes: dict[str, Any]) -> None:
    terms = replace(Terms(), **changes)
    stage.market.create(terms.values, "", 0, sender=stage.requester)
    assert vars(stage.market.taskOf(1).terms) == asdict(terms)


@pytest.mark.parametrize("term", ["drawBp", "feePercent"])
def test_nobody_is_drawn_in_an_open_task(stage: Stage, term: str) -> None:
    terms = replace(Terms(flags=OPEN, feePercent=0), **{term: 1})
    with reverts("TermOutOfRange", term, 1, 0, 0):
        stage.market.create(terms.values, "", 0, sender=stage.requester)


@pytest.fixture
def strict_market(stage: Stage, deployed: Any, monkeypatch: pytest.MonkeyPatch) -> Contract:
    """A market as the deploy script makes it on a chain with a court, whose block hashes are weak."""
    import deploy

    optimism = 10
    monkeypatch.setenv("OREBIT_ARBITER", stage.arbiter.address)
    made = deploy.deploy(deployed.deployer, optimism)
    return Contract(stage.chain, made["market"], deployed.market.abi)


def test_policy_of_a_public_chain(stage: Stage, strict_market: Contract) -> None:
    assert vars(stage.market.policy()) == {
        "minMoveTime": 1,
        "maxMoveTime": DAY,
        "courtWindows": False,
        "weakBlockHashes": False,
    }
    assert vars(strict_market.policy()) == {
        "minMoveTime": 600,
        "maxMoveTime": DAY,
        "courtWindows": True,
        "weakBlockHashes": True,
    }
    terms = Terms(moveTime=600, computeSeconds=7, challengeSeconds=2407)
    strict_market.create(terms.values, "", 0, sender=stage.requester)
    with reverts("TermOutOfRange", "moveTime", 599, 600, DAY):
        strict_market.create(replace(terms, moveTime=599).values, "", 0, sender=stage.requester)
    with reverts("TermOutOfRange", "challengeSeconds", 2406, 2407, UINT24):
        strict_market.create(replace(terms, challengeSeconds=2406).values, "", 0, sender=stage.requester)
    with reverts("TermOutOfRange", "drawBp", 1, 0, 0):
        strict_market.create(replace(terms, drawBp=1).values, "", 0, sender=stage.requester)


def test_create_needs_tokens(stage: Stage) -> None:
    market = stage.market.address
    with reverts("ERC20InsufficientAllowance", market, 0, 5):
        stage.market.create(Terms().values, "", 5, sender=stage.requester)
    stage.fund(stage.requester, 4)
    with reverts("ERC20InsufficientBalance", stage.requester, 4, 5):
        stage.market.create(Terms().values, "", 5, sender=stage.requester)


def test_anyone_deposits(stage: Stage) -> None:
    task = stage.task()
    stage.fund(stage.stranger, 77)
    with stage.deltas(market=77):
        receipt = stage.market.deposit(task.id, 77, sender=stage.stranger)
    assert vars(receipt.one("Deposited")) == {"task": task.id, "from": stage.stranger, "amount": 77}
    assert stage.escrow(task) == ESCROW + 77


def test_deposit_to_nobody(stage: Stage) -> None:
    for task in (0, 1):
        with reverts("UnknownTask", task):
            stage.market.deposit(task, 1, sender=stage.requester)


def test_deposit_cannot_overflow(stage: Stage) -> None:
    task = stage.task()
    with reverts("Panic", 0x11):
        stage.market.deposit(task.id, UINT96, sender=stage.requester)


def test_withdraw_escrow(stage: Stage) -> None:
    task = stage.task()
    with stage.deltas(market=-30):
        receipt = stage.market.withdrawEscrow(task.id, 30, stage.stranger, sender=stage.requester)
    assert vars(receipt.one("EscrowWithdrawn")) == {"task": task.id, "to": stage.stranger, "amount": 30}
    assert stage.escrow(task) == ESCROW - 30
    assert stage.token.balanceOf(stage.stranger) == 30
    with reverts("EscrowShort", task.id, ESCROW, ESCROW - 30):
        stage.market.withdrawEscrow(task.id, ESCROW, stage.requester, sender=stage.requester)
    stage.market.withdrawEscrow(task.id, ESCROW - 30, stage.requester, sender=stage.requester)
    assert stage.escrow(task) == 0


def test_only_the_requester_withdraws_escrow(stage: Stage) -> None:
    task = stage.task(watcher=stage.watcher)
    for thief in (stage.stranger, stage.watcher, stage.guardian, stage.arbiter):
        with reverts("NotRequester", task.id, address_of(thief)):
            stage.market.withdrawEscrow(task.id, 1, address_of(thief), sender=thief)
    with reverts("NotRequester", 0, stage.stranger):
        stage.market.withdrawEscrow(0, 0, stage.stranger, sender=stage.stranger)


def test_escrow_never_goes_nowhere(stage: Stage) -> None:
    task = stage.task()
    with reverts("ERC20InvalidReceiver", "0x" + "00" * 20):
        stage.market.withdrawEscrow(task.id, 1, "0x" + "00" * 20, sender=stage.requester)


def test_reserved_escrow_stays(stage: Stage) -> None:
    task = stage.task(escrow=10**20)
    batch = stage.post(task)
    left = 10**20 - batch.reserved
    with reverts("EscrowShort", task.id, left + 1, left):
        stage.market.withdrawEscrow(task.id, left + 1, stage.requester, sender=stage.requester)
    stage.market.withdrawEscrow(task.id, left, stage.requester, sender=stage.requester)


def test_two_requesters_two_escrows(stage: Stage) -> None:
    mine, theirs = stage.task(), stage.task(requester=person("another"), escrow=5)
    with reverts("NotRequester", theirs.id, stage.requester):
        stage.market.withdrawEscrow(theirs.id, 5, stage.requester, sender=stage.requester)
    assert (stage.escrow(mine), stage.escrow(theirs)) == (ESCROW, 5)
