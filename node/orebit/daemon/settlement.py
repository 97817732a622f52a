"""What nobody else may get round to: other nodes' overdue leases, and this node's earnings."""

from __future__ import annotations

import time

from orebit.chain.market import Market
from orebit.chain.types import LeaseId
from orebit.daemon.acts import Act
from orebit.daemon.config import NodeConfig
from orebit.daemon.decision import Clock, overdue
from orebit.daemon.journal import Journal
from orebit.daemon.view import View


class Settlement:
    """Ends strangers' overdue leases after a grace, since until then their batch cannot settle; withdraws."""

    def __init__(self, config: NodeConfig, journal: Journal, view: View, node: int) -> None:
        self._config = config
        self._journal = journal
        self._view = view
        self._market: Market = view.market
        self._node = node
        self._next_look = 0.0
        self.balance = 0
        """Wei of earnings that the market held when it was last asked."""

    async def acts(self, clock: Clock) -> list[Act]:
        """Expiries and resolutions of strangers' leases, looked for every few seconds, and a withdrawal."""
        acts = await self._withdrawal()
        if time.monotonic() < self._next_look:
            return acts
        self._next_look = time.monotonic() + max(self._config.poll_seconds, self._config.exit_grace_seconds / 4)
        expire: list[LeaseId] = []
        resolve: list[LeaseId] = []
        strangers = self._journal.strangers()
        infos = await self._view.leases(stranger.lease for stranger in strangers)
        for stranger in strangers:
            hint = self._journal.batch(stranger.batch)
            info = infos[stranger.lease]
            if info.state == 0:
                self._journal.forget_stranger(stranger.lease)
                continue
            if hint is None:
                continue
            terms = (await self._view.task(hint.task)).terms
            exit_ = overdue(info, terms, clock, self._config.exit_grace_seconds)
            if exit_ is not None:
                (resolve if exit_.resolve else expire).append(info.peer if exit_.on_peer else stranger.lease)
        if expire:
            acts.append(Act("expire", tuple(expire), self._market.encode_expire(expire)))
        if resolve:
            acts.append(Act("resolve", tuple(resolve), self._market.encode_resolve(resolve)))
        return acts

    async def _withdrawal(self) -> list[Act]:
        self.balance = await self._view.balance(self._node)
        if self.balance == 0 or self.balance <= self._config.withdraw_above:
            return []
        return [Act("withdraw", (), self._market.encode_withdraw(self._node))]
