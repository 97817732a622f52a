"""A requester's money: paid in under a permit, taken back when it is not reserved."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from orebit.chain.token import format_amount
from orebit.chain.types import BatchInfo
from orebit.errors import AccountError, ConfigError
from orebit.strategy.follow import Follower
from orebit.strategy.requester import Requester

PERMIT_SECONDS = 24 * 3600


async def require_tokens(requester: Requester, amount: int) -> None:
    """Raises AccountError when the account holds less TokenAI than `amount` wei."""
    address = requester.account.address
    held = await requester.token.balance_of(address)
    if held < amount:
        raise AccountError(
            f"The account {address} holds {format_amount(held)} TokenAI, but {format_amount(amount)} are needed. Send "
            f"it {format_amount(amount - held)} more, or lower price, shards or rounds. No money moved."
        )


async def allow(requester: Requester, amount: int) -> list[bytes]:
    """Calls that let the market take `amount`: a signed permit, or none where an allowance suffices already."""
    owner, market = requester.account.address, requester.market
    if amount == 0 or await requester.token.allowance(owner, market.address) >= amount:
        return []
    deadline = int(time.time()) + PERMIT_SECONDS
    v, r, s = await requester.token.sign_permit(requester.account, market.address, amount, deadline)
    return [market.encode_permit(amount, deadline, v, r, s)]


async def deposit(requester: Requester, task: int, amount: int) -> int:
    """Adds `amount` wei to a task's escrow; what the escrow is then."""
    await require_tokens(requester, amount)
    await _require_task(requester, task)
    requests = [*await allow(requester, amount), requester.market.encode_deposit(task, amount)]
    await requester.sender.multicall(requests, must=(1 << len(requests)) - 1, label=f"a deposit to task {task}")
    return (await requester.market.task_of(task)).escrow


@dataclass(frozen=True)
class Refund:
    """What came back, and what is still behind live leases; wei of TokenAI."""

    returned: int
    reserved: int
    closed: int
    """Batches closed."""


async def cancel(requester: Requester, task: int, *, since: int | None = None) -> Refund:
    """Closes the open batches of a task and of those created with it, and takes back what is not reserved.

    `since` is a block before which the task did not exist. Raises ConfigError when the task is another's or unknown.
    Repeating it takes back what has become free since.
    """
    await _require_own(requester, task)
    follower = Follower(requester.connection, since=since)
    await follower.refresh()
    board, market = follower.board, requester.market
    tasks = [other.id for other in board.job_of(task)]
    batches = [batch for other in tasks for batch in board.batches_of(other) if not batch.settled]
    open_ones = [batch.id for batch in batches if not batch.closed]
    if open_ones:
        requests = [market.encode_close(batch) for batch in open_ones]
        await requester.sender.multicall(requests, must=0, label=f"closing the batches of task {task}")
    returned = await withdraw(requester, tasks)
    reserved = [await _reserved(requester, batch.id) for batch in batches]
    return Refund(returned, sum(reserved), len(open_ones))


async def withdraw(requester: Requester, tasks: Iterable[int]) -> int:
    """Takes all unreserved escrow of one's own tasks back; how much it was."""
    market, owner = requester.market, requester.account.address
    escrows = {task: (await market.task_of(task)).escrow for task in tasks}
    requests = [market.encode_withdraw_escrow(task, amount, owner) for task, amount in escrows.items() if amount]
    if requests:
        await requester.sender.multicall(requests, must=(1 << len(requests)) - 1, label="taking escrow back")
    return sum(escrows.values())


async def _reserved(requester: Requester, batch: int) -> int:
    info: BatchInfo = await requester.market.batch_of(batch)
    if info.unsettled == 0:
        return 0
    price = (await requester.market.task_of(info.task)).terms.price
    fee = await requester.market.fee_of(batch)
    return info.unsettled * info.size * price + max(0, info.grains - info.replicas_paid) * fee


async def _require_task(requester: Requester, task: int) -> None:
    count = await requester.market.task_count()
    if not 1 <= task <= count:
        raise ConfigError(f"There is no task {task}; this market has {count}. `orebit tasks` lists them.")


async def _require_own(requester: Requester, task: int) -> None:
    await _require_task(requester, task)
    owner = (await requester.market.task_of(task)).requester
    if owner.lower() != requester.account.address.lower():
        raise ConfigError(
            f"Task {task} belongs to {owner}, not to this account ({requester.account.address}). Use the OREBIT_HOME "
            "that holds its keystore."
        )
