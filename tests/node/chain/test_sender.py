"""The sender against a real chain: each intent happens once, whatever dies, drops or stalls in between."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from local_chain import KEYS, Anvil
from proxies import Call, proxy, refusal
from scenes import COUNTER, account, connected, count, deployment_of, outbox
from stage import TERMS, open_stage

from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.events import CallFailed
from orebit.chain.revert import decode_revert
from orebit.chain.sender import Sender, SenderSettings
from orebit.chain.token import UNIT
from orebit.errors import AccountError, ChainError, TransactionReverted

FAST = SenderSettings(poll_seconds=0.05, bump_seconds=60, lost_blocks=3)


async def test_sends_and_returns_the_receipt(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        receipt = await it.send(COUNTER, b"", label="count")
    assert count(anvil) == 1
    assert receipt.block == 1 and receipt.gas_used > 21_000 and receipt.events == ()


async def test_a_known_key_is_never_sent_again(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection:
        async with Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
            first = await it.send(COUNTER, b"", label="count", key="one")
            again = await it.send(COUNTER, b"other", label="count", key="one")
        async with Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
            later = await it.send(COUNTER, b"", label="count", key="one")
    assert first == again == later
    assert count(anvil) == 1


async def test_many_at_once_take_one_nonce_each(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        receipts = await asyncio.gather(*(it.send(COUNTER, b"", label="count") for _ in range(12)))
    assert count(anvil) == 12
    assert len({receipt.transaction for receipt in receipts}) == 12


async def test_a_revert_seen_by_the_estimate_is_not_sent(anvil: Anvil, tmp_path: Path) -> None:
    async with await connected(anvil) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        with pytest.raises(TransactionReverted, match="refused counting"):
            await it.send(COUNTER, b"x", label="counting", key="bad")
        assert not it.knows("bad")
        await it.send(COUNTER, b"", label="counting", key="bad")
    assert count(anvil) == 1


async def test_a_revert_in_a_block_is_told_and_stays_told(start_anvil: Callable[..., Anvil], tmp_path: Path) -> None:
    chain = start_anvil("--no-mining")
    async with await connected(chain) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count", key="k"))
        await _until(lambda: it.in_flight == 1)
        chain.rpc("anvil_setCode", COUNTER, "0x5f5ffd")
        chain.mine()
        with pytest.raises(TransactionReverted) as caught:
            await sending
        assert caught.value.transaction is not None
        with pytest.raises(TransactionReverted):
            await it.send(COUNTER, b"", label="count", key="k")
    assert int(chain.rpc("eth_getTransactionCount", account(KEYS[0]).address, "latest"), 16) == 1


async def test_too_little_ether_sends_nothing(anvil: Anvil, tmp_path: Path) -> None:
    anvil.rpc("anvil_setBalance", account(KEYS[3]).address, hex(1000))
    async with await connected(anvil) as connection, Sender(connection, account(KEYS[3]), outbox(tmp_path), FAST) as it:
        with pytest.raises(AccountError, match="too little ETH"):
            await it.send(COUNTER, b"", label="count", key="k")
        assert not it.knows("k")


async def test_a_stuck_transaction_is_replaced_at_a_higher_fee(
    start_anvil: Callable[..., Anvil], tmp_path: Path
) -> None:
    chain = start_anvil("--no-mining")
    steps: list[str] = []
    settings = SenderSettings(poll_seconds=0.05, bump_seconds=0.3)
    async with (
        await connected(chain) as connection,
        Sender(connection, account(KEYS[0]), outbox(tmp_path), settings, lambda step, key: steps.append(step)) as it,
    ):
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count"))
        await _until(lambda: steps.count("bumped") >= 2)
        chain.mine()
        receipt = await sending
    assert count(chain) == 1
    assert chain.rpc("eth_getTransactionByHash", "0x" + receipt.transaction.hex())["nonce"] == "0x0"


async def test_a_transaction_that_the_mempool_drops_is_sent_again(
    start_anvil: Callable[..., Anvil], tmp_path: Path
) -> None:
    chain = start_anvil("--no-mining")
    async with await connected(chain) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count"))
        await _until(lambda: it.in_flight == 1 and _pending(chain) == 1)
        chain.rpc("anvil_dropAllTransactions")
        await _until(lambda: _pending(chain) == 1)
        chain.mine()
        await sending
    assert count(chain) == 1


async def test_a_transaction_that_a_reorg_undoes_is_sent_again(
    start_anvil: Callable[..., Anvil], tmp_path: Path
) -> None:
    chain = start_anvil()
    async with await connected(chain) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        snapshot = chain.rpc("evm_snapshot")
        await it.send(COUNTER, b"", label="count", key="k")
        assert count(chain) == 1
        chain.rpc("evm_revert", snapshot)
        assert count(chain) == 0
        await _until(lambda: count(chain) == 1)
        await it.send(COUNTER, b"", label="count", key="k")
    assert count(chain) == 1


async def test_confirmations_are_waited_for(start_anvil: Callable[..., Anvil], tmp_path: Path) -> None:
    chain = start_anvil("--no-mining")
    settings = SenderSettings(poll_seconds=0.02, confirmations=3)
    seen: list[str] = []
    async with (
        await connected(chain) as connection,
        Sender(connection, account(KEYS[0]), outbox(tmp_path), settings, lambda step, key: seen.append(step)) as it,
    ):
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count"))
        await _until(lambda: _pending(chain) == 1)
        chain.mine(2)
        await _until(lambda: "included" in seen)
        assert "confirmed" not in seen and not sending.done()
        chain.mine()
        await sending
    assert "confirmed" in seen


async def test_a_nonce_used_elsewhere_is_reported_and_not_doubled(
    start_anvil: Callable[..., Anvil], tmp_path: Path
) -> None:
    chain = start_anvil("--no-mining")
    async with await connected(chain) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count", key="k"))
        await _until(lambda: _pending(chain) == 1)
        chain.rpc("anvil_dropAllTransactions")
        chain.rpc("anvil_setNonce", account(KEYS[0]).address, "0x1")
        for _ in range(8):
            chain.mine()
            await asyncio.sleep(0.1)
        with pytest.raises(ChainError, match="another program uses the same key"):
            await sending
        assert not it.knows("k")
    assert count(chain) == 0


async def test_a_gap_below_is_filled(start_anvil: Callable[..., Anvil], tmp_path: Path) -> None:
    chain = start_anvil("--no-mining")
    owner = account(KEYS[0])
    foreign = owner.sign_transaction(
        {"to": COUNTER, "nonce": 0, "gas": 60_000, "maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1, "chainId": 31337}
    )
    async with await connected(chain) as connection, Sender(connection, owner, outbox(tmp_path), FAST) as it:
        chain.rpc("eth_sendRawTransaction", "0x" + bytes(foreign.raw_transaction).hex())
        sending = asyncio.create_task(it.send(COUNTER, b"", label="count"))
        await _until(lambda: _pending(chain) == 2)
        chain.rpc("anvil_dropAllTransactions")
        await _until(lambda: _pending(chain) == 2)
        chain.mine()
        await sending
    assert count(chain) == 1


async def test_an_endpoint_that_calls_every_nonce_used_sends_nothing(anvil: Anvil, tmp_path: Path) -> None:
    async def stale(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        return refusal("nonce too low") if method == "eth_sendRawTransaction" else None

    async with proxy(anvil.url, stale) as url, await connect([url], deployment_of(anvil)) as connection:
        async with Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
            with pytest.raises(ChainError, match="was not sent"):
                await it.send(COUNTER, b"", label="count", key="k")
            assert not it.knows("k") and it.in_flight == 0
    assert count(anvil) == 0


async def test_an_endpoint_that_refuses_for_a_while_delays_only(anvil: Anvil, tmp_path: Path) -> None:
    refusals = 3

    async def busy(method: str, parameters: list[Any], call: Call) -> dict[str, Any] | None:
        nonlocal refusals
        if method != "eth_sendRawTransaction" or refusals == 0:
            return None
        refusals -= 1
        return refusal("txpool is full")

    async with proxy(anvil.url, busy) as url, await connect([url], deployment_of(anvil)) as connection:
        async with Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
            await it.send(COUNTER, b"", label="count")
    assert count(anvil) == 1


async def test_what_is_final_is_remembered_by_its_key_only(anvil: Anvil, tmp_path: Path) -> None:
    settings = SenderSettings(poll_seconds=0.02, finality_blocks=3)
    async with await connected(anvil) as connection:
        async with Sender(connection, account(KEYS[0]), outbox(tmp_path), settings) as it:
            receipt = await it.send(COUNTER, b"", label="count", key="k")
            await it.send(COUNTER, b"", label="count")
            anvil.mine(5)
            await _until(lambda: _rows(tmp_path) == (1, 0))
            assert await it.send(COUNTER, b"", label="count", key="k") == receipt
            await it.send(COUNTER, b"", label="count")
    assert count(anvil) == 3


async def test_whoever_waits_hears_that_the_sender_failed(anvil: Anvil, tmp_path: Path) -> None:
    def burst(step: str, key: str) -> None:
        if step == "included":
            raise ArithmeticError("unforeseen")

    async with (
        await connected(anvil) as connection,
        Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST, burst) as it,
    ):
        with pytest.raises(ChainError, match="unforeseen"):
            await it.send(COUNTER, b"", label="count", key="k")
        with pytest.raises(ChainError, match="not running"):
            await it.send(COUNTER, b"", label="count", key="k")
    async with await connected(anvil) as connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        await it.send(COUNTER, b"", label="count", key="k")
    assert count(anvil) == 1


async def test_optional_calls_of_a_multicall_get_gas_enough(anvil: Anvil, deployed: Deployment, tmp_path: Path) -> None:
    """The whole succeeds with little gas, the optional creation inside it would not."""
    stage = await open_stage(anvil, deployed)
    stage.prepare(nodes=0)
    async with stage.connection, Sender(stage.connection, account(KEYS[1]), outbox(tmp_path), FAST) as it:
        calls = [stage.market.encode_create(TERMS, "http://u" * 20, UNIT), stage.market.encode_close(99)]
        receipt = await it.multicall(calls, must=0, label="a cycle")
    names = [type(event).__name__ for event in receipt.events]
    assert names == ["TaskCreated", "Deposited", "Transfer", "CallFailed"]
    failed = receipt.events[-1]
    assert isinstance(failed, CallFailed) and decode_revert(failed.reason)[0] == "NotRequester"


_VICTIM = """
import asyncio, os, signal, sys
from pathlib import Path
from orebit.chain.connection import connect
from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.connection import connect
from orebit.chain.deployment import Deployment
from orebit.chain.events import CallFailed
from orebit.chain.revert import decode_revert
from orebit.chain.sender import Sender, SenderSettings
from eth_account import Account

url, deployment, key, path, point, target = sys.argv[1:]

def die(step, intent):
    if step == point:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    settings = SenderSettings(poll_seconds=0.02, bump_seconds=0.2)
    connection = await connect([url], Deployment.model_validate_json(deployment), timeout=5)
    async with connection, Sender(connection, Account.from_key(key), Path(path), settings, die) as sender:
        await asyncio.gather(*(sender.send(target, b"", label="count", key=f"k{i}") for i in range(3)))

asyncio.run(main())
"""


@pytest.mark.parametrize("point", ["estimated", "journalled", "broadcast", "bumped", "included", "confirmed"])
async def test_killed_at_any_point_nothing_is_lost_or_doubled(
    start_anvil: Callable[..., Anvil], tmp_path: Path, point: str
) -> None:
    chain = start_anvil("--no-mining") if point == "bumped" else start_anvil()
    connection = await connected(chain)
    deployment = connection.deployment
    arguments = [chain.url, deployment.model_dump_json(), KEYS[0], str(outbox(tmp_path)), point, COUNTER]
    victim = subprocess.run([sys.executable, "-c", _VICTIM, *arguments], env=os.environ, timeout=30, check=False)
    assert victim.returncode == -signal.SIGKILL
    chain.rpc("evm_setAutomine", True)
    async with connection, Sender(connection, account(KEYS[0]), outbox(tmp_path), FAST) as it:
        receipts = await asyncio.gather(*(it.send(COUNTER, b"", label="count", key=f"k{i}") for i in range(3)))
    assert count(chain) == 3
    assert len({receipt.transaction for receipt in receipts}) == 3


def _rows(folder: Path) -> tuple[int, int]:
    """Intents and attempts in the journal."""
    with closing(sqlite3.connect(outbox(folder))) as database:
        intents, attempts = (
            database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("intents", "attempts")
        )
    return intents, attempts


def _pending(chain: Anvil) -> int:
    status: dict[str, Any] = chain.rpc("txpool_status")
    return int(status["pending"], 16) + int(status["queued"], 16)


async def _until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)
