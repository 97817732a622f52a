"""`MajorityArbiter`, the judge of local chains until the court."""

from __future__ import annotations

from collections.abc import Sequence

from orebit.chain.connection import Connection
from orebit.chain.contract import Contract
from orebit.chain.types import LeaseId


class Arbiter(Contract):
    """The judge of a connection's deployment."""

    name = "MajorityArbiter"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.deployment.arbiter)

    def encode_testify(self, lease: LeaseId, witness: int, root: bytes, path: Sequence[bytes]) -> bytes:
        """The drawn block's root that node `witness` computed, with its path to the primary's result root."""
        return self._encode("testify", lease, witness, root, list(path))
