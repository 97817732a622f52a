"""A gated task: its requester may bar a node from further primary leases, and from nothing else."""

from __future__ import annotations

from evm import reverts
from market_steps import GATED, Stage


def test_bar(stage: Stage) -> None:
    batch = stage.batch(flags=GATED)
    alice, bob = stage.nodes("alice", "bob")
    task = batch.task.id
    receipt = stage.market.bar(task, alice.id, True, sender=stage.requester)
    assert vars(receipt.one("NodeBarred")) == {"task": task, "node": alice.id, "barred": True}
    assert stage.market.isBarred(task, alice.id) and not stage.market.isBarred(task, bob.id)
    with reverts("NodeIsBarred", task, alice.id):
        stage.lease(batch, alice, grains=1)
    stage.lease(batch, bob, grains=1)
    stage.market.bar(task, alice.id, False, sender=stage.requester)
    stage.lease(batch, alice, first=1, grains=1)


def test_of_this_task_only(stage: Stage) -> None:
    gated, other = stage.batch(flags=GATED), stage.batch(flags=GATED)
    alice = stage.node("alice")
    stage.market.bar(gated.task.id, alice.id, True, sender=stage.requester)
    stage.lease(other, alice)


def test_only_where_it_was_said_from_the_start(stage: Stage) -> None:
    batch = stage.batch()
    with reverts("NotGated", batch.task.id):
        stage.market.bar(batch.task.id, 1, True, sender=stage.requester)


def test_only_the_requester(stage: Stage) -> None:
    batch = stage.batch(flags=GATED, watcher=stage.watcher)
    for who in (stage.stranger, stage.watcher, stage.guardian):
        with reverts("NotRequester", batch.task.id, who):
            stage.market.bar(batch.task.id, 1, True, sender=who)
    with reverts("NotRequester", 9, stage.requester):
        stage.market.bar(9, 1, True, sender=stage.requester)
