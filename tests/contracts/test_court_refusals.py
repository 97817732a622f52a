"""What the court refuses: at every phase of games that meet them all, each part of every move made wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from court_stage import Courtroom, Duel, Sides, roots_of
from evm import Reverted
from liars import Lie, LyingEvidence, false_read, flipped_bit, outside_positions
from worlds import Sizes, World, long_world, nodes_of, wide_world, zoo_world

from orebit.dispute import Phase, Side
from orebit.dispute.moves import (
    Answer,
    Descend,
    Justify,
    Move,
    Name,
    Naming,
    NodeOpening,
    Pick,
    PickPartial,
    PostLeaf,
    PostPartials,
    PostTensor,
    PostTrace,
    Refute,
    Segment,
    Source,
    arguments,
)
from orebit.program.descriptor import Kind
from orebit.program.descriptor import Source as Origin

X = b"x" * 32
ZERO = bytes(32)
ANY = ""
Refusals = Iterator[tuple[str, Move, str]]
"""What is wrong with a move, the move, and the error's name (or any)."""


def of_entries(entries: Sequence[bytes]) -> Iterator[tuple[str, tuple[bytes, ...], str]]:
    given = tuple(entries)
    yield "one entry too many", (*given, X), "WrongCount"
    yield "a zero behind the count", (*given, ZERO), "WrongCount"
    if given:
        yield "one entry too few", given[:-1], "WrongCount"
        yield "a zero inside the count", (*given[:-1], ZERO), "ZeroEntry"


def of_path(path: Sequence[bytes], broken: str = "WrongOpening") -> Iterator[tuple[str, tuple[bytes, ...], str]]:
    given = tuple(path)
    yield "a longer path", (*given, ZERO), "WrongPathLength"
    if given:
        yield "a shorter path", given[:-1], "WrongPathLength"
        yield "another path", (X, *given[1:]), broken


def of_pick(pick: Pick, count: int) -> Iterator[tuple[str, Pick, str]]:
    yield "an entry outside the count", replace(pick, index=count), "OutsideCount"
    yield "an entry far outside", replace(pick, index=2**64 - 1), "OutsideCount"
    yield "another entry", replace(pick, entry=X), "WrongOpening"
    for words, path, error in of_path(pick.path):
        yield words, replace(pick, path=path), error
    if pick.index ^ 1 < count and pick.path:
        yield "another index", replace(pick, index=pick.index ^ 1), "WrongOpening"


def of_before(pick: Pick) -> Iterator[tuple[str, Pick, str]]:
    yield "another state before", replace(pick, before=X), "WrongOpening"
    if pick.index:
        yield "no state before", replace(pick, before=ZERO), "WrongOpening"
    for words, path, error in of_path(pick.before_path):
        yield f"{words} to the state before", replace(pick, before_path=path), error


def refusals(duel: Duel, move: Move) -> Refusals:
    """The move with each of its parts made wrong."""
    match move:
        case Answer():
            for words, path, error in of_path(move.path):
                yield words, replace(move, path=path), error
            for words, entries, error in of_entries(move.entries):
                yield words, replace(move, entries=entries), error
            yield "other checkpoints", replace(move, entries=(X, *move.entries[1:])), "WrongOpening"
        case Descend():
            yield from of_descend(duel, move)
        case PostTrace():
            yield from of_trace(duel, move)
        case PostTensor():
            yield from of_tensor(duel, move)
        case PostLeaf():
            for words, pick, error in of_pick(move.pick, -(-duel.state.tensor.size // 1024)):
                yield words, replace(move, pick=pick), error
            yield "a byte too few", replace(move, data=move.data[:-1]), "WrongLength"
            yield "a byte too many", replace(move, data=move.data + b"\0"), "WrongLength"
        case Name() | PostPartials() | Justify():
            yield from of_element(duel, move)
        case PickPartial():
            yield "one behind the last", replace(move, index=256), "OutsideCount"
            for words, segment, error in of_segment(move.segment):
                yield words, replace(move, segment=segment), error
        case Refute():
            yield from of_refutation(duel, move)
    yield from other_phases(duel, move)


def states_picked(duel: Duel) -> bool:
    state = duel.state
    return state.phase is Phase.STATES or (state.phase is Phase.CHECKPOINTS and state.last.level == 0)


def entries_posted(duel: Duel) -> int:
    """One behind the last entry that can be picked, on its own level."""
    return duel.state.last.first + len(duel.posted) // 32


def of_descend(duel: Duel, move: Descend) -> Refusals:
    for words, entries, error in of_entries(move.entries):
        yield words, replace(move, entries=entries), error
    if duel.state.phase is Phase.PICKED:
        same = (*move.entries[:-1], duel.state.last.root)
        yield "the defender's own state", replace(move, entries=same), "SameClaim"
        return
    count = entries_posted(duel)
    for words, pick, error in of_pick(move.pick, count):
        yield words, replace(move, pick=pick), error
    if states_picked(duel):
        for words, pick, error in of_before(move.pick):
            yield words, replace(move, pick=pick), error
        same = (*move.entries[:-1], move.pick.entry)
        yield "the opponent's own state", replace(move, entries=same), "SameClaim"
    if duel.state.last.first and duel.state.phase is not Phase.TRACE:
        yield "an entry left of the posting", replace(move, pick=replace(move.pick, index=0)), "OutsideCount"


def of_trace(duel: Duel, move: PostTrace) -> Refusals:
    if duel.state.phase is not Phase.PICKED:
        for words, pick, error in [*of_pick(move.pick, entries_posted(duel)), *of_before(move.pick)]:
            yield words, replace(move, pick=pick), error
    yield "another header", replace(move, header=b"\1" * 24), "WrongOpening"
    yield "another program", replace(move, nodes=X), "WrongOpening"
    for words, entries, error in of_entries(move.node_half):
        yield f"{words} among the nodes", replace(move, node_half=entries), error
    for words, entries, error in of_entries(move.state_half):
        yield f"{words} of the state", replace(move, state_half=entries), error


def of_tensor(duel: Duel, move: PostTensor) -> Refusals:
    for words, pick, error in of_pick(move.pick, entries_posted(duel)):
        yield words, replace(move, pick=pick), error
    node = move.node
    for words, path, error in of_path(node.path):
        yield f"{words} in the program", replace(move, node=replace(node, path=path)), error
    yield "another body", replace(move, node=replace(node, body=X)), "WrongOpening"
    yield "other operands", replace(move, node=replace(node, operands=b"\xff" * 4)), "WrongOpening"
    yield "another shape", replace(move, node=replace(node, head=node.head[:-1] + b"\1")), "WrongOpening"
    yield "the head and more", replace(move, node=replace(node, head=node.head + b"\1")), "WrongOpening"
    yield "less posted", replace(move, posting=move.posting[:-32]), ANY
    yield "more posted", replace(move, posting=move.posting + X), ANY
    yield "a part of an entry", replace(move, posting=move.posting + b"x"), ANY


def of_naming(naming: Naming) -> Iterator[tuple[str, Naming, str]]:
    yield "an element of another leaf", replace(naming, element=naming.element + 1024), "OutsideCount"
    yield "an element far away", replace(naming, element=2**64 - 1), "OutsideCount"
    yield "another word", replace(naming, word=X), "WrongOpening"
    for words, path, error in of_path(naming.path):
        yield f"{words} to the word", replace(naming, path=path), error


def of_element(duel: Duel, move: Name | PostPartials | Justify) -> Refusals:
    if duel.state.phase is Phase.LEAF:
        for words, naming, error in of_naming(move.naming):
            yield words, replace(move, naming=naming), error
    if isinstance(move, Name):
        return
    if duel.state.phase is Phase.LEAF:
        width, element = duel.state.tensor.width, move.naming.element
        offset = element * width % 1024
        theirs = int.from_bytes(duel.posted[offset : offset + width], "little")
        yield "the challenger's own value", replace(move, naming=replace(move.naming, y=theirs)), "SameClaim"
        other = replace(move.naming, y=move.naming.y ^ 1 if move.naming.y ^ 1 != theirs else move.naming.y ^ 2)
        yield "a value that nothing gives", replace(move, naming=other), "NotJustified"
    yield "another descriptor", replace(move, descriptor=move.descriptor[:-1] + b"\7"), ANY
    if isinstance(move, PostPartials):
        yield "a partial result too few", replace(move, results=move.results[:-8]), "WrongLength"
        yield "a partial result too many", replace(move, results=move.results + bytes(8)), "WrongLength"
        flipped = bytes([move.results[0] ^ 1]) + move.results[1:]
        yield "partial results of something else", replace(move, results=flipped), "NotJustified"
    else:
        yield "a read too few", replace(move, reads=move.reads[:-1]), "WrongLength"
        yield "a read too many", replace(move, reads=move.reads + b"\0"), "WrongLength"
        yield "more than a move's reads", replace(move, reads=bytes(2049)), "WrongLength"


def of_segment(segment: Segment) -> Iterator[tuple[str, Segment, str]]:
    yield "other bytes", replace(segment, data=segment.data[:-1] + b"\7\7"), "WrongOpening"
    yield "other hashes", replace(segment, hashes=(*segment.hashes, X)), "WrongOpening"


def of_refutation(duel: Duel, move: Refute) -> Refusals:
    value = duel.state.value
    yield "a position behind the range", replace(move, position=value.stop), "OutsideCount"
    if value.start:
        yield "a position before the range", replace(move, position=value.start - 1), "OutsideCount"
    yield "no such operand", replace(move, operand=32), ANY
    yield "other operands", replace(move, operands=b"\xff" * len(move.operands)), "WrongOpening"
    yield "another descriptor", replace(move, descriptor=move.descriptor[:-1] + b"\7"), ANY
    for words, segment, error in of_segment(move.segment):
        yield words, replace(move, segment=segment), error
    if move.source == Source():
        return
    source = move.source
    for words, path, error in of_path(source.path):
        yield f"{words} to the tensor", replace(move, source=replace(source, path=path)), error
    for words, path, error in of_path(source.leaf_path):
        yield f"{words} to the leaf", replace(move, source=replace(source, leaf_path=path)), error
    yield "another head", replace(move, source=replace(source, head=source.head[:-1] + b"\7")), "WrongOpening"
    yield "a byte too few", replace(move, source=replace(source, leaf=source.leaf[:-1])), "WrongLength"
    other = bytes([source.leaf[0] ^ 1]) + source.leaf[1:]
    yield "another leaf", replace(move, source=replace(source, leaf=other)), "WrongOpening"


def other_phases(duel: Duel, move: Move) -> Refusals:
    """Moves that do not answer what was posted last."""
    phase, turn = duel.state.phase, duel.state.turn
    hashes = {Phase.CHECKPOINTS, Phase.TRACE, Phase.NODES, Phase.NEW_STATE, Phase.TENSOR}
    section = states_picked(duel) or phase is Phase.PICKED
    if phase is not Phase.RESULT:
        yield "an answer", Answer((), ()), "WrongPhase"
    if phase not in hashes and not section:
        yield "a descent", Descend(Pick(), ()), "WrongPhase"
    if not section:
        yield "a trace", PostTrace(Pick(), bytes(24), ZERO, (), ()), "WrongPhase"
    if phase not in (Phase.TRACE, Phase.NODES, Phase.NEW_STATE):
        yield "a tensor", PostTensor(Pick(), NodeOpening(), b""), "WrongPhase"
    if phase is not Phase.TENSOR:
        yield "a leaf", PostLeaf(Pick(), b""), "WrongPhase"
    if phase is not Phase.LEAF or turn is Side.DEFENDER:
        yield "a name", Name(Naming()), "WrongPhase"
    if phase is not Phase.ELEMENT and not (phase is Phase.LEAF and turn is Side.DEFENDER):
        yield "reads", Justify(Naming(), b"", b""), "WrongPhase"
        yield "partial results", PostPartials(Naming(), b"", b""), "WrongPhase"
    if phase is not Phase.PARTIALS:
        yield "a pick of partial results", PickPartial(0, Segment(b"", ())), "WrongPhase"
    if phase is not Phase.READS:
        yield "a refutation", Refute(b"", b"", 0, 0, Segment(b"", ()), Source()), "WrongPhase"


def refused(duel: Duel, move: Move, sender: str | None = None) -> str:
    """The error's name; the move is only simulated."""
    function = getattr(duel.stage.court, move.call)
    try:
        function.simulate(duel.id, duel.values, *arguments(move), sender=sender or duel.mover)
    except Reverted as failure:
        return failure.name
    return "nothing"


def check_refusals(duel: Duel, move: Move) -> int:
    """Every wrong form of the move is refused, on the chain and by the rules."""
    count = 0
    for words, wrong, error in refusals(duel, move):
        name = refused(duel, wrong)
        context = f"{words} in {type(move).__name__} at {duel.state.phase.name}"
        assert name != "nothing", f"accepted: {context}"
        assert error in (ANY, name), f"{context}: {name}, not {error}"
        assert name != "Unknown", f"{context}: a bare revert"
        count += 1
    for stranger in (duel.stage.stranger, duel.node.operator if duel.mover == duel.challenger else duel.challenger):
        assert refused(duel, move, stranger) == "NotYourTurn"
    assert refused(duel, move) == "nothing"
    return count


def refuse_all(courtroom: Courtroom, sides: Sides, at: int | None = None) -> set[Phase]:
    """Plays a game and tries every wrong form of every move. What was posted."""
    accused = courtroom.accuse(sides.world, sides.claimed)
    duel = courtroom.open_game_by(accused, None if at is None else accused.open_at(at))
    honest, liar = sides.players(accused)
    while duel.winner is None:
        for player in (honest, liar):
            player.see(duel.rules.state, duel.posted)
        move = honest.move() if duel.state.turn is honest.side else liar.tries(duel.rules)
        if move is None:
            duel.concede()
            break
        assert check_refusals(duel, move) > 10
        duel.play(move)
    assert duel.winner is honest.side
    return {*duel.phases, duel.state.phase}


def last_node(world: World, step: int, element: int = 0) -> Lie:
    return flipped_bit(step, len(world.program.nodes) - 1, element, 0)


def many_tensors() -> World:
    return zoo_world(Sizes(width=3, terms=4, padding=150, states=40), steps=2, interval=2)


def long_sum(world: World) -> Lie:
    node = nodes_of(world.program, Kind.SUM)[-1]
    lie = false_read(world, 0, node, 1, 0, 1500, 3) or false_read(world, 0, node, 1, 0, 1500, 4)
    assert lie is not None
    return lie


GAMES: dict[str, tuple[Callable[[], World], Callable[[World], Lie], int | None, set[Phase]]] = {
    "checkpoints": (
        lambda: wide_world(3, steps=260, interval=2),
        lambda world: last_node(world, 128),
        None,
        {Phase.RESULT, Phase.CHECKPOINTS, Phase.STATES, Phase.TRACE},
    ),
    "an interval": (
        lambda: wide_world(3, steps=80, interval=40),
        lambda world: last_node(world, 45),
        1,
        {Phase.PICKED, Phase.STATES, Phase.TRACE},
    ),
    "leaves": (
        lambda: wide_world(129 * 256),
        lambda world: last_node(world, 1, 129 * 256 - 1),
        None,
        {Phase.TRACE, Phase.TENSOR, Phase.LEAF},
    ),
    "nodes": (
        many_tensors,
        lambda world: flipped_bit(1, world.program.header.inputs + 100, 0, 0),
        None,
        {Phase.TRACE, Phase.NODES},
    ),
    "new state": (many_tensors, lambda world: last_node(world, 1), None, {Phase.TRACE, Phase.NEW_STATE}),
    "partial results": (
        lambda: long_world(Kind.SUM, 2_000),
        long_sum,
        None,
        {Phase.LEAF, Phase.ELEMENT, Phase.PARTIALS},
    ),
}


@pytest.mark.parametrize("liar", list(Side), ids=["false-challenger", "false-defender"])
@pytest.mark.parametrize("game", GAMES)
def test_every_part_of_every_move(courtroom: Courtroom, liar: Side, game: str) -> None:
    made, told, at, phases = GAMES[game]
    world = made()
    assert refuse_all(courtroom, Sides(world, told(world), liar), at) >= phases


@pytest.mark.parametrize("source", ["state", "constant", "parameter", "node"])
def test_every_part_of_a_refutation(courtroom: Courtroom, source: str) -> None:
    """Of a read of each kind of producer."""
    world = zoo_world(steps=5, interval=2)
    sources = {each.name.lower(): world.program.inputs(each) for each in Origin} | {"node": world.program.operations}
    for node in world.program.operations:
        for operand, producer in enumerate(world.program.nodes[node].operands):
            if producer not in sources[source]:
                continue
            lie = read_falsely(world, node, operand)
            if lie is not None:
                assert Phase.READS in refuse_all(courtroom, Sides(world, lie, Side.DEFENDER))
                return
    raise AssertionError("no such read")


def read_falsely(world: World, node: int, operand: int) -> Lie | None:
    """An element inside the operand that was computed from another value."""
    descriptor = world.program.descriptor(node)
    raw = 0x41 << 8 * descriptor.operands[operand].dtype.size - 8
    for element in range(descriptor.size):
        for position in range(world.truth.trace(3).element(node, element).positions):
            lie = false_read(world, 3, node, element, operand, position, raw)
            inside = position not in outside_positions(world, node, element, operand)
            if lie is not None and inside and LyingEvidence(world, lie).roots != roots_of(world.truth):
                return lie
    return None
