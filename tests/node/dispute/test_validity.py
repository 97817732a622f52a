"""A program that is not valid loses its challenger the game; of a valid one nothing can be shown."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from worlds import Sizes, World, random_world, zoo_world

from orebit.dispute import Evidence, Game, Player, Side
from orebit.dispute.moves import NodeOpening, Open, ShowInvalid
from orebit.dispute.validity import Place, opening, producer_of, show_violation, violates
from orebit.errors import IllegalMove, ProgramError
from orebit.program.check import Clause, violations
from orebit.program.descriptor import Descriptor
from orebit.program.graph import Header, Node, Program


def broken(program: Program, rng: random.Random) -> Iterator[Program]:
    """The program with a node, a descriptor or a count that is another."""
    for number, node in enumerate(program.nodes):
        for place in range(len(node.operands)):
            for other in (number, len(program.nodes) - 1, rng.randrange(len(program.nodes))):
                operands = (*node.operands[:place], other, *node.operands[place + 1 :])
                yield with_node(program, number, replace(node, operands=operands))
        yield with_node(program, number, Node(rng.randrange(len(program.descriptors)), node.operands))
        yield with_node(program, number, replace(node, operands=node.operands[1:]))
    for number, descriptor in enumerate(program.descriptors):
        for _ in range(6):
            data = bytearray(descriptor.encoded)
            data[rng.randrange(len(data))] = rng.choice((0, 1, 2, 5, 9, 0x7F, 0xFF))
            try:
                other = Descriptor.decode(bytes(data))
            except ProgramError:
                continue
            table = (*program.descriptors[:number], other, *program.descriptors[number + 1 :])
            yield Program(program.header, table, program.nodes)
    for changes in ({"new_state": 1}, {"state": 5}):
        yield Program(replace(program.header, **changes), program.descriptors, program.nodes)


def with_node(program: Program, number: int, node: Node) -> Program:
    return Program(program.header, program.descriptors, (*program.nodes[:number], node, *program.nodes[number + 1 :]))


def game_about(world: World, program: Program) -> tuple[Game, Evidence]:
    other = World(replace(world.inputs, program=program), world.steps, world.interval)
    claimed = [bytes([1] * 32)] * other.shard.checkpoints
    evidence = other.evidence(checkpoints=claimed)
    return Game(other.place.case(claimed), Open(other.place.opening())), evidence


def test_whatever_makes_a_program_invalid_is_shown() -> None:
    rng, found = random.Random(0), set()
    for world in (zoo_world(), random_world(3, 9)):
        for program in broken(world.program, rng):
            violation = next(violations(program), None)
            if violation is None:
                assert show_violation(program) is None
                continue
            game, evidence = game_about(world, program)
            player = Player(Side.DEFENDER, evidence)
            player.see(game.state, b"")
            move = player.move()
            assert isinstance(move, ShowInvalid)
            game.play(move)
            assert game.winner is Side.DEFENDER
            found.add(move.evidence.clause)
    assert len(found) >= 10, found


def test_of_a_valid_program_nothing_can_be_shown() -> None:
    world = zoo_world(Sizes(states=2))
    program, truth = world.program, world.truth
    claimed = [bytes([1] * 32)] * world.shard.checkpoints
    game = Game(world.place.case(claimed), Open(world.place.opening()))
    sample = show_violation(with_node(program, len(program.nodes) - 1, Node(0, ())))
    assert sample is not None
    for clause in Clause:
        for number in range(len(program.nodes)):
            for operand in range(max(1, len(program.nodes[number].operands))):
                move = showing(program, sample, clause, number, operand)
                with pytest.raises(IllegalMove, match="keeps clause"):
                    game.play(move)
    assert truth.program is program


def showing(program: Program, sample: ShowInvalid, clause: int, number: int, operand: int) -> ShowInvalid:
    descriptor, own = program.descriptor(number), opening(program, number)
    place = Place(
        program.header, number, descriptor.encoded, len(descriptor.head), program.nodes[number].operands, operand
    )
    wanted = producer_of(clause, place)
    evidence = replace(
        sample.evidence,
        clause=clause,
        header=program.header.encode(),
        nodes=program.tree[-1],
        node=number,
        descriptor=descriptor.encoded,
        head_length=len(descriptor.head),
        operands=own.operands,
        path=own.path,
        operand=operand,
        producer=NodeOpening() if wanted is None else opening(program, wanted),
    )
    return ShowInvalid(evidence)


def test_what_is_shown_must_be_the_program_s() -> None:
    world = zoo_world()
    program = with_node(world.program, 7, replace(world.program.nodes[7], operands=(0,) * 2))
    game, _ = game_about(world, program)
    move = show_violation(program)
    assert move is not None
    shown = move.evidence
    others = [
        replace(shown, header=replace(Header.decode(shown.header), nodes=3).encode()),
        replace(shown, nodes=bytes(32)),
        replace(shown, node=shown.node + 1),
        replace(shown, descriptor=shown.descriptor + b"\x00"),
        replace(shown, operands=shown.operands[4:]),
        replace(shown, path=shown.path[1:]),
        replace(shown, producer=opening(program, 3)),
    ]
    for other in others:
        with pytest.raises(IllegalMove):
            game.play(ShowInvalid(other))
    game.play(move)


def test_bytes_that_do_not_parse_are_malformed_and_nothing_else() -> None:
    header = Header(1, 0, 0, 1, 1)
    place = Place(header, 1, b"\x09\x00\x00", 3, (0,))
    assert violates(Clause.MALFORMED, place, None)
    assert not any(violates(clause, place, None) for clause in Clause if clause is not Clause.MALFORMED)
    valid = [
        Place(header, 1, descriptor.encoded, len(descriptor.head), ()) for descriptor in zoo_world().program.descriptors
    ]
    assert not any(violates(Clause.MALFORMED, place, None) for place in valid)
    assert all(violates(Clause.MALFORMED, replace(place, head_length=place.head_length + 1), None) for place in valid)
