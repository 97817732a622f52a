"""The rules of the walk: from checkpoints to one leaf of one tensor. Each function gives the state after the move, the
turn not yet passed, and what the move posted; each raises IllegalMove where the contract reverts."""

from __future__ import annotations

import struct
from dataclasses import replace
from hashlib import sha256

from orebit.commitment import merkle
from orebit.commitment.head import TENSOR_TAG
from orebit.commitment.lists import ListHead, ListKind
from orebit.commitment.merkle import EMPTY, HASH_SIZE, LEAF_SIZE
from orebit.dispute import books
from orebit.dispute.game import (
    STATE_HALF_DEPTH,
    DisputedTensor,
    DisputedValue,
    GameState,
    Phase,
    Posting,
    Side,
    interval_steps,
    node_half,
    section_steps,
)
from orebit.dispute.moves import Descend, NodeOpening, Pick, PostLeaf, PostTensor, PostTrace
from orebit.dispute.postings import below, check_fold, check_under, rooted, top
from orebit.errors import CommitmentError, IllegalMove, ProgramError
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, decode_head, descriptor_hash
from orebit.program.graph import Header, node_leaf

HASH_PHASES = (Phase.CHECKPOINTS, Phase.TRACE, Phase.NODES, Phase.NEW_STATE, Phase.TENSOR)
Result = tuple[GameState, bytes]


def descend(state: GameState, move: Descend) -> Result:
    """Hashes below a picked hash, or the states of a picked section."""
    if state.phase is Phase.STATES or state.phase is Phase.PICKED or _picks_checkpoint(state):
        return _post_states(state, move)
    require_phase(state, *HASH_PHASES)
    posting, phase, index, count = _picked(state, move.pick)
    if posting.level == 0:
        raise IllegalMove("the hash picked is of the lowest level; what it is the root of is posted by another move")
    check_under(posting, index, move.pick.entry, move.pick.path)
    made = rooted(below(posting, index), count, move.entries)
    require_other(made.root, move.pick.entry)
    stack = state.stack
    if state.phase in (Phase.CHECKPOINTS, Phase.NODES):
        stack = (*stack, state.last)
    return replace(state, phase=phase, last=made, stack=stack), b"".join(move.entries)


def _picks_checkpoint(state: GameState) -> bool:
    return state.phase is Phase.CHECKPOINTS and state.last.level == 0


def _picked(state: GameState, pick: Pick) -> tuple[Posting, Phase, int, int]:
    """The posting in which a hash is picked, what its tree is, the hash's index there, and the tree's count."""
    index, posting, phase = pick.index, state.last, state.phase
    if phase is Phase.CHECKPOINTS:
        count = state.checkpoints
    elif phase is Phase.TENSOR:
        count = merkle.leaf_count(state.tensor.size)
    else:
        nodes, new = node_half(state.counts), state.counts.new_state
        if phase is Phase.TRACE:
            half = state.stack[0].entries(nodes) if state.stack else 0
            phase = Phase.NODES if index < half else Phase.NEW_STATE
            posting, index = (state.stack[0], index) if index < half else (posting, index - half)
        count = nodes if phase is Phase.NODES else new
    if not posting.first <= index < posting.first + posting.entries(count):
        raise IllegalMove(f"entry {pick.index} was not among those posted")
    return posting, phase, index, count


def _section(state: GameState, pick: Pick) -> tuple[GameState, bytes]:
    """The state at a picked section, and the state root that was picked: the opponent's claim after its last step."""
    if state.phase is Phase.PICKED:
        return state, state.last.root  # picked at the opening
    if _picks_checkpoint(state):
        return _pick_checkpoint(state, pick), pick.entry
    require_phase(state, Phase.STATES)
    steps = section_steps(state.first_step, state.last_step)
    if not 0 <= pick.index < len(steps):
        raise IllegalMove(f"there is no state {pick.index} among {len(steps)}")
    check_under(state.last, pick.index, pick.entry, pick.path)
    if pick.index == 0:
        _refuse_before(pick)
        return replace(state, last_step=steps[0]), pick.entry
    check_under(state.last, pick.index - 1, pick.before, pick.before_path)
    first, last = steps[pick.index - 1], steps[pick.index]
    return replace(state, pred=pick.before, first_step=first, last_step=last), pick.entry


def _pick_checkpoint(state: GameState, pick: Pick) -> GameState:
    posting, _, index, _ = _picked(state, pick)
    check_under(posting, index, pick.entry, pick.path)
    first, last = interval_steps(index, state.steps, state.interval)
    pred = state.pred
    if index == 0:
        _refuse_before(pick)
    else:
        left = index - 1
        deepest = next(each for each in (state.last, *reversed(state.stack)) if each.covers(left))
        height = deepest.level + deepest.depth
        check_fold(deepest.root, left - (deepest.first << deepest.level), pick.before, pick.before_path, height)
        pred = pick.before
    entry = pick.entry if state.turn is Side.DEFENDER else EMPTY
    return replace(state, pred=pred, first_step=first, last_step=last, checkpoint=index, entry=entry, stack=())


def _refuse_before(pick: Pick) -> None:
    """Left of the first state is what is agreed already."""
    if pick.before != EMPTY or pick.before_path:
        raise IllegalMove("nothing stands left of the first entry")


def _own_entry(state: GameState, posted: bytes) -> bytes:
    """The challenger's state root at the disputed checkpoint: what it posts first below one that it picked."""
    return posted if state.entry == EMPTY and state.turn is Side.CHALLENGER else state.entry


def _post_states(state: GameState, move: Descend) -> Result:
    at, claim = _section(state, move.pick)
    steps = section_steps(at.first_step, at.last_step)
    if at.last_step - at.first_step < 2:
        raise IllegalMove("a section of one step is posted as its trace")
    made = rooted(Posting(depth=merkle.height(len(steps))), len(steps), move.entries)
    require_other(move.entries[-1], claim)
    entry = _own_entry(at, move.entries[-1])
    return replace(at, phase=Phase.STATES, last=made, entry=entry), b"".join(move.entries)


def post_trace(state: GameState, move: PostTrace) -> Result:
    """The roots of every node's output in a section of one step."""
    at, claim = _section(state, move.pick)
    if at.last_step - at.first_step != 1:
        raise IllegalMove("a section of more than one step is posted as states")
    header = open_program(state.program, move.header, move.nodes)
    nodes, new = node_half(header), header.new_state
    lower = rooted(top(nodes), nodes, move.node_half)
    upper = rooted(top(new, STATE_HALF_DEPTH), new, move.state_half)
    posted = state_root_of(upper, new)
    require_other(posted, claim)
    stack = (lower,) if nodes else ()
    made = replace(
        at,
        phase=Phase.TRACE,
        last=upper,
        stack=stack,
        header=move.header,
        program=move.nodes,
        entry=_own_entry(at, posted),
    )
    return made, b"".join(move.node_half + move.state_half)


def state_root_of(top_posting: Posting, count: int) -> bytes:
    """The state root that the top posting of a new state's tree amounts to."""
    return list_address(ListKind.STATE, count, top_posting.root)


def list_address(kind: ListKind, count: int, raw: bytes) -> bytes:
    """A list's root, of its raw root and count.

    Raises:
        IllegalMove: when no list is such.
    """
    try:
        return ListHead(kind, count, raw).root
    except CommitmentError as error:
        raise IllegalMove(str(error)) from error


def open_program(program: bytes, header: bytes, nodes: bytes) -> Header:
    """The header of a program whose root is opened into header and raw root over its node leaves.

    Raises:
        IllegalMove: when they are another program's.
    """
    if sha256(b"\x04" + header + nodes).digest() != program:
        raise IllegalMove("header and node leaves are another program's")
    try:
        return Header.decode(header)
    except ProgramError as error:
        raise IllegalMove(str(error)) from error


def post_tensor(state: GameState, move: PostTensor) -> Result:
    """The top of a picked tensor's tree, or its bytes if they are one leaf."""
    require_phase(state, Phase.TRACE, Phase.NODES, Phase.NEW_STATE)
    posting, phase, index, _ = _picked(state, move.pick)
    if posting.level:
        raise IllegalMove("the hash picked stands above the tensors' roots")
    check_under(posting, index, move.pick.entry, move.pick.path)
    header = state.counts
    number = header.inputs + index + (node_half(header) if phase is Phase.NEW_STATE else 0)
    tensor = open_node(state, number, move.node)
    stack = (*state.stack, state.last) if state.phase is Phase.NODES else state.stack
    made = replace(state, stack=stack, tensor=tensor, value=DisputedValue())
    prefix = tensor_prefix(move.node.head)
    if tensor.size <= LEAF_SIZE:
        made = _with_leaf(made, 0, move.posting)
        require_other(sha256(prefix + merkle.leaf_hash(move.posting)).digest(), move.pick.entry)
    else:
        count = merkle.leaf_count(tensor.size)
        if len(move.posting) % HASH_SIZE:
            raise IllegalMove("a posting of hashes is a whole number of them")
        last = rooted(top(count), count, merkle.unpack(move.posting))
        require_other(sha256(prefix + last.root).digest(), move.pick.entry)
        made = replace(made, phase=Phase.TENSOR, last=last)
    return made, move.posting


def open_node(state: GameState, number: int, node: NodeOpening) -> DisputedTensor:
    """What a node's leaf says of its output's bytes and of what it reads."""
    header = state.counts
    described = descriptor_hash(sha256(node.head).digest(), node.body)
    check_leaf(state.program, header, number, described, node.operands, node.path)
    head = read_head(node.head)
    width = head.dtype.size
    return DisputedTensor(number, head.dtype, width, head.size * width, described, books.operands_hash(node.operands))


def check_leaf(
    nodes: bytes, header: Header, number: int, described: bytes, operands: bytes, path: tuple[bytes, ...]
) -> None:
    """Refuses what is not node `number`'s leaf in a program's tree.

    Raises:
        IllegalMove: saying so.
    """
    total = header.inputs + header.nodes
    if not 0 <= number < total or len(operands) % 4:
        raise IllegalMove(f"the program has {total} nodes, and operand numbers take 4 bytes each")
    leaf = node_leaf(described, struct.unpack(f"<{len(operands) // 4}I", operands))
    check_fold(nodes, number, leaf, path, merkle.height(total))


def read_head(head: bytes) -> Descriptor:
    """What a descriptor's head says: kind, type and shape.

    Raises:
        IllegalMove: when these bytes are not the head of a valid descriptor.
    """
    try:
        return decode_head(head)
    except ProgramError as error:
        raise IllegalMove(str(error)) from error


def tensor_prefix(head: bytes) -> bytes:
    """What stands before the raw root in a tensor's address, of its node's descriptor's head."""
    described = read_head(head)
    shape = described.shape
    return struct.pack(f"<BBB{len(shape)}Q", TENSOR_TAG, described.dtype, len(shape), *shape)


def post_leaf(state: GameState, move: PostLeaf) -> Result:
    """The bytes of a picked leaf."""
    require_phase(state, Phase.TENSOR)
    posting, _, index, _ = _picked(state, move.pick)
    if posting.level:
        raise IllegalMove("the hash picked stands above the leaves")
    check_under(posting, index, move.pick.entry, move.pick.path)
    made = _with_leaf(state, index, move.data)
    require_other(merkle.leaf_hash(move.data), move.pick.entry)
    return made, move.data


def _with_leaf(state: GameState, index: int, data: bytes) -> GameState:
    size = min(LEAF_SIZE, state.tensor.size - index * LEAF_SIZE)
    if len(data) != size:
        raise IllegalMove(f"leaf {index} has {size} bytes, not {len(data)}")
    last = Posting(books.leaf_root(data))
    return replace(state, phase=Phase.LEAF, last=last, value=replace(state.value, leaf=index))


def type_of(tensor: DisputedTensor) -> DType:
    """The type of the disputed tensor's elements."""
    return DType(tensor.dtype)


def require_phase(state: GameState, *phases: Phase) -> None:
    """Refuses a move that does not answer what was posted last.

    Raises:
        IllegalMove: saying so.
    """
    if state.phase not in phases:
        raise IllegalMove(f"this move does not answer {state.phase.name.lower()}")


def require_other(posted: bytes, claim: bytes) -> None:
    """Refuses a posting that is the opponent's own claim.

    Raises:
        IllegalMove: saying so.
    """
    if posted == claim:
        raise IllegalMove("the posting is the opponent's own claim")
