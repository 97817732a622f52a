"""`TaskMarket`: typed reads of every view, and calldata of every function (for a transaction or a multicall)."""

from __future__ import annotations

from collections.abc import Sequence

from orebit.chain.connection import BlockReference, Connection
from orebit.chain.contract import Contract
from orebit.chain.types import BatchInfo, LeaseId, LeaseInfo, Policy, TaskInfo, Terms


class Market(Contract):
    """The market of a connection's deployment."""

    name = "TaskMarket"

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, connection.deployment.market)

    # Views

    async def task_of(self, task: int, block: BlockReference = "latest") -> TaskInfo:
        return await self._read(TaskInfo, "taskOf", task, block=block)

    async def batch_of(self, batch: int, block: BlockReference = "latest") -> BatchInfo:
        return await self._read(BatchInfo, "batchOf", batch, block=block)

    async def lease_of(self, lease: LeaseId, block: BlockReference = "latest") -> LeaseInfo:
        return await self._read(LeaseInfo, "leaseOf", lease, block=block)

    async def slot_of(self, node: int, slot: int, block: BlockReference = "latest") -> tuple[int, bool]:
        """The generation of the slot's last lease (0: never used), and whether it can be leased now."""
        generation, free = await self._read_all("slotOf", node, slot, block=block)
        return generation, free

    async def balance_of(self, node: int, block: BlockReference = "latest") -> int:
        return await self._read(int, "balanceOf", node, block=block)

    async def is_barred(self, task: int, node: int, block: BlockReference = "latest") -> bool:
        return await self._read(bool, "isBarred", task, node, block=block)

    async def result_of(self, batch: int, first_grain: int, block: BlockReference = "latest") -> tuple[bytes, int]:
        """Root and grains of a kept result (FLAG_KEEP_RESULTS)."""
        root, grains = await self._read_all("resultOf", batch, first_grain, block=block)
        return root, grains

    async def fee_of(self, batch: int, block: BlockReference = "latest") -> int:
        """The replica fee of a batch, in wei."""
        return await self._read(int, "feeOf", batch, block=block)

    async def policy(self, block: BlockReference = "latest") -> Policy:
        return await self._read(Policy, "policy", block=block)

    async def task_count(self, block: BlockReference = "latest") -> int:
        return await self._read(int, "taskCount", block=block)

    async def batch_count(self, block: BlockReference = "latest") -> int:
        return await self._read(int, "batchCount", block=block)

    async def paused(self, block: BlockReference = "latest") -> bool:
        return await self._read(bool, "paused", block=block)

    async def guardian(self, block: BlockReference = "latest") -> str:
        return await self._read(str, "guardian", block=block)

    # Calldata: requester

    def encode_create(self, terms: Terms, url: str, amount: int) -> bytes:
        return self._encode("create", terms, url, amount)

    def encode_deposit(self, task: int, amount: int) -> bytes:
        return self._encode("deposit", task, amount)

    def encode_withdraw_escrow(self, task: int, amount: int, to: str) -> bytes:
        return self._encode("withdrawEscrow", task, amount, to)

    def encode_post(self, task: int, plan_root: bytes, grains: int, size: int) -> bytes:
        return self._encode("post", task, plan_root, grains, size)

    def encode_close(self, batch: int) -> bytes:
        return self._encode("close", batch)

    def encode_bar(self, task: int, node: int, barred: bool) -> bytes:
        return self._encode("bar", task, node, barred)

    def encode_call(self, lease: LeaseId) -> bytes:
        return self._encode("call", lease)

    # Calldata: node

    def encode_lease(self, batch: int, first: int, grains: int, node: int, slot: int) -> bytes:
        return self._encode("lease", batch, first, grains, node, slot)

    def encode_commit(self, lease: LeaseId, commitment: bytes) -> bytes:
        return self._encode("commit", lease, commitment)

    def encode_take(self, primary: LeaseId, node: int, slot: int, attempt: int) -> bytes:
        return self._encode("take", primary, node, slot, attempt)

    def encode_reveal(self, lease: LeaseId, root: bytes, salt: bytes) -> bytes:
        return self._encode("reveal", lease, root, salt)

    def encode_reveal_paired(
        self, lease: LeaseId, root: bytes, salt: bytes, block_root: bytes, path: Sequence[bytes]
    ) -> bytes:
        return self._encode("revealPaired", lease, root, salt, block_root, list(path))

    # Calldata: exits, by anyone

    def encode_finalise(self, leases: Sequence[LeaseId]) -> bytes:
        return self._encode("finalise", list(leases))

    def encode_expire(self, leases: Sequence[LeaseId]) -> bytes:
        return self._encode("expire", list(leases))

    def encode_resolve(self, leases: Sequence[LeaseId]) -> bytes:
        return self._encode("resolve", list(leases))

    def encode_withdraw(self, node: int) -> bytes:
        return self._encode("withdraw", node)

    # Calldata: everyone, and the guardian

    def encode_multicall(self, calls: Sequence[bytes], must: int) -> bytes:
        """Bit i of `must` set: call i's failure reverts all; clear: it is recorded as `CallFailed`."""
        return self._encode("multicall", list(calls), must)

    def encode_permit(self, value: int, deadline: int, v: int, r: bytes, s: bytes) -> bytes:
        return self._encode("permit", value, deadline, v, r, s)

    def encode_set_paused(self, paused: bool) -> bytes:
        return self._encode("setPaused", paused)

    def encode_renounce_guardian(self) -> bytes:
        return self._encode("renounceGuardian")
