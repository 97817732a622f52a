"""What people are told of a dispute at every stage."""

from __future__ import annotations

import random

from liars import flipped_bit
from playing import against_challenger, against_defender
from worlds import Sizes, long_world, nodes_of, wide_world, zoo_world

from orebit.program.descriptor import Kind


def test_each_posting_narrows_it_down() -> None:
    world = wide_world(129 * 256, steps=300, interval=2)
    words = against_defender(world, flipped_bit(150, 1, 33_000, 3), random.Random(0)).words
    assert words == [
        "300 steps of shard 0",
        "steps 1 to 300",
        "steps 129 to 160",
        "steps 151 to 152",
        "step 151, node 1",
        "step 151, node 1: map, element 0 to element 33023",
        "step 151, node 1: map, element 32768 to element 33023",
        "step 151, node 1: map, element 32768 to element 33023",
        "step 151, node 1: map, element 33000",
    ]


def test_elements_have_rows_and_columns_and_long_ones_their_terms() -> None:
    world = zoo_world(Sizes(padding=150))
    words = against_challenger(world, flipped_bit(3, 7, 7 * 12 + 5, 1), random.Random(0)).words
    assert words == [
        "4 steps of shard 1",
        "steps 1 to 4",
        "steps 3 to 4",
        "step 4, nodes 6 to 167",
        "step 4, nodes 6 to 21",
        "step 4, node 7: dot, row 0, column 0 to row 11, column 11",
        "step 4, node 7: dot, row 0, column 0 to row 10, column 7",
        "step 4, node 7: dot, row 7, column 5",
    ]
    long = long_world(Kind.SUM, 2_000)
    (node,) = nodes_of(long.program, Kind.SUM)
    words = against_challenger(long, flipped_bit(0, node, 1, 3), random.Random(0)).words
    assert f"step 1, node {node}: sum, element 1, terms 0 to 1999" in words
