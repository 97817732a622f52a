"""Gas of every kind of move at its largest, whole transactions, against `snapshots/court.json`; `make snapshots` writes
it anew. No move takes more than 300,000, and none more than it is worth (contracts/dispute/Schedule.sol)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from court_stage import GWEI, Courtroom, Duel, Sides, roots_of
from liars import KnownEvidence, Lie, false_read, flipped_bit
from test_validity import with_node
from worlds import Sizes, World, long_world, nodes_of, tall_world, wide_world, zoo_world

from orebit.commitment import merkle
from orebit.dispute import Side
from orebit.dispute.moves import plain
from orebit.dispute.validity import show_violation
from orebit.program.descriptor import Kind
from orebit.program.price import positions_per_move

SNAPSHOT = Path(__file__).resolve().parent.parent.parent / "snapshots" / "court.json"
WRITE = os.environ.get("OREBIT_SNAPSHOTS") == "write"
LONG = os.environ.get("OREBIT_LONG_TESTS") == "1"
ONLY_LONG = pytest.mark.skipif(not LONG, reason="runs with OREBIT_LONG_TESTS=1")

Record = Callable[..., None]


@pytest.fixture(scope="module")
def record() -> Iterator[Record]:
    """Compares a figure with the snapshot, or writes all of them at the end."""
    known: dict[str, int] = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.is_file() else {}
    seen: dict[str, int] = {}

    def note(limit: int = 300_000, **figures: int) -> None:
        seen.update(figures)
        for name, gas in figures.items():
            assert gas < limit, f"{name} takes {gas}"
            if not WRITE:
                assert known.get(name) == gas, (
                    f"{name} takes {gas}, the snapshot says {known.get(name)}: make snapshots"
                )

    yield note
    if WRITE:
        SNAPSHOT.write_text(json.dumps(dict(sorted((known | seen).items())), indent=2) + "\n")


@dataclass
class Played:
    """A game to its last move, at a price of one gwei: what its moves took, the opening included."""

    duel: Duel
    moves: list[tuple[str, int]]

    def most(self, call: str) -> int:
        return max(gas for name, gas in self.moves if name == call)

    @property
    def total(self) -> int:
        """Of both sides."""
        return sum(gas for _, gas in self.moves)


def played(courtroom: Courtroom, sides: Sides, at: int | None = None, size: int = 3) -> Played:
    """The honest side wins; each move is worth more than it took, but not much more."""
    accused = courtroom.accuse(sides.world, sides.claimed, position=size * 2 // 3, size=size)
    duel = courtroom.open_game_by(accused, None if at is None else accused.open_at(at), price=GWEI)
    honest, liar = sides.players(accused)
    moves = [("open" if at is None else "open_at", duel.opened.gas)]
    while duel.winner is None:
        costs, mover = duel.state.costs, duel.state.turn
        if not duel.step(honest, liar, price=GWEI):
            duel.concede()
            break
        name, gas = duel.moves[-1].call, duel.receipt.gas
        moves.append((name, gas))
        if duel.winner is None:
            worth = (duel.state.costs - costs) * 4 // 5 // GWEI
            assert bool(duel.receipt.named("Refunded")) == (mover is Side.DEFENDER)
            assert gas <= worth <= gas * 1.3 + 5_000, f"{name} took {gas} and is worth {worth}"
    assert duel.winner is honest.side
    return Played(duel, moves)


def both_ways(courtroom: Courtroom, world: World, lie: Lie, at: int | None = None, size: int = 3) -> list[Played]:
    """Whichever side lies."""
    games = []
    for liar in Side:
        with courtroom.chain.undone():
            courtroom.clear()
            games.append(played(courtroom, Sides(world, lie, liar), at, size))
    courtroom.clear()
    return games


def most(games: list[Played], call: str) -> int:
    return max(game.most(call) for game in games if any(name == call for name, _ in game.moves))


def last_node(world: World, step: int, element: int = 0) -> Lie:
    return flipped_bit(step, len(world.program.nodes) - 1, element, 0)


def misread(kind: Kind, terms: int) -> Sides:
    """A long reduction with one false read."""
    world = long_world(kind, terms)
    node = nodes_of(world.program, kind)[-1]
    operand = len(world.program.descriptor(node).operands) - 1
    lies = (false_read(world, 0, node, 1, operand, at, raw) for at in range(terms // 2, terms) for raw in (3, 127))
    return Sides(world, next(filter(None, lies)), Side.DEFENDER)


# Moves at their largest


def test_checkpoints(courtroom: Courtroom, record: Record) -> None:
    """128 of them, in a lease of 64 shards and a plan of 192."""
    world = wide_world(3, steps=128, interval=1)
    games = both_ways(courtroom, world, last_node(world, 127), size=64)
    record(open=most(games, "open"), answer_128=most(games, "answer"))


def test_states(courtroom: Courtroom, record: Record) -> None:
    world = wide_world(3, steps=256, interval=64)
    games = both_ways(courtroom, world, last_node(world, 255), at=3, size=64)
    record(open_at=most(games, "open_at"), descend_32_states=most(games, "descend"))


def test_trace(courtroom: Courtroom, record: Record) -> None:
    """128 nodes and 32 tensors of the state, below a state within a section."""
    world = zoo_world(Sizes(width=3, terms=4, padding=119, states=61), steps=64, interval=32)
    header = world.program.header
    assert (header.nodes - header.new_state, header.new_state) == (128, 64)
    node = header.inputs + 100
    games = both_ways(courtroom, world, flipped_bit(62, node, 0, 0))
    record(trace_128_32=most(games, "trace"))


def test_tensor(courtroom: Courtroom, record: Record) -> None:
    """16 MiB: 128 hashes twice, then a leaf."""
    world = wide_world(1 << 22, steps=1)
    games = both_ways(courtroom, world, last_node(world, 0, (1 << 22) - 1))
    record(tensor_128=most(games, "tensor"), descend_128=most(games, "descend"), leaf=most(games, "leaf"))


def test_partial_results(courtroom: Courtroom, record: Record) -> None:
    game = played(courtroom, misread(Kind.DOT, 2_000))
    record(name=game.most("name"), partials_256=game.most("partials"), pick_partial=game.most("pickPartial"))


@pytest.mark.parametrize("kind", [Kind.DOT, Kind.SUM, Kind.SCATTER_SUM, Kind.SCATTER_MAX])
def test_reads(courtroom: Courtroom, record: Record, kind: Kind) -> None:
    """As many as one move justifies."""
    small = long_world(kind, 2)
    terms = positions_per_move(small.program.descriptor(nodes_of(small.program, kind)[-1]))
    game = played(courtroom, misread(kind, terms))
    name = kind.name.lower()
    record(**{f"justify_{name}": game.most("justify"), f"refute_{name}": game.most("refute")})


# Whole games, of both sides


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("game_small_model", (1_000, 100, 290, 1 << 20, 2_000)),
        pytest.param("game_large_model", (1_000_000, 1_000, 12_000, 50_000_000, 2_000), marks=ONLY_LONG),
        pytest.param("game_longest", (1_000_000, 1_000, 12_000, 50_000_000, 150_000), marks=ONLY_LONG),
        pytest.param("game_two_rounds", (1_000_000, 1_000, 12_000, 50_000_000, 600_000), marks=ONLY_LONG),
    ],
)
def test_whole_games(courtroom: Courtroom, record: Record, name: str, shape: tuple[int, int, int, int, int]) -> None:
    """A false defender's, to its refutation, in a lease of 64 shards. Tensors of 8 and of 400 MB."""
    world = tall_world(*shape)
    world.__dict__["truth"] = KnownEvidence(world, None)
    sides = Sides(world, Lie(), Side.DEFENDER)
    sides.__dict__["lying"] = KnownEvidence(world, world.steps * 2 // 3 + 217)
    game = played(courtroom, sides, size=64)
    assert game.moves[-1][0] == "refute"
    record(limit=3_000_000, **{name: game.total})


@pytest.mark.parametrize("checkpoints", [1, 13, 128])
def test_a_node_that_answers_a_silent_challenger_loses_nothing(courtroom: Courtroom, checkpoints: int) -> None:
    """The answer and the timeout, by its operator at one gwei, against what both are paid."""
    world = wide_world(3, steps=checkpoints, interval=1)
    accused = courtroom.accuse(world, size=64)
    duel = courtroom.open_game_by(accused, price=GWEI)
    operator = accused.lease.node.operator
    before = courtroom.balance_of(operator)
    assert duel.step(*Sides(world, last_node(world, 0), Side.CHALLENGER).players(accused), price=GWEI)
    spent = duel.receipt.gas
    courtroom.pass_move(duel)
    spent += duel.timeout(operator, price=GWEI).gas
    gained = courtroom.balance_of(operator) - before
    paid = gained + spent * GWEI
    assert spent * GWEI < paid < spent * GWEI * 8 // 5, f"spent {spent}, was paid {paid // GWEI}"


# The rest


def test_ends(courtroom: Courtroom, record: Record) -> None:
    world = wide_world(3, steps=50, interval=4)
    sides = Sides(world, last_node(world, 21), Side.DEFENDER)
    accused = courtroom.accuse(world, sides.claimed, challengeSeconds=3000)
    challenger, court = courtroom.rich(courtroom.challenger), courtroom.court
    given = courtroom.precommit(accused, roots_of(world.truth))
    record(precommit=court.precommit(b"x" * 32, sender=challenger).gas)
    duel = courtroom.open_game_by(accused, accused.open_at(5, given))
    other = courtroom.open_game_by(accused, challenger=courtroom.rich(courtroom.stranger))
    with courtroom.chain.undone():
        courtroom.pass_move(duel)
        record(dismiss=duel.timeout().gas)
    assert duel.step(*sides.players(accused), price=GWEI) and duel.state.turn is Side.DEFENDER
    courtroom.pass_move(duel)
    record(convict=duel.timeout().gas)
    path = merkle.path(merkle.tree(roots_of(world.truth)), 5)
    record(
        claim=court.claim(duel.id, duel.values, path, bytes(32), sender=challenger).gas,
        return_bond=court.returnBond(other.id, other.values, sender=challenger).gas,
    )
    conviction = court.convictionOf(accused.lease.id)
    courtroom.pass_moment(conviction.blockNumber + 32, conviction.time + conviction.moveTime)
    record(settle=court.settle(accused.lease.id, 10, sender=challenger).gas)


def test_demand(courtroom: Courtroom, record: Record) -> None:
    world = wide_world(3, steps=256, interval=1)
    accused = courtroom.accuse(world, position=40, size=64)
    item = (accused.lease.id, 1, accused.position, 1)
    price = courtroom.court.demandPriceOf(accused.lease.node.id)
    sender = courtroom.rich(courtroom.stranger)
    record(demand=courtroom.court.demand(item, plain(accused.opening), sender=sender, value=price).gas)
    path = merkle.path(merkle.tree(accused.checkpoints), 128)[7:]
    given = (accused.checkpoints[128:], path, accused.result_path)
    answered = courtroom.court.answerDemand(item, *given, sender=accused.lease.node.operator, price=GWEI)
    record(answer_demand_128=answered.gas)


def test_deposit(courtroom: Courtroom, record: Record) -> None:
    alice = courtroom.node("alice")
    record(
        deposit=courtroom.court.deposit(alice.id, sender=alice.owner, value=1).gas,
        withdraw_deposit=courtroom.court.withdrawDeposit(alice.id, 1, sender=alice.owner).gas,
    )


def test_invalid(courtroom: Courtroom, record: Record) -> None:
    """A node that reads itself."""
    program = zoo_world().program
    number = len(program.nodes) - 1
    node = program.nodes[number]
    wrong = with_node(program, number, replace(node, operands=(number, *node.operands[1:])))
    world = World(replace(zoo_world().inputs, program=wrong), 4, 2)
    duel = courtroom.open_game_by(courtroom.accuse(world, [b"x" * 32] * 2))
    move = show_violation(wrong)
    assert move is not None
    record(invalid=duel.call(move, price=GWEI).gas)
