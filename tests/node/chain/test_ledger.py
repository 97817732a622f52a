"""Books against storage after every way that a lease can end, on the real contracts."""

from __future__ import annotations

from dataclasses import replace as replaced
from pathlib import Path

import pytest
from local_chain import Anvil
from stage import Stage, open_stage, result_hashes

from orebit.chain.cursor import Position
from orebit.chain.deployment import Deployment
from orebit.chain.events import Event, Finalised
from orebit.chain.ledger import Ledger, Outcome
from orebit.chain.reader import EventReader
from orebit.chain.reconciliation import Reconciler, Reconciliation
from orebit.chain.token import UNIT
from orebit.chain.types import LeaseId, LeaseState
from orebit.commitment import ListKind, list_root
from orebit.errors import ChainError

RIGHT = result_hashes("right", 4)
WRONG = result_hashes("wrong", 4)


def root(hashes: list[bytes]) -> bytes:
    return list_root(ListKind.RESULTS, hashes)


async def history(stage: Stage, path: Path) -> tuple[list[Event], Position]:
    reader = EventReader(stage.connection, path, contracts=("TaskMarket", "NodeRegistry", "TokenAI", "MajorityArbiter"))
    events: list[Event] = []
    while (delivery := await reader.poll()) is not None:
        events += delivery.events
        reader.acknowledge(delivery)
    assert reader.position is not None
    return events, reader.position


async def audit(stage: Stage, path: Path) -> tuple[Ledger, Reconciliation]:
    events, block = await history(stage, path)
    ledger = Ledger(stage.deployment)
    ledger.apply_all(events)
    return ledger, await Reconciler(ledger, stage.connection, block).run()


def pair(stage: Stage, batch: int, first: int, primary: list[bytes], replica: list[bytes]) -> tuple[LeaseId, LeaseId]:
    """A lease of one grain of four shards and its replica, both committed and revealed."""
    lease = stage.lease(batch, 1, first=first, slot=first)
    stage.commit(lease, root(primary))
    stage.chain.mine(12)
    taken = stage.take(lease, 2, slot=first)
    index = stage.drawn[taken]
    stage.commit(taken, replica[index])
    stage.reveal(taken, replica[index])
    stage.reveal_paired(lease, primary, index)
    return lease, taken


async def test_every_ending_reconciles_to_the_wei(anvil: Anvil, deployed: Deployment, tmp_path: Path) -> None:
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=3)
    market = stage.market
    task = stage.create(price=UNIT // 3, draw_bp=10_000, max_grains=2, compute_seconds=100, reveal_seconds=100)
    batch = stage.post(task, grains=9, size=4)

    equal = pair(stage, batch, 0, RIGHT, RIGHT)
    slashed = pair(stage, batch, 1, WRONG, RIGHT)
    drawn = stage.drawn[slashed[1]]
    testimony = stage.arbiter.encode_testify(slashed[0], 3, RIGHT[drawn], [])
    stage.send(stage.owner(3), stage.arbiter.address, testimony)
    voided = pair(stage, batch, 2, WRONG, RIGHT)
    late = stage.lease(batch, 1, first=3, grains=2, slot=3)
    silent = stage.lease(batch, 1, first=5, slot=5)
    stage.commit(silent, root(RIGHT))
    deserted = stage.lease(batch, 1, first=6, slot=6)
    stage.commit(deserted, root(RIGHT))
    anvil.mine(12)
    witness = stage.take(deserted, 2, slot=6)
    stage.commit(witness, RIGHT[stage.drawn[witness]])
    stage.reveal(witness, RIGHT[stage.drawn[witness]])
    stage.pass_time(blocks=80)
    ended = [late, silent, deserted]
    stage.by_node(3, market.encode_expire(ended))
    stage.by_node(3, market.encode_resolve([voided[0]]))

    # The released replicas are owed their fees, with the primaries gone: the reserve must account for them.
    ledger, found = await audit(stage, tmp_path / "early.sqlite")
    assert found.differences == ()
    stage.pass_time(blocks=80)
    stage.by_node(3, market.encode_finalise([equal[0], slashed[1], witness]))
    live = stage.lease(batch, 3, first=7, slot=7)
    stage.by_requester(market.encode_close(batch))
    stage.by_node(1, market.encode_withdraw(1))
    stage.by_requester(market.encode_withdraw_escrow(task, UNIT, stage.accounts[7]))
    stage.send(stage.owner(3), stage.registry.address, stage.registry.encode_unbond(3, 5 * UNIT))
    gift = 123
    for receiver in (market.address, stage.registry.address):
        stage.send(stage.accounts[0], stage.token.address, stage.token.encode_transfer(receiver, gift))

    ledger, found = await audit(stage, tmp_path / "late.sqlite")
    assert found.differences == ()
    assert found.surplus == {"market": gift, "registry": gift, "arbiter": 0}
    book = ledger.tasks[task]
    assert book.conserved
    assert book.paid and book.penalties and book.burnt and book.refunded == UNIT and book.reserved
    outcomes = {
        lease: ledger.leases[lease].outcome for lease in (equal[0], equal[1], slashed[0], voided[1], late, live)
    }
    assert list(outcomes.values()) == [
        Outcome.FINAL,
        Outcome.FINAL,
        Outcome.SLASHED,
        Outcome.VOIDED,
        Outcome.EXPIRED,
        Outcome.LIVE,
    ]
    assert ledger.leases[silent].outcome is ledger.leases[deserted].outcome is Outcome.EXPIRED
    assert ledger.nodes[1].shards == 4 and ledger.nodes[2].replicas == 3
    assert (await market.lease_of(live)).state is LeaseState.LEASED
    await stage.connection.close()


async def test_a_missing_or_altered_event_is_found(anvil: Anvil, deployed: Deployment, tmp_path: Path) -> None:
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=1)
    task = stage.create(flags=1, draw_bp=0, fee_percent=0)
    lease = stage.lease(stage.post(task), 1)
    stage.by_node(1, stage.market.encode_reveal(lease, root(RIGHT), bytes(32)))
    stage.pass_time()
    stage.by_node(1, stage.market.encode_finalise([lease]))
    events, block = await history(stage, tmp_path / "r.sqlite")

    async def differences(told: list[Event]) -> str:
        ledger = Ledger(stage.deployment)
        ledger.apply_all(told)
        return "\n".join(map(str, (await Reconciler(ledger, stage.connection, block).run()).differences))

    assert await differences(events) == ""
    paid = next(event for event in events if isinstance(event, Finalised))
    without = [event for event in events if event is not paid]
    assert "balance" in await differences(without) and "locked" in await differences(without)
    more = [replaced(event, paid=paid.paid + 1) if event is paid else event for event in events]  # type: ignore[call-arg]  # every event here has the field
    assert "node 1: balance" in await differences(more) and "reserved" in await differences(more)
    with pytest.raises(ChainError, match="leaves events out"):
        await differences([event for event in events if type(event).__name__ != "Leased"])
    await stage.connection.close()
