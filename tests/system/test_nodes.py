"""Real daemons on a real chain: work is leased, computed, checked, paid, and survives what happens to processes."""

from __future__ import annotations

import pytest
from rigs import Network, paid_twice

from orebit.chain import events
from orebit.chain.token import UNIT
from orebit.commitment import ListKind, list_root

pytestmark = pytest.mark.timeout(150)


async def test_leased_computed_revealed_and_paid(network: Network) -> None:
    rigs = [await network.add_rig("first"), await network.add_rig("second")]
    for rig in rigs:
        rig.start()
    async with network.requester() as requester:
        task = await requester.create()
        batch, plan = await requester.post(task, grains=4)
        await requester.follow(requester.settled(batch))
        final = requester.of(events.Finalised, batch)
        expected = requester.expected(plan)
        roots = {event.lease: event.root for event in final}
        for lease in requester.of(events.Leased, batch):
            covered = expected[lease.first : lease.first + lease.grains]
            assert roots[lease.lease] == list_root(ListKind.RESULTS, covered)
        assert sum(event.paid for event in final) == 4 * UNIT
        assert not paid_twice(final) and not requester.of(events.Expired)
        assert await requester.conserved()
    for rig in rigs:
        assert rig.stop() == 0
