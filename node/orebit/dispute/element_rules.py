"""The rules about one element: it is named, justified by what it reads, and one read is refuted."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256

from orebit.commitment import merkle
from orebit.commitment.head import TensorHead
from orebit.commitment.lists import ListKind
from orebit.commitment.merkle import LEAF_SIZE
from orebit.dispute import books, evaluator
from orebit.dispute.game import GameState, Phase, node_half
from orebit.dispute.moves import Justify, Name, Naming, PickPartial, PostPartials, Refute, Source
from orebit.dispute.postings import check_fold
from orebit.dispute.walk_rules import Result, list_address, require_phase
from orebit.errors import CommitmentError, IllegalMove, ProgramError
from orebit.program.descriptor import Descriptor
from orebit.program.price import PARTIAL_ROUNDS


def name(state: GameState, move: Name) -> Result:
    """The challenger names the false element of the defender's leaf."""
    require_phase(state, Phase.LEAF)
    y = _shown(state, move.naming)
    value = replace(state.value, element=move.naming.element, y=y)
    return replace(state, phase=Phase.ELEMENT, value=value), b""


def _shown(state: GameState, naming: Naming) -> int:
    """What the posted leaf holds at the element named."""
    tensor = state.tensor
    if not 0 <= naming.element < tensor.size // tensor.width:
        raise IllegalMove(f"the tensor has no element {naming.element}")
    if naming.element * tensor.width // LEAF_SIZE != state.value.leaf:
        raise IllegalMove(f"element {naming.element} is not in leaf {state.value.leaf}")
    return books.shown_element(naming, state.last.root, tensor.width)


def _claimed(state: GameState, naming: Naming) -> GameState:
    """The element and the claim that the defender justifies: as named, or as it names them now."""
    if state.phase is Phase.ELEMENT:
        return state
    require_phase(state, Phase.LEAF)
    if _shown(state, naming) == naming.y:
        raise IllegalMove("the claim is the opponent's own")
    return replace(state, value=replace(state.value, element=naming.element, y=naming.y))


def _opened(state: GameState, descriptor: bytes) -> Descriptor:
    """The disputed node's descriptor."""
    try:
        found = Descriptor.decode(descriptor)
    except ProgramError as error:
        raise IllegalMove(str(error)) from error
    if found.hash != state.tensor.descriptor:
        raise IllegalMove("this is another node's descriptor")
    return found


def _range(state: GameState, descriptor: Descriptor) -> tuple[int, int]:
    """The positions over which the claim is made."""
    value = state.value
    return (value.start, value.stop) if value.stop else (0, evaluator.positions_of(descriptor))


def justify(state: GameState, move: Justify) -> Result:
    """The defender posts what its claim reads."""
    at = _claimed(state, move.naming)
    descriptor = _opened(state, move.descriptor)
    start, stop = _range(at, descriptor)
    computed = evaluator.evaluate(descriptor, at.value.element, start, stop, move.reads)
    _require_result(at, computed)
    stride = evaluator.stride_of(descriptor)
    posted = books.segments_hash(move.reads, stride)
    value = replace(at.value, start=start, stop=stop, stride=stride, posted=posted)
    return replace(at, phase=Phase.READS, value=value), move.reads


def post_partials(state: GameState, move: PostPartials) -> Result:
    """The defender posts partial results of a long reduction."""
    at = _claimed(state, move.naming)
    descriptor = _opened(state, move.descriptor)
    start, stop = _range(at, descriptor)
    if stop - start < 2:
        raise IllegalMove(f"{stop - start} positions have no parts")
    if at.value.rounds >= PARTIAL_ROUNDS:
        raise IllegalMove(f"partial results are posted at most {PARTIAL_ROUNDS} times")
    _require_result(at, evaluator.combine(descriptor, start, stop, move.results))
    stride = evaluator.PARTIAL_BYTES
    value = replace(
        at.value,
        start=start,
        stop=stop,
        rounds=at.value.rounds + 1,
        stride=stride,
        posted=books.segments_hash(move.results, stride),
    )
    return replace(at, phase=Phase.PARTIALS, value=value), move.results


def _require_result(state: GameState, computed: int) -> None:
    if computed != state.value.y:
        raise IllegalMove(f"what was posted gives {computed}, not the {state.value.y} that is claimed")


def pick_partial(state: GameState, move: PickPartial) -> Result:
    """The challenger picks the partial result that is false."""
    require_phase(state, Phase.PARTIALS)
    bounds = evaluator.partial_bounds(state.value.start, state.value.stop)
    stride = evaluator.PARTIAL_BYTES
    shown = books.shown_position(move.segment, state.value.posted, stride, move.index, len(bounds) - 1)
    y = int.from_bytes(shown, "little")
    value = replace(state.value, y=y, start=bounds[move.index], stop=bounds[move.index + 1])
    return replace(state, phase=Phase.ELEMENT, value=value), b""


def refute(state: GameState, move: Refute) -> None:
    """The challenger shows that one read is false, and has won."""
    require_phase(state, Phase.READS)
    descriptor, value = _opened(state, move.descriptor), state.value
    if books.operands_hash(move.operands) != state.tensor.operands:
        raise IllegalMove("these are another node's operand numbers")
    count = value.stop - value.start
    row = books.shown_position(move.segment, value.posted, value.stride, move.position - value.start, count)
    read = evaluator.read_of(descriptor, value.element, move.position, row, move.operand)
    if not read.inside:
        if read.posted == read.fill:
            raise IllegalMove(f"the read is the fill, {read.fill}, as it should be")
        return
    numbers = struct.unpack(f"<{len(move.operands) // 4}I", move.operands)
    head = _source_head(state, numbers[move.operand], move.source)
    if head.dtype != read.dtype or head.size != read.elements * read.dtype.size:
        raise IllegalMove("the tensor shown has another type or number of elements than the operand")
    if _value(head, move.source, read.source, read.dtype.size) == read.posted:
        raise IllegalMove(f"the read is true: {read.posted}")


def _source_head(state: GameState, number: int, source: Source) -> TensorHead:
    """The head of operand `number`, shown under what binds it."""
    header = state.counts
    if number >= min(state.tensor.node, header.inputs + node_half(header)):
        raise IllegalMove(f"node {state.tensor.node} cannot read node {number}")
    root = sha256(source.head).digest()
    if number >= header.inputs:
        _check_output(state, number - header.inputs, root, source.path)
    else:
        _check_input(state, number, root, source)
    try:
        return TensorHead.decode(source.head)
    except CommitmentError as error:
        raise IllegalMove(str(error)) from error


def _check_output(state: GameState, index: int, root: bytes, path: tuple[bytes, ...]) -> None:
    """Left of every pick, hence agreed: under the deepest posting that covers it."""
    deepest = next(each for each in reversed(state.stack) if each.covers(index))
    check_fold(deepest.root, index - (deepest.first << deepest.level), root, path, deepest.level + deepest.depth)


def _check_input(state: GameState, number: int, root: bytes, source: Source) -> None:
    header = state.counts
    if number < header.state:
        kind, count, address = ListKind.STATE, header.state, state.pred
    else:
        if source.shard is None or source.shard.id != state.shard:
            raise IllegalMove("this is another shard")
        number -= header.state
        kind, count, address = ListKind.CONSTANTS, header.constants, source.shard.constants
        if number >= header.constants:
            number -= header.constants
            kind, count, address = ListKind.PARAMETERS, header.parameters, source.shard.parameters
    if len(source.path) != merkle.height(count):
        raise IllegalMove(f"a path of {len(source.path)} hashes in a list of {count}")
    if list_address(kind, count, merkle.fold(root, number, source.path)) != address:
        raise IllegalMove("the tensor shown is not the one that is agreed")


def _value(head: TensorHead, source: Source, element: int, width: int) -> int:
    """The element's bytes in the leaf shown, as a number."""
    index, at = divmod(element * width, LEAF_SIZE)
    if len(source.leaf) != min(LEAF_SIZE, head.size - index * LEAF_SIZE):
        raise IllegalMove(f"leaf {index} has another size")
    check_fold(head.raw_root, index, merkle.leaf_hash(source.leaf), source.leaf_path, merkle.height(head.leaves))
    return int.from_bytes(source.leaf[at : at + width], "little")
