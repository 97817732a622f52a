"""`multicall`: several calls as the caller; what is not a must may fail."""

from __future__ import annotations

import pytest
from evm import reverts
from market_steps import Stage, State

ALL = 2**256 - 1


def test_a_nodes_whole_cycle(stage: Stage) -> None:
    """Settle the old, reveal the last, commit this, lease the next: one transaction."""
    batch = stage.batch(grains=4, maxGrains=1)
    alice = stage.node("alice")
    market = stage.market
    old = stage.lease(batch, alice, first=0, grains=1, slot=0)
    stage.commit(old)
    stage.after_draw(old)
    stage.reveal(old)
    stage.pass_deadline(old)
    last, this = (stage.lease(batch, alice, first=i, grains=1, slot=i) for i in (1, 2))
    stage.commit(last)
    stage.after_draw(last)
    stage.chain.mine()
    calls = [
        market.finalise.encode([old.id]),
        market.reveal.encode(last.id, last.root, last.salt),
        market.commit.encode(this.id, stage.commitment(this)),
        market.lease.encode(batch.id, 3, 1, alice.id, 0),
    ]
    results = market.multicall.simulate(calls, ALL, sender=alice.operator)
    assert int.from_bytes(results[3], "big") == old.id + 1
    receipt = market.multicall(calls, ALL, sender=alice.operator)
    assert [event.name for event in receipt.events] == ["Finalised", "Revealed", "Committed", "Leased"]
    assert stage.state(last) is State.REVEALED and stage.state(this) is State.COMMITTED


def test_calls_as_the_caller(stage: Stage) -> None:
    batch = stage.batch()
    alice = stage.node("alice")
    call = stage.market.lease.encode(batch.id, 0, 1, alice.id, 0)
    with reverts("NotOperator", alice.id, stage.stranger):
        stage.market.multicall([call], ALL, sender=stage.stranger)
    stage.market.multicall([stage.market.multicall.encode([call], ALL)], ALL, sender=alice.operator)


@pytest.mark.parametrize("must", [0b101, 0])
def test_a_failure_outside_the_mask_is_recorded(stage: Stage, must: int) -> None:
    batch = stage.batch(grains=4)
    alice = stage.node("alice")
    calls = [stage.market.lease.encode(batch.id, first, 1, alice.id, first) for first in (0, 7, 1)]
    receipt = stage.market.multicall(calls, must, sender=alice.operator)
    (failed,) = receipt.named("CallFailed")
    refusal = stage.chain.reverted(failed.fields["reason"])
    assert failed.fields["index"] == 1
    assert (refusal.name, refusal.values) == ("GrainsNotFree", (batch.id, 7, 1, 0b1110))
    assert len(receipt.named("Leased")) == 2
    assert stage.node_info(alice).locked == 2 * batch.stake(2)


def test_a_must_reverts_all_with_its_own_error(stage: Stage) -> None:
    batch = stage.batch(grains=4)
    alice = stage.node("alice")
    calls = [stage.market.lease.encode(batch.id, first, 1, alice.id, first) for first in (0, 7)]
    with reverts("GrainsNotFree", batch.id, 7, 1, 0b1110):
        stage.market.multicall(calls, 0b10, sender=alice.operator)
    assert stage.free(batch) == 0b1111


def test_nonsense(stage: Stage) -> None:
    receipt = stage.market.multicall([b"", b"\x01\x02\x03\x04"], 0, sender=stage.stranger)
    assert [event.fields["index"] for event in receipt.named("CallFailed")] == [0, 1]
    assert not stage.market.multicall([], ALL, sender=stage.stranger).events


def test_calls_beyond_the_mask_are_no_musts(stage: Stage) -> None:
    failing = stage.market.withdraw.encode(1)
    receipt = stage.market.multicall([failing] * 257, 0, sender=stage.stranger)
    assert len(receipt.named("CallFailed")) == 257
    with reverts("NothingToWithdraw", 1):
        stage.market.multicall([failing] * 256, 1 << 255, sender=stage.stranger)


def test_nothing_is_payable(stage: Stage) -> None:
    rich = stage.chain.rpc("eth_accounts")[0]
    empty = "0x" + stage.market.multicall.encode([], 0).hex()
    call = {"from": rich, "to": stage.market.address, "data": empty}
    assert "result" in stage.chain.raw("eth_call", call, "latest")
    for contract in (stage.market, stage.registry, stage.arbiter, stage.token):
        for data in ("0x", empty):
            paying = {"from": rich, "to": contract.address, "data": data, "value": "0x1"}
            assert "error" in stage.chain.raw("eth_call", paying, "latest")
