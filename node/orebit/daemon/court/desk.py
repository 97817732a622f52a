"""Plays every game of this node by itself, whichever side it is on, and ends those whose opponent is silent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from eth_utils.crypto import keccak

from orebit.chain.court import Court
from orebit.chain.sender import Sender
from orebit.chain.types import DEADLINE_BLOCKS
from orebit.daemon.court.docket import Case, Docket, Played
from orebit.daemon.court.proofs import Proofs
from orebit.daemon.decision import Clock
from orebit.daemon.inputs import Inputs
from orebit.daemon.journal import Journal, LeaseRecord
from orebit.daemon.view import View
from orebit.dispute import Evidence, Move, Player, Side, arguments, describe, parse_state
from orebit.errors import IllegalMove, OrebitError, TransactionReverted

log = structlog.get_logger(__name__)

TRIES = 3
"""How often a move that the chain refused is made again."""

LONGEST_PAUSE = 16.0
"""Seconds at most between tries after a fault of this machine or software."""


@dataclass
class _Seat:
    """This node at one game: its player, and what the player has seen."""

    player: Player
    evidence: Evidence
    seen: list[Played] = field(default_factory=list)
    answered: bytes = b""
    """The state that was answered last."""
    refused: int = 0


class Desk:
    """`halt` is told when this node cannot defend a result of its own."""

    def __init__(
        self,
        docket: Docket,
        journal: Journal,
        court: Court,
        proofs: Proofs,
        inputs: Inputs,
        sender: Sender,
        view: View,
        node: int,
        halt: Callable[[str], None],
    ) -> None:
        self._docket = docket
        self._journal = journal
        self._court = court
        self._proofs = proofs
        self._inputs = inputs
        self._sender = sender
        self._view = view
        self._node = node
        self._halt = halt
        self._seats: dict[bytes, _Seat] = {}
        self._busy: dict[bytes, asyncio.Task[None]] = {}
        self._machine = asyncio.Lock()
        self._lost: set[bytes] = set()
        self._faults: dict[bytes, int] = {}
        self._again: dict[bytes, float] = {}

    async def look(self) -> None:
        """One round: every move that is due, the most urgent first. Raises ChainError when no endpoint answers."""
        cases = self._docket.open_cases()
        if not cases:
            self._forget(set())
            return
        clock = await self._view.clock()
        pending = [(self._docket.moves(case.game), case) for case in cases if case.game not in self._busy]
        for moves, case in sorted(pending, key=lambda each: each[0][-1].deadline if each[0] else 0):
            if moves and case.game not in self._lost and self._again.get(case.game, 0.0) <= time.monotonic():
                self._busy[case.game] = asyncio.create_task(self._take(case, moves, clock))
        self._forget({case.game for case in cases})

    async def close(self) -> None:
        """Stops; whatever was sent is journalled."""
        for task in self._busy.values():
            task.cancel()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _forget(self, alive: set[bytes]) -> None:
        for game in [game for game in self._seats if game not in alive]:
            self._seats.pop(game).evidence.close()

    async def _take(self, case: Case, moves: list[Played], clock: Clock) -> None:
        """Whatever is due in one game."""
        try:
            state = parse_state(moves[-1].state)
            late = clock.timestamp > moves[-1].deadline and clock.block > moves[-1].block + DEADLINE_BLOCKS
            mine = state.turn is self._side(case)
            if late and not await self._is_current(case, moves[-1]):
                return  # the events are behind: after a restart, say
            if mine and late:
                self._lost.add(case.game)
                log.error("this node did not move in time, and has lost a game", game=case.game.hex())
            elif mine:
                await self._move(case, moves)
            elif late:
                await self._end_silence(case, moves[-1])
        except TransactionReverted as error:
            self._count_refusal(case, error)
        except OrebitError as error:
            log.warning("cannot move now; trying again", game=case.game.hex(), reason=str(error))
        except Exception:  # a stranger's program must not end the daemon, whatever it finds
            log.exception("cannot move, by a fault of this machine or software; trying again", game=case.game.hex())
            self._pause(case)
        finally:
            del self._busy[case.game]

    async def _is_current(self, case: Case, last: Played) -> bool:
        """Whether the game still stands as this node knows it."""
        return (await self._court.game_of(case.game)).state == keccak(last.state)

    def _side(self, case: Case) -> Side:
        return Side.DEFENDER if case.lease.node == self._node else Side.CHALLENGER

    def _count_refusal(self, case: Case, error: TransactionReverted) -> None:
        """The game may have moved on or ended meanwhile, which the next events tell."""
        log.info("a move was refused", game=case.game.hex(), reason=str(error))
        seat = self._seats.get(case.game)
        if seat is not None:
            seat.refused += 1
            if seat.refused < TRIES:
                seat.answered = b""

    def _pause(self, case: Case) -> None:
        """A full disk or memory may be had again before the clock has run out, and a stake is at risk: tries go on."""
        faults = self._faults[case.game] = self._faults.get(case.game, 0) + 1
        self._again[case.game] = time.monotonic() + min(2.0**faults / 4, LONGEST_PAUSE)

    async def _end_silence(self, case: Case, last: Played) -> None:
        calldata = self._court.encode_timeout(case.game, last.state)
        key = f"timeout {case.game.hex()} {last.block}"
        await self._sender.send(self._court.address, calldata, label=f"timeout of lease {case.lease}", key=key)
        log.info("the opponent did not move in time", lease=str(case.lease), game=case.game.hex())

    async def _move(self, case: Case, moves: list[Played]) -> None:
        answers = keccak(moves[-1].state)
        seat = self._seats.get(case.game)
        if seat is not None and seat.answered == answers:
            return
        async with self._machine:
            try:
                made, move, words = await asyncio.to_thread(self._compute, case, moves)
            except IllegalMove as error:
                self._give_up(case, error)
                return
        calldata = self._court.encode_move(move.call, case.game, moves[-1].state, arguments(move))
        key = f"move {case.game.hex()} {answers.hex()} {made.refused}"
        made.answered = answers
        receipt = await self._sender.send(self._court.address, calldata, label=f"court: {move.call}", key=key)
        log.info(
            "moved", lease=str(case.lease), game=case.game.hex(), move=move.call, about=words, gas=receipt.gas_used
        )

    def _give_up(self, case: Case, error: IllegalMove) -> None:
        self._lost.add(case.game)
        if self._side(case) is Side.DEFENDER:
            self._halt(f"this machine cannot defend lease {case.lease}: {error}")
        else:
            log.error("this challenge was wrong, and its bond is lost", lease=str(case.lease), reason=str(error))

    def _compute(self, case: Case, moves: list[Played]) -> tuple[_Seat, Move, str]:
        seat = self._seats.get(case.game)
        if seat is None or seat.seen != moves[: len(seat.seen)]:
            seat = self._sit(case, moves, seat)
            self._seats[case.game] = seat
        for played in moves[len(seat.seen) :]:
            state = parse_state(played.state)
            seat.player.see(state, played.posted)
            seat.seen.append(played)
        state = parse_state(moves[-1].state)
        return seat, seat.player.move(), describe(state, seat.evidence.program)

    def _sit(self, case: Case, moves: list[Played], old: _Seat | None) -> _Seat:
        """A player who has seen nothing yet; after a reorg with the evidence of the one before."""
        position = parse_state(moves[0].state).position
        evidence, path = self.evidence(case, position)
        if old is not None:
            evidence = old.evidence
        return _Seat(Player(self._side(case), evidence, path), evidence)

    def evidence(self, case: Case, position: int) -> tuple[Evidence, tuple[bytes, ...]]:
        """This side's evidence, and the defender's path from its result to the lease's root."""
        if case.lease.node == self._node:
            record = self._record(case)
            own = self._proofs.own(record, position)
            entry = self._inputs.plan(record.plan_root).shards[record.first_shard + position]
            return self._proofs.evidence(entry, own.checkpoints, own.checkpoints), own.result_path
        challenge = self._docket.challenge(case.lease, position)
        if challenge is None:
            raise IllegalMove("this node's journal has no challenge of that shard")
        entry = self._inputs.plan(challenge.plan_root).shards[challenge.first_shard + position]
        # Of an interval that was executed again, nothing from its end on is known to be right.
        trusted = (challenge.own or ())[: challenge.checkpoint]
        return self._proofs.evidence(entry, challenge.own, trusted), ()

    def _record(self, case: Case) -> LeaseRecord:
        everything = [*self._journal.leases(), *self._journal.leases(closed=True)]
        found = next((record for record in everything if record.lease == case.lease), None)
        if found is None:
            raise IllegalMove(f"this node's journal lacks lease {case.lease}")
        return found
