"""One step with every node's output hashed: the trace that a dispute walks over, and any tensor, tree or leaf of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from orebit.commitment import merkle
from orebit.commitment.head import TensorHead
from orebit.commitment.merkle import LEAF_SIZE, Levels
from orebit.dispute.reading import Element
from orebit.dispute.shelf import Room, Shelf
from orebit.dispute.states import State
from orebit.executor.hashing import tensor_head, tensor_levels
from orebit.executor.reference import ReferenceExecutor
from orebit.program.graph import Program

Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_TREES = 4


class StepTrace:
    """The outputs of one step from a state: every root, and the tensors themselves as far as there is room; those that
    there was no room for are made again when they are asked for, together with what they are made from.

    Args:
        executor: the reference executor over the shard's constants and parameters.
        inputs: the state, the constants and the parameters, in node order, as their bytes are.
        room: what may be kept.
        threads: threads that hash.
    """

    def __init__(self, executor: ReferenceExecutor, inputs: Sequence[Array], room: Room, threads: int = 1) -> None:
        self.program: Program = executor.program
        self._executor = executor
        self._inputs = tuple(inputs)
        self._threads = threads
        self._shelf = Shelf(room)
        self._trees: OrderedDict[int, Levels] = OrderedDict()
        self._heads: list[TensorHead] = []
        self._make()

    @property
    def state(self) -> State:
        """The state before the step."""
        return self._inputs[: self.program.header.state]

    def _make(self) -> None:
        for number, tensor in self._executor.visit(self.state):
            array: Array = tensor.numpy()
            self._heads.append(tensor_head(array, self._threads))
            self._shelf.put(number, array)

    def head(self, number: int) -> TensorHead:
        """The head of a node's output; not of an input."""
        return self._heads[number - self.program.header.inputs]

    @cached_property
    def nodes(self) -> Levels:
        """The tree over the roots of what is neither input nor new state."""
        return merkle.tree([head.root for head in self._heads[: len(self._heads) - self.program.header.new_state]])

    @cached_property
    def new_state(self) -> Levels:
        """The tree over the new state's roots."""
        return merkle.tree([head.root for head in self._heads[len(self._heads) - self.program.header.new_state :]])

    def tensor(self, number: int) -> Array:
        """A node's output, or an input as its bytes are.

        Raises:
            ExecutionError: when it must be made again and cannot.
        """
        return self.tensors([number])[0]

    def tensors(self, numbers: Sequence[int]) -> list[Array]:
        """Several of them; raises as `tensor` does."""
        found = {number: self._held(number) for number in numbers}
        missing = {number for number, array in found.items() if array is None}
        if missing:
            found |= {number: made.numpy() for number, made in self._executor.visit(self.state, missing)}
        return [array for number in numbers if (array := found[number]) is not None]

    def _held(self, number: int) -> Array | None:
        return self._inputs[number] if number < len(self._inputs) else self._shelf.get(number)

    def tree(self, number: int) -> Levels:
        """The tree over a tensor's leaves; raises as `tensor` does."""
        if number not in self._trees:
            self._trees[number] = tensor_levels(self.tensor(number), self._threads)
            while len(self._trees) > _TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(number)
        return self._trees[number]

    def leaf(self, number: int, index: int) -> bytes:
        """The bytes of one leaf of a tensor; raises as `tensor` does."""
        return leaf_bytes(self.tensor(number), index)

    def element(self, number: int, element: int) -> Element:
        """One element of a node's output, over what it reads; raises as `tensor` does."""
        descriptor = self.program.descriptor(number)
        return Element(descriptor, self.tensors(self.program.nodes[number].operands), element)

    def close(self) -> None:
        """Lets go of everything but the roots."""
        self._shelf.close()
        self._trees.clear()


def leaf_bytes(array: Array, index: int) -> bytes:
    """Leaf `index` of a tensor's bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    first = index * LEAF_SIZE // flat.itemsize
    return flat[first : first + LEAF_SIZE // flat.itemsize].tobytes()


def leaf_of(element: int, width: int) -> int:
    """Which leaf holds an element."""
    return element * width // LEAF_SIZE
