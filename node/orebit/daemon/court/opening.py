"""Opens the games that this node wants, as far as it can pay and keep their clocks: pre-commits first, then waits a
block, then opens by the shortest path."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orebit.chain.commitments import replica_log2
from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.chain.token import format_amount
from orebit.chain.types import LeaseId, LeaseInfo, LeaseState
from orebit.commitment import ListKind, list_root
from orebit.daemon.config import AuditSettings
from orebit.daemon.court.docket import OPENED, OVER, WANTED, Challenge, Docket
from orebit.daemon.court.proofs import BLOB_ERRORS, Proofs, opening_of, result_path
from orebit.daemon.court.prudence import Prudence
from orebit.daemon.decision import Clock, passed
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.daemon.view import View
from orebit.dispute import Opener, Precommitment, arguments, open_interval
from orebit.dispute.moves import Open
from orebit.errors import OrebitError, TransactionReverted
from orebit.store import LocalStore

log = structlog.get_logger(__name__)

GAS_RESERVE = 4_000_000
"""Gas of a whole game on this side, which must be affordable beside the bond."""


@dataclass
class Opening:
    """What opens games, and what it needs for that."""

    docket: Docket
    journal: Journal
    court: Court
    proofs: Proofs
    inputs: Inputs
    store: LocalStore
    sender: Sender
    view: View
    settings: AuditSettings
    prudence: Prudence
    node: int

    def __post_init__(self) -> None:
        self._told: set[tuple[LeaseId, int]] = set()
        self._sent: set[bytes] = set()

    async def look(self) -> None:
        """One round over all challenges that are wanted."""
        for challenge in self.docket.challenges(WANTED):
            try:
                await self._advance(challenge, await self.view.clock())
            except TransactionReverted as error:
                log.info("cannot open now", lease=str(challenge.lease), reason=str(error))
            except OrebitError as error:
                log.warning("cannot open a game; trying again", lease=str(challenge.lease), reason=str(error))

    async def _advance(self, challenge: Challenge, clock: Clock) -> None:
        lease = challenge.lease
        info = await self.view.lease(lease)
        batch = await self.view.market.batch_of(info.batch)
        terms = (await self.view.task(batch.task)).terms if batch.task else None
        if terms is None or info.state not in (LeaseState.REVEALED, LeaseState.CONTESTED) or passed(info, terms, clock):
            self.docket.move_challenge(challenge, OVER)
            log.info("too late to challenge", lease=str(lease), state=info.state.name.lower())
            return
        game = self.court.game_id(lease, info.root, challenge.position, self.sender.address)
        if self.docket.case(game) is not None:
            self.docket.move_challenge(challenge, OPENED)
            return
        peer = info.peer != 0 and info.peer.node == self.node
        if not peer and len(self._running()) >= self.settings.games:
            self._tell(challenge, "waiting: as many games are open as `audit.games` allows")
            return
        number = info.first_shard + challenge.position
        if (why := await self.prudence.objection(info.plan_root, number, 1, terms)) is not None:
            self._tell(challenge, why)
            return
        precommitment = await self._precommitted(challenge, info, clock, paired=peer)
        if precommitment is None:
            return
        bond = await self.court.bond_of(lease, self.sender.address)
        if not await self._affordable(challenge, bond, free=peer):
            return
        log2 = replica_log2(terms, info.grains * batch.size) if info.replica else None
        opener = self._opener(challenge, info, precommitment, log2)
        calldata = self.court.encode_opening(opener.call, arguments(opener))
        await self.sender.send(
            self.court.address, calldata, label=f"challenge of lease {lease}", key=f"open {game.hex()}", value=bond
        )
        self._sent.add(game)
        log.warning(
            "challenged", lease=str(lease), shard=challenge.position, reason=challenge.reason, bond=format_amount(bond)
        )

    def _running(self) -> set[bytes]:
        """Games of this node's own opening that are open, those among them of which no event has told yet."""
        self._sent = {game for game in self._sent if self.docket.case(game) is None}
        return self._sent | {case.game for case in self.docket.open_cases() if case.lease.node != self.node}

    def _tell(self, challenge: Challenge, why: str) -> None:
        key = challenge.lease, challenge.position
        if key not in self._told:
            self._told.add(key)
            log.warning("a wrong result is not challenged yet", lease=str(challenge.lease), reason=why)

    async def _affordable(self, challenge: Challenge, bond: int, *, free: bool) -> bool:
        """Whether the account can pay bond and gas, and the bond is within the owner's limit."""
        if not free and bond > self.settings.bond:
            self._tell(challenge, f"its bond of {format_amount(bond)} ETH is above `audit.bond`")
            return False
        head = await self.view.connection.head()
        needed = bond + GAS_RESERVE * (2 * head.base_fee + 1)
        held = await self.view.connection.ether_of(self.sender.address)
        if held < needed:
            self._tell(challenge, f"it takes {format_amount(needed)} ETH, and {format_amount(held)} are there")
            return False
        return True

    # Pre-commit

    async def _precommitted(
        self, challenge: Challenge, info: LeaseInfo, clock: Clock, *, paired: bool
    ) -> Precommitment | None:
        """What the opening shows of an earlier commit; None while it must wait for one."""
        if challenge.own is None:
            return Precommitment()
        own = list_root(ListKind.CHECKPOINTS, list(challenge.own))
        if paired:
            record = self._record(info.peer)
            hashes = self.proofs.results(record)
            position = challenge.first_shard + challenge.position - record.first_shard
            path = result_path(hashes, position, record.log2 if record.replica else None)
            return Precommitment(own, paired=True, path=path)
        lease, address = challenge.lease, self.sender.address
        hash_ = self.court.precommitment(lease, info.root, challenge.position, own, address, challenge.salt)
        order, block = await self.court.precommit_of(hash_)
        if order == 0:
            calldata = self.court.encode_precommit(hash_)
            label = f"pre-commit on lease {lease}"
            await self.sender.send(self.court.address, calldata, label=label, key=f"precommit {hash_.hex()}")
            return None
        return Precommitment(own, challenge.salt) if clock.block > block else None

    def _record(self, lease: LeaseId) -> LeaseRecord:
        return next(record for record in self.journal.leases() if record.lease == lease)

    # The opening itself

    def _opener(self, challenge: Challenge, info: LeaseInfo, precommitment: Precommitment, log2: int | None) -> Opener:
        """By one interval where the defender's checkpoints are known; `log2`: of a replica, its block's height."""
        plan = self.inputs.plan(info.plan_root)
        opening = opening_of(int(challenge.lease), challenge.position, plan, info.first_shard)
        if challenge.claimed is None or challenge.checkpoint is None:
            return Open(opening, precommitment)
        try:
            if log2 is None:
                hashes = self.store.list_entries(info.root, ListKind.RESULTS)
            else:
                hashes = self.store.block_entries(info.root, log2)
        except BLOB_ERRORS:
            return Open(opening, precommitment)
        path = result_path(hashes, challenge.position, log2)
        return open_interval(opening, precommitment, challenge.claimed, challenge.checkpoint, path)
