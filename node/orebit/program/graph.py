"""Programs: a table of descriptors and a list of nodes that name them, inputs first, new state last."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orebit.commitment import merkle
from orebit.errors import ProgramError
from orebit.numerics.types import DType
from orebit.program.descriptor import Descriptor, Source

VERSION = 1
HEADER_BYTES = 24


@dataclass(frozen=True, slots=True)
class Header:
    """The counts that a program root binds, at a fixed size."""

    state: int
    constants: int
    parameters: int
    nodes: int
    new_state: int
    version: int = VERSION

    @property
    def inputs(self) -> int:
        return self.state + self.constants + self.parameters

    def encode(self) -> bytes:
        """24 bytes: version, counts of state, constants, parameters, nodes and new state; u32 little-endian."""
        return struct.pack("<6I", self.version, self.state, self.constants, self.parameters, self.nodes, self.new_state)

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Raises:
        ProgramError: for another length or version.
        """
        if len(data) != HEADER_BYTES:
            raise ProgramError(f"a program's header has {HEADER_BYTES} bytes, not {len(data)}")
        version, *counts = struct.unpack("<6I", data)
        if version != VERSION:
            raise ProgramError(f"the program has version {version}, this Orebit reads version {VERSION}; update it")
        return cls(*counts)


@dataclass(frozen=True, slots=True)
class Node:
    """A descriptor's place in the table and the numbers of the nodes that it reads, one an operand."""

    descriptor: int
    operands: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Type and dimensions of a tensor."""

    dtype: DType
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    """One step. `nodes` holds inputs (state, constants, parameters), then operations; the last are the new state.

    Construct through `Builder.finish` or `Program.decode`: both refuse what is not valid.
    """

    header: Header
    descriptors: tuple[Descriptor, ...]
    nodes: tuple[Node, ...]

    def descriptor(self, node: int) -> Descriptor:
        return self.descriptors[self.nodes[node].descriptor]

    def inputs(self, source: Source) -> range:
        """Node numbers of the state, the constants or the parameters."""
        header = self.header
        starts = (0, header.state, header.state + header.constants, header.inputs)
        return range(starts[source], starts[source + 1])

    def specs(self, source: Source) -> list[TensorSpec]:
        """Types and shapes that inputs of this source must have, in order."""
        return [TensorSpec(d.dtype, d.shape) for d in map(self.descriptor, self.inputs(source))]

    @property
    def new_state(self) -> range:
        """Node numbers of the new state, in state order."""
        return range(len(self.nodes) - self.header.new_state, len(self.nodes))

    @property
    def operations(self) -> range:
        """Node numbers of everything but inputs."""
        return range(self.header.inputs, len(self.nodes))

    @cached_property
    def leaves(self) -> list[bytes]:
        """The node leaves: sha256(00 || descriptor hash || operand numbers, u32 little-endian)."""
        hashes = [descriptor.hash for descriptor in self.descriptors]
        return [node_leaf(hashes[node.descriptor], node.operands) for node in self.nodes]

    @cached_property
    def tree(self) -> merkle.Levels:
        """The tree over the node leaves."""
        return merkle.tree(self.leaves)

    @cached_property
    def preimage(self) -> bytes:
        """04 || header || raw root of the node leaves; its sha256 is the program root."""
        return b"\x04" + self.header.encode() + self.tree[-1]

    @cached_property
    def root(self) -> bytes:
        """The 32 bytes that name this program."""
        return hashlib.sha256(self.preimage).digest()

    @cached_property
    def encoded(self) -> bytes:
        from orebit.program.encoding import encode

        return encode(self)

    def encode(self) -> bytes:
        """The program's bytes as they travel."""
        return self.encoded

    @classmethod
    def decode(cls, data: bytes | memoryview) -> Program:
        """Parses a stranger's bytes, within hard limits, and checks validity.

        Raises:
            ProgramError: if they are malformed, exceed a limit or break a clause of validity.
        """
        from orebit.program.encoding import decode

        return decode(bytes(data))


def node_leaf(descriptor_hash: bytes, operands: Sequence[int]) -> bytes:
    """The leaf of one node in the program's tree."""
    return hashlib.sha256(b"\x00" + descriptor_hash + struct.pack(f"<{len(operands)}I", *operands)).digest()
