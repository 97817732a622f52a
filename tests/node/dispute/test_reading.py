"""What an element reads and amounts to: against the oracle on random programs, in parts, and in bounded pieces."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from worlds import long_world, nodes_of, random_world, zoo_world

import orebit.dispute.reading as reading
from orebit.dispute import evaluator
from orebit.dispute.evaluator import from_raw, partial_bounds, read_of, stride_of, to_raw
from orebit.dispute.reading import Element
from orebit.errors import IllegalMove
from orebit.executor.interpreter import evaluate_element, read
from orebit.program.descriptor import Descriptor, Kind


@pytest.mark.parametrize("seed", range(12))
def test_elements_of_random_programs_are_the_oracle_s(seed: int) -> None:
    world = random_world(seed, 9)
    trace, program = world.truth.trace(0), world.program
    for node in program.operations:
        descriptor, operands = program.descriptor(node), program.nodes[node].operands
        tensors = trace.tensors(operands)
        lists = [as_list_of(array) for array in tensors]
        output = trace.tensor(node).reshape(-1)
        for number, point in enumerate(product(*map(range, descriptor.shape))):
            element = Element(descriptor, tensors, number)
            true = to_raw(evaluate_element(descriptor, lists, point), descriptor.dtype)
            assert element.result(0, element.positions) == true == int(output.view(f"u{output.itemsize}")[number])
            reads = element.reads(0, element.positions)
            assert evaluator.evaluate(descriptor, number, 0, element.positions, reads) == true
            _check_reads(descriptor, lists, number, point, reads)


def as_list_of(array: np.ndarray) -> list[int]:
    """Raw values as the oracle takes them: an f32's bits, an integer."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return (flat.view(np.uint32) if flat.dtype == np.float32 else flat).tolist()


def _check_reads(
    descriptor: Descriptor, lists: list[list[int]], number: int, point: tuple[int, ...], reads: bytes
) -> None:
    stride = stride_of(descriptor)
    for position, inner in enumerate(product(*map(range, descriptor.reduction))):
        row = reads[position * stride : (position + 1) * stride]
        for place, operand in enumerate(descriptor.operands):
            found = read_of(descriptor, number, position, row, place)
            if descriptor.kind is Kind.GATHER and place == 1:
                index = read(descriptor.operands[0], lists[0], point)
                assert found.inside <= (0 <= index < operand.shape[0])
            else:
                wanted = read(operand, lists[place], (*point, *inner))
                assert from_raw(found.posted, operand.dtype) == wanted
            true = to_raw(lists[place][found.source], operand.dtype) if found.inside else found.fill
            assert found.posted == true


@pytest.mark.parametrize("kind", [Kind.DOT, Kind.SUM, Kind.MAX, Kind.SCATTER_SUM, Kind.SCATTER_MAX])
def test_partial_results_combine_however_they_are_cut(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world = long_world(kind, 1_000)
    node = nodes_of(world.program, kind)[-1]
    element, descriptor = world.truth.trace(0).element(node, 1), world.program.descriptor(node)
    whole = element.result(0, 1_000)
    assert evaluator.combine(descriptor, 0, 1_000, element.partials(0, 1_000)) == whole
    rng = random.Random(0)
    for _ in range(20):
        start = rng.randrange(990)
        stop = rng.randint(start + 2, min(1_000, start + 400))
        y = element.result(start, stop)
        assert evaluator.combine(descriptor, start, stop, element.partials(start, stop)) == y
        assert evaluator.evaluate(descriptor, 1, start, stop, element.reads(start, stop)) == y
    before = element.reads(0, 1_000)
    monkeypatch.setattr(reading, "AT_ONCE", 7)
    assert (element.result(0, 1_000), element.reads(0, 1_000)) == (whole, before)
    assert partial_bounds(3, 10) == list(range(3, 11)) and len(partial_bounds(0, 1_000)) == 257


def test_what_is_not_read_is_refused() -> None:
    world = zoo_world()
    (node,) = nodes_of(world.program, Kind.SUM)
    descriptor = world.program.descriptor(node)
    reads = world.truth.trace(0).element(node, 0).reads(0, 20)
    for element, start, stop, given in ((12, 0, 20, reads), (0, 0, 21, reads), (0, 5, 5, b""), (0, 0, 20, reads[1:])):
        with pytest.raises(IllegalMove):
            evaluator.evaluate(descriptor, element, start, stop, given)
    with pytest.raises(IllegalMove, match="no such reads"):
        read_of(descriptor, 0, 0, reads[:1], 1)
    with pytest.raises(IllegalMove, match="at most 2048"):
        long = long_world(Kind.SUM, 3_000)
        made = long.program.descriptor(nodes_of(long.program, Kind.SUM)[0])
        evaluator.evaluate(made, 0, 0, 2_049, bytes(2_049))
    with pytest.raises(IllegalMove, match="never computed"):
        evaluator.evaluate(world.program.descriptor(0), 0, 0, 1, b"")
