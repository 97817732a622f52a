"""Accounts that accuse an honest node of anything, all at once, each with a bond of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from rigs import Requester

from orebit.chain import court_events
from orebit.chain.court import Court
from orebit.chain.types import LeaseId
from orebit.commitment import merkle
from orebit.dispute import Evidence, Inputs, Opening, Player, Side, arguments, parse_state
from orebit.dispute.moves import Open, Precommitment
from orebit.errors import IllegalMove
from orebit.program.graph import Program
from orebit.store import Plan

ETHER = 10**18
GAS = 2_000_000


def false_inputs(true: Inputs, kind: int) -> Inputs:
    """Wrong data, another rate, or another initial state."""
    match kind % 3:
        case 0:
            return replace(true, constants=[np.roll(each, 1) for each in true.constants])
        case 1:
            return replace(true, parameters=[each * np.float32(1.5) for each in true.parameters])
        case _:
            return replace(true, state=[each + np.float32(1) for each in true.state])


@dataclass
class Accuser:
    """One account, its false run, and after how many moves it falls silent."""

    address: str
    player: Player
    patience: int
    game: bytes = b""
    seen: int = 0
    """Moves of the game, its own and the defender's."""
    sent: list[str] = field(default_factory=list)
    """Transactions, the opening among them."""

    def answer(self, moves: list[Any], court: Court) -> bytes | None:
        """The calldata of its next move; None while nothing is new, or where it says nothing more."""
        new, self.seen = moves[self.seen :], len(moves)
        for moved in new:
            self.player.see(parse_state(moved.state), moved.posted)
        state = moves[-1].state
        if not new or parse_state(state).turn is not Side.CHALLENGER or len(self.sent) > self.patience:
            return None
        try:
            move = self.player.move()
        except IllegalMove:
            return None  # nothing is left that it could call wrong
        return court.encode_move(move.call, self.game, state, arguments(move))


@dataclass
class Crowd:
    """All of them, and one lease's only shard."""

    requester: Requester
    court: Court
    accusers: list[Accuser]
    opening: Opening

    @classmethod
    def against(cls, requester: Requester, lease: LeaseId, plan: Plan, count: int) -> Crowd:
        (entry,) = plan.shards
        store, court = requester.store, Court(requester.sender._connection)
        program = Program.decode(store.program(entry.program))
        tensors = [
            [store.tensor(root)[1] for root in roots] for roots in (entry.constants, entry.state, entry.parameters)
        ]
        true = Inputs(program, *tensors)
        accusers = []
        for number in range(count):
            address = to_checksum_address(keccak(b"accuser %d" % number)[:20])
            requester.network.chain.rpc("anvil_setBalance", address, hex(10 * ETHER))
            evidence = Evidence(entry.shard, false_inputs(true, number))
            accusers.append(Accuser(address, Player(Side.CHALLENGER, evidence), number % 5))
        path = tuple(merkle.path(merkle.tree([entry.shard.id]), 0))
        return cls(requester, court, accusers, Opening(int(lease), 0, entry.shard, path))

    async def open(self) -> None:
        """Every game in one block, at the dearest bond that so many cost; what is too much is credited."""
        lease, chain = LeaseId(self.opening.lease), self.requester.network.chain
        bond = await self.court.bond_of(lease, self.accusers[0].address) << len(self.accusers) // 16
        chain.rpc("anvil_autoImpersonateAccount", True)
        calldata = self.court.encode_opening("open", arguments(Open(self.opening, Precommitment())))
        for accuser in self.accusers:
            accuser.sent.append(self._send(accuser, calldata, bond))

    def play(self) -> None:
        """Whoever has a move to make, and has not fallen silent, makes it."""
        moves: dict[bytes, list[Any]] = {}
        for moved in self.requester.of(court_events.Moved):
            moves.setdefault(moved.game, []).append(moved)
        games = {opened.challenger: opened.game for opened in self.requester.of(court_events.Opened)}
        for accuser in self.accusers:
            accuser.game = games.get(accuser.address, b"")
            made = accuser.answer(moves[accuser.game], self.court) if accuser.game in moves else None
            if made is not None:
                accuser.sent.append(self._send(accuser, made, 0))

    def _send(self, accuser: Accuser, calldata: bytes, value: int) -> str:
        call = {"from": accuser.address, "to": self.court.address, "data": "0x" + calldata.hex()}
        call |= {"value": hex(value), "gas": hex(GAS)}
        return str(self.requester.network.chain.rpc("eth_sendTransaction", call))
