"""What a position narrows a dispute down to, in words: "step 417, node 38: dot, row 12, column 7"."""

from __future__ import annotations

from collections.abc import Sequence

from orebit.commitment.merkle import LEAF_SIZE, leaf_count
from orebit.dispute.evaluator import point_of
from orebit.dispute.game import GameState, Phase, Posting, interval_steps, node_half
from orebit.program.descriptor import Descriptor
from orebit.program.graph import Program


def describe(state: GameState, program: Program) -> str:
    """What is disputed by now, after the last posting."""
    match state.phase:
        case Phase.RESULT:
            return f"{_count(state.steps, 'step')} of shard {state.position}"
        case Phase.CHECKPOINTS:
            return _checkpoints(state)
        case Phase.PICKED | Phase.STATES:
            return _steps(state.first_step, state.last_step)
        case Phase.TRACE | Phase.NODES | Phase.NEW_STATE:
            return f"{_steps(state.first_step, state.last_step)}, {_nodes(state)}"
    return f"{_steps(state.first_step, state.last_step)}, {_tensor(state, program)}"


def _checkpoints(state: GameState) -> str:
    first, last = _covered(state.last, state.checkpoints)
    start, _ = interval_steps(first, state.steps, state.interval)
    _, stop = interval_steps(last, state.steps, state.interval)
    return _steps(start, stop)


def _covered(posting: Posting, count: int) -> tuple[int, int]:
    """First and last entry of the tree's lowest level below a posting."""
    first = posting.first << posting.level
    return first, min(first + (1 << posting.level + posting.depth), count) - 1


def _nodes(state: GameState) -> str:
    header = state.counts
    nodes, start, total = node_half(header), header.inputs, header.inputs + header.nodes
    if state.phase is Phase.TRACE:
        first, last = start, total - 1
    else:
        count = nodes if state.phase is Phase.NODES else header.new_state
        start += 0 if state.phase is Phase.NODES else nodes
        first, last = (start + each for each in _covered(state.last, count))
    return f"node {first}" if first == last else f"nodes {first} to {last}"


def _tensor(state: GameState, program: Program) -> str:
    tensor, value = state.tensor, state.value
    descriptor = program.descriptor(tensor.node)
    node = f"node {tensor.node}: {descriptor.kind.name.lower()}"
    if state.phase is Phase.TENSOR:
        first, last = _covered(state.last, leaf_count(tensor.size))
        return f"{node}, {_elements(descriptor, first, last)}"
    if state.phase is Phase.LEAF:
        return f"{node}, {_elements(descriptor, value.leaf, value.leaf)}"
    place = _point(point_of(value.element, descriptor.shape))
    if value.stop and state.phase is not Phase.READS:
        place += f", terms {value.start} to {value.stop - 1}"
    return f"{node}, {place}"


def _elements(descriptor: Descriptor, first_leaf: int, last_leaf: int) -> str:
    per_leaf = LEAF_SIZE // descriptor.dtype.size
    first, last = first_leaf * per_leaf, min((last_leaf + 1) * per_leaf, descriptor.size) - 1
    if descriptor.size == 1:
        return "its only element"
    return f"{_point(point_of(first, descriptor.shape))} to {_point(point_of(last, descriptor.shape))}"


def _point(point: Sequence[int]) -> str:
    if not point:
        return "its only element"
    if len(point) == 1:
        return f"element {point[0]}"
    if len(point) == 2:
        return f"row {point[0]}, column {point[1]}"
    return f"element [{', '.join(map(str, point))}]"


def _steps(first: int, last: int) -> str:
    """Steps are counted from 1 for people."""
    return f"step {last}" if last - first == 1 else f"steps {first + 1} to {last}"


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
