"""Games on a real chain between real daemons: a fraud ends in a conviction, a false accusation in a burnt bond."""

from __future__ import annotations

import asyncio

import pytest
from crowd import Crowd
from local_chain import ROOT
from rigs import Network

from orebit.chain import court_events, events
from orebit.dispute import Phase, parse_state

pytestmark = pytest.mark.timeout(120)

CHEAT = str(ROOT / "scripts" / "cheating_node.py")
AUDIT = ("-c", "from orebit.cli.node import app; app(['run', '--audit'])")


async def test_a_wrong_bit_is_proven_by_an_auditor_that_was_killed_in_between(network: Network) -> None:
    cheat = await network.add_rig("cheat")
    auditor = await network.add_rig("auditor", stake=0, audit={"intervals": 4})
    cheat.start(CHEAT, "wrong-bit")
    auditor.start(*AUDIT)
    async with network.requester() as requester:
        task = await requester.create(challenge_seconds=40, move_time=30)
        await requester.post(task, grains=1)
        await requester.follow(lambda: len(requester.of(court_events.Moved)) > 1, 60)
        auditor.kill()
        auditor.start(*AUDIT)
        await requester.follow(lambda: bool(requester.of(court_events.Convicted)), 60)
        (convicted,) = requester.of(court_events.Convicted)
        assert convicted.lease.node == cheat.node
        assert any(convicted.game), "by a proof"
        (slashed,) = requester.of(events.Slashed)
        assert convicted.bounty == slashed.bounty > 0
        (returned,) = requester.of(court_events.BondReturned)
        assert returned.to == auditor.address
        moves = requester.of(court_events.Moved)
        assert parse_state(moves[-1].state).phase is Phase.READS, "what was refuted are reads"
        assert await requester.reconciled()
    await asyncio.sleep(1)
    assert cheat.status()["halted"]


async def test_a_false_accusation_costs_its_bond_and_the_defender_nothing(network: Network) -> None:
    honest = await network.add_rig("honest")
    accuser = await network.add_rig("accuser", stake=0)
    honest.start()
    accuser.start(CHEAT, "false-accuser")
    for rig in network.rigs:
        await rig.up()
    async with network.requester() as requester:
        task = await requester.create(challenge_seconds=12)
        batch, _ = await requester.post(task, grains=1)
        await requester.follow(lambda: bool(requester.of(court_events.Dismissed)), 60)
        await requester.follow(requester.settled(batch), 30)
        assert not requester.of(events.Slashed) and requester.of(events.Finalised)
        spent = sum(event.amount for event in requester.of(court_events.Refunded))
        (dismissed,) = requester.of(court_events.Dismissed)
        (opened,) = requester.of(court_events.Opened)
        assert opened.bond == spent + dismissed.burnt and spent > 0
        assert await requester.reconciled()


CROWD = 20


async def test_a_node_keeps_its_stake_against_twenty_false_challengers_at_once_and_earns(network: Network) -> None:
    """They open in one moment, each with another false run; some fall silent at once, some go on to the last read."""
    honest = await network.add_rig("honest")
    honest.start()
    await honest.up()
    async with network.requester() as requester:
        task = await requester.create(challenge_seconds=20, move_time=4)
        batch, plan = await requester.post(task, grains=1)
        await requester.follow(lambda: bool(requester.of(events.Revealed)), 60)
        (revealed,) = requester.of(events.Revealed)
        crowd = Crowd.against(requester, revealed.lease, plan, CROWD)
        stake = (await requester.registry.node_of(honest.node)).stake
        before = network.ether_of(honest)
        await crowd.open()

        def decided() -> bool:
            crowd.play()
            return len(requester.of(court_events.Dismissed)) == CROWD

        await requester.follow(decided, 60)
        await requester.follow(requester.settled(batch), 40)
        earned = network.ether_of(honest) - before
        refunded = sum(event.amount for event in requester.of(court_events.Refunded))
        assert 0 < earned < refunded, "more than all its transactions cost, the timeouts included"
        assert not requester.of(court_events.Convicted) and not requester.of(events.Slashed)
        assert (await requester.registry.node_of(honest.node)).stake == stake
        (paid,) = requester.of(events.Finalised)
        assert paid.lease == revealed.lease and paid.paid > 0
        assert await requester.reconciled()
        opened = requester.of(court_events.Opened)
        assert len({each.challenger for each in opened}) == len({each.game for each in opened}) == CROWD
        assert opened[-1].bond == 2 * opened[0].bond, "sixteen were open"
        assert max(parse_state(moved.state).phase for moved in requester.of(court_events.Moved)) is Phase.READS
