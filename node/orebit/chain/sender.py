"""Sends transactions so that each happens once: one nonce, one journal, fee bumps, replacement, re-send after a crash.

Every transaction belongs to an intent with a key. `send` with a key that the journal knows never signs a second
transaction for it, but waits for the first and returns its receipt, also in another process after `kill -9`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from orebit.chain.connection import Connection, from_hex, quantity
from orebit.chain.events import Decoder, Event
from orebit.chain.market import Market
from orebit.chain.outbox import AUTOMATIC, Attempt, Intent, Outbox, State, now
from orebit.chain.revert import reverted
from orebit.chain.rpc import RpcError
from orebit.errors import AccountError, ChainError, OrebitError

log = structlog.get_logger(__name__)

TRANSACTION_GAS_CAP = 16_777_216
"""EIP-7825."""

OPTIONAL_CALL_GAS = 300_000
"""Gas set aside for a multicall's optional call: an estimate may let it run dry, since the whole still succeeds."""

_GWEI = 10**9
_NONCE_TRIES = 10


@dataclass(frozen=True)
class SenderSettings:
    """How patient the sender is, and what it pays at most."""

    poll_seconds: float = 1.0
    confirmations: int = 1
    """Blocks, its own included, that must stand on a transaction before `send` returns."""
    finality_blocks: int = 64
    """Depth at which a transaction is no longer watched for a reorg."""
    bump_seconds: float = 45.0
    """A transaction not in a block after this long is replaced by one that pays 12.5% more."""
    max_fee_cap: int = 1_000 * _GWEI
    """Wei of ETH a gas that is never exceeded."""
    gas_margin: float = 1.25
    lost_blocks: int = 12
    """Blocks after which a nonce used by an unknown transaction is given up."""


@dataclass(frozen=True)
class Receipt:
    """A transaction in a block. `gas_price` is what was paid, in wei of ETH a gas."""

    transaction: bytes
    block: int
    block_hash: bytes
    gas_used: int
    gas_price: int
    events: tuple[Event, ...]


Observer = Callable[[str, str], None]
"""Told each step ("estimated", "journalled", "broadcast", "bumped", "included", "confirmed") and the intent's key."""


class _Answer(Enum):
    """What the endpoints say to a raw transaction."""

    TAKEN = "taken"
    STALE = "stale"
    """The nonce is used already."""
    REFUSED = "refused"


def _verdict(answer: Any) -> _Answer:
    if not isinstance(answer, BaseException):
        return _Answer.TAKEN
    if not isinstance(answer, ChainError):
        raise answer
    text = str(answer).lower()
    if "already known" in text or "already imported" in text:
        return _Answer.TAKEN
    return _Answer.STALE if "nonce too low" in text else _Answer.REFUSED


class Sender:
    """Owns an account's nonce. Use it as an async context manager: inside, a task tends all that is in flight."""

    def __init__(
        self,
        connection: Connection,
        account: LocalAccount,
        path: Path,
        settings: SenderSettings | None = None,
        observe: Observer | None = None,
    ) -> None:
        deployment = connection.deployment
        self.address: str = account.address
        self.settings = settings or SenderSettings()
        self._connection = connection
        self._account = account
        self._outbox = Outbox(path, f"{deployment.chain_id}:{deployment.genesis_hash.lower()}:{account.address}")
        self._decoder = Decoder(deployment)
        self._market = Market(connection)
        self._observe = observe or (lambda step, key: None)
        self._signing = asyncio.Lock()
        self._waiting: dict[int, asyncio.Future[Receipt]] = {}
        self._wake = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._suspects: dict[int, int] = {}

    async def __aenter__(self) -> Sender:
        self._tending = asyncio.create_task(self._tend(), name="sender")
        self._tending.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nobody may wait for what nobody tends."""
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log.error("sender failed", error=repr(failure))
            self._fail_all(ChainError(f"The sender failed: {failure!r}. Start again: what is in flight is journalled."))

    async def close(self) -> None:
        """Stops tending; what is in flight stays journalled and is taken up by the next sender."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        self._fail_all(
            ChainError("The sender was stopped. What is in flight is journalled; the next start takes it up.")
        )
        self._outbox.close()

    def knows(self, key: str) -> bool:
        """Whether the journal has an intent of this key, in flight or done."""
        return self._outbox.find(key) is not None

    @property
    def in_flight(self) -> int:
        """Transactions that are not in a block yet."""
        return sum(intent.state is State.SENT for intent in self._outbox.unfinished())

    @property
    def anonymous_in_flight(self) -> int:
        """Those of them that were sent without a key, so that nobody can ask for them again."""
        unfinished = self._outbox.unfinished()
        return sum(intent.state is State.SENT and intent.key.startswith(AUTOMATIC) for intent in unfinished)

    async def send(
        self,
        to: str,
        calldata: bytes,
        *,
        label: str,
        key: str | None = None,
        value: int = 0,
        extra_gas: int = 0,
    ) -> Receipt:
        """Sends once for each `key` (default: a fresh one) and waits for the receipt; `label` names it for people.

        A known key's first calldata stands, whatever is given now. Raises `TransactionReverted` (before sending where
        the estimate shows it), `AccountError` when ETH does not suffice, `ChainError` when others used its nonce.
        """
        known = self._outbox.find(key) if key is not None else None
        if known is None:
            key = key or f"{AUTOMATIC}{uuid.uuid4().hex}"
            known = await self._begin(key, label, to, calldata, value, extra_gas)
        return await self._outcome(known)

    async def multicall(self, calls: Sequence[bytes], *, must: int, label: str, key: str | None = None) -> Receipt:
        """One `multicall` of the market; optional calls (clear in `must`) get gas enough to succeed."""
        optional = sum(not must >> index & 1 for index in range(len(calls)))
        calldata = self._market.encode_multicall(calls, must)
        extra = OPTIONAL_CALL_GAS * optional
        return await self.send(self._market.address, calldata, label=label, key=key, extra_gas=extra)

    # Beginning

    async def _begin(self, key: str, label: str, to: str, calldata: bytes, value: int, extra_gas: int) -> Intent:
        async with self._signing:
            known = self._outbox.find(key)
            if known is not None:
                return known
            gas = await self._gas(to, calldata, value, label, extra_gas)
            self._observe("estimated", key)
            for _ in range(_NONCE_TRIES):
                intent = await self._journal(key, label, to, calldata, value, gas)
                self._observe("journalled", key)
                if await self._broadcast(intent, self._outbox.attempts(intent)[0]) is not _Answer.STALE:
                    self._observe("broadcast", key)
                    self._wake.set()
                    return intent
                # No endpoint took it, as another transaction used the nonce first: nothing was sent.
                self._outbox.forget(intent)
                await asyncio.sleep(self.settings.poll_seconds)
        raise ChainError(
            f"The RPC endpoints give a nonce for {self.address} and then call it used, again and again. {label} was "
            "not sent; use another endpoint, or wait until they have caught up."
        )

    async def _gas(self, to: str, calldata: bytes, value: int, label: str, extra: int) -> int:
        request = {"from": self.address, "to": to, "data": "0x" + calldata.hex(), "value": hex(value)}
        block = "pending" if self.in_flight else "latest"
        try:
            estimate = quantity(await self._connection.rpc.call("eth_estimateGas", request, block))
        except RpcError as error:
            if "insufficient funds" in error.text.lower():
                raise self._poor(label) from error
            if error.revert_data is None:
                raise
            raise reverted(label, error.revert_data) from error
        return min(int(estimate * self.settings.gas_margin) + extra, TRANSACTION_GAS_CAP)

    async def _journal(self, key: str, label: str, to: str, calldata: bytes, value: int, gas: int) -> Intent:
        max_fee, priority = await self._fees()
        if gas * max_fee + value > await self._connection.ether_of(self.address):
            raise self._poor(label, gas * max_fee + value)
        nonce = max(await self._chain_nonce("pending"), self._outbox.next_nonce())
        attempt = self._sign(to, calldata, value, gas, nonce, max_fee, priority)
        return self._outbox.add(key, label, to, calldata, value, gas, nonce, attempt)

    def _poor(self, label: str, needed: int | None = None) -> AccountError:
        amount = f" (up to {needed / 10**18:.6f} ETH)" if needed else ""
        return AccountError(
            f"The account {self.address} has too little ETH to pay the gas of {label}{amount}. Send it some ETH and "
            "try again; nothing was sent."
        )

    def _sign(self, to: str, calldata: bytes, value: int, gas: int, nonce: int, max_fee: int, priority: int) -> Attempt:
        transaction: dict[str, Any] = {
            "type": 2,
            "chainId": self._connection.deployment.chain_id,
            "nonce": nonce,
            "to": to_checksum_address(to),
            "data": calldata,
            "value": value,
            "gas": gas,
            "maxFeePerGas": max_fee,
            "maxPriorityFeePerGas": priority,
        }
        signed = self._account.sign_transaction(transaction)
        return Attempt(bytes(signed.hash), bytes(signed.raw_transaction), max_fee, priority, now())

    async def _fees(self) -> tuple[int, int]:
        """(max fee, priority fee) that last through six full blocks. Raises `ChainError` above the cap."""
        base = (await self._connection.head()).base_fee
        try:
            priority = quantity(await self._connection.rpc.call("eth_maxPriorityFeePerGas"))
        except RpcError:
            priority = _GWEI
        if base + priority > self.settings.max_fee_cap:
            raise ChainError(
                f"Gas costs {(base + priority) / _GWEI:.1f} gwei now, above the cap of "
                f"{self.settings.max_fee_cap / _GWEI:.1f} gwei. Wait for a quieter chain or raise the cap."
            )
        return min(2 * base + priority, self.settings.max_fee_cap), priority

    async def _chain_nonce(self, block: str) -> int:
        """The highest count that any endpoint knows, as some lag."""
        counts = await self._connection.rpc.call_all("eth_getTransactionCount", self.address, block)
        if not counts:
            raise ChainError("No RPC endpoint tells the account's nonce. Check the network and the RPC URL.")
        return max(quantity(count) for count in counts)

    # Waiting

    async def _outcome(self, intent: Intent) -> Receipt:
        intent = self._outbox.get(intent.id)
        if intent.state is State.SENT:
            if self._tending is None or self._tending.done():
                raise ChainError(f"{intent.label} is journalled, but the sender is not running. Start it again.")
            future = self._waiting.setdefault(intent.id, asyncio.get_running_loop().create_future())
            self._wake.set()
            return await asyncio.shield(future)
        return self._receipt(intent)

    def _receipt(self, intent: Intent) -> Receipt:
        """Of an intent in a block. Raises `TransactionReverted` where it failed."""
        found = intent.receipt
        assert found is not None
        if intent.revert is not None:
            raise reverted(intent.label, intent.revert, transaction=from_hex(found["transactionHash"]))
        decoded = [self._decoder.decode(item) for item in found["logs"]]
        return Receipt(
            from_hex(found["transactionHash"]),
            int(found["blockNumber"], 16),
            from_hex(found["blockHash"]),
            int(found["gasUsed"], 16),
            int(found.get("effectiveGasPrice", "0x0"), 16),
            tuple(event for event in decoded if event is not None),
        )

    def _settle(self, intent: Intent, error: OrebitError | None = None) -> None:
        future = self._waiting.pop(intent.id, None)
        if future is None or future.done():
            return
        try:
            if error is not None:
                raise error
            future.set_result(self._receipt(self._outbox.get(intent.id)))
        except OrebitError as failure:
            future.set_exception(failure)

    # Tending

    async def _tend(self) -> None:
        pause = self.settings.poll_seconds
        while True:
            self._wake.clear()
            try:
                busy = await self._tend_once()
                pause = self.settings.poll_seconds
            except ChainError as error:
                log.warning("sender waits for the chain", reason=str(error))
                busy, pause = True, min(2 * pause, 30.0)
            except OrebitError as error:
                self._fail_all(error)
                busy = True
            try:
                # Without anything in flight, a mined transaction is still looked after, at leisure.
                await asyncio.wait_for(self._wake.wait(), pause if busy else 10 * pause)
            except TimeoutError:
                continue
            await asyncio.sleep(min(pause, self.settings.poll_seconds) / 4)

    def _fail_all(self, error: OrebitError) -> None:
        """Whoever waits must know that nobody tends any more."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)
                future.exception()  # retrieved: a waiter may be gone
        self._waiting.clear()

    async def _tend_once(self) -> bool:
        """Looks at everything unfinished, lowest nonce first; whether something is in flight."""
        unfinished = self._outbox.unfinished()
        if not unfinished:
            return False
        head = (await self._connection.head()).number
        count = await self._chain_nonce("latest")
        async with self._signing:
            await self._fill_gap(unfinished, count)
        for intent in unfinished:
            if intent.state is State.SENT:
                await self._tend_sent(intent, head, count)
            else:
                await self._tend_mined(intent, head, count)
        return any(intent.state is State.SENT for intent in self._outbox.unfinished())

    async def _tend_sent(self, intent: Intent, head: int, count: int) -> None:
        attempts = self._outbox.attempts(intent)
        receipt = await self._find_receipt(attempts)
        if receipt is not None:
            await self._include(intent, receipt, head)
        elif count > intent.nonce:
            self._suspect(intent, head)
        elif now() - attempts[0].signed_at >= self.settings.bump_seconds:
            await self._bump(intent, attempts[0])
        elif not await self._in_mempool(attempts[0]):
            await self._broadcast(intent, attempts[0])

    async def _tend_mined(self, intent: Intent, head: int, count: int) -> None:
        """A reorg put it back: it must go in again. Deep enough: it is final."""
        if count <= intent.nonce:
            log.info("transaction fell out of the chain; sent again", label=intent.label, nonce=intent.nonce)
            await self._broadcast(intent, self._outbox.attempts(intent)[0])
        elif intent.block is not None and head - intent.block >= self.settings.finality_blocks:
            receipt = await self._find_receipt(self._outbox.attempts(intent))
            if receipt is not None:
                self._outbox.finish(intent, receipt)

    async def _find_receipt(self, attempts: Sequence[Attempt]) -> dict[str, Any] | None:
        for attempt in attempts:
            for found in await self._connection.rpc.call_all("eth_getTransactionReceipt", "0x" + attempt.hash.hex()):
                if found is not None and found.get("blockNumber"):
                    return dict(found)
        return None

    async def _include(self, intent: Intent, receipt: dict[str, Any], head: int) -> None:
        self._suspects.pop(intent.id, None)
        self._observe("included", intent.key)
        block = int(receipt["blockNumber"], 16)
        if head - block + 1 < self.settings.confirmations:
            return
        failed = int(receipt["status"], 16) == 0
        revert = await self._why(intent, receipt) if failed else None
        self._outbox.included(intent, receipt, revert)
        self._observe("confirmed", intent.key)
        log.info("transaction mined", label=intent.label, block=block, gas=int(receipt["gasUsed"], 16), failed=failed)
        self._settle(intent)

    async def _why(self, intent: Intent, receipt: dict[str, Any]) -> bytes:
        """The revert data, found by calling again on the state before its block; empty when that does not fail."""
        request = {
            "from": self.address,
            "to": intent.recipient,
            "data": "0x" + intent.calldata.hex(),
            "value": hex(intent.value),
            "gas": hex(intent.gas),
        }
        try:
            await self._connection.rpc.call("eth_call", request, hex(int(receipt["blockNumber"], 16) - 1))
        except RpcError as error:
            return error.revert_data or b""
        return b""

    def _suspect(self, intent: Intent, head: int) -> None:
        """Its nonce is used but no attempt has a receipt: a lagging endpoint, or another program with the same key."""
        since = self._suspects.setdefault(intent.id, head)
        if head - since < self.settings.lost_blocks:
            return
        self._outbox.lose(intent)
        self._suspects.pop(intent.id)
        self._settle(
            intent,
            ChainError(
                f"Nonce {intent.nonce} of {self.address}, meant for {intent.label}, was used by a transaction that "
                "Orebit did not send: another program uses the same key. It was not sent again; give this process a "
                "key of its own."
            ),
        )

    async def _bump(self, intent: Intent, last: Attempt) -> None:
        max_fee, priority = await self._fees()
        priority = max(priority, last.priority_fee + last.priority_fee // 8 + 1)
        max_fee = max(max_fee, last.max_fee + last.max_fee // 8 + 1, priority)
        if max_fee > self.settings.max_fee_cap:
            log.warning("fee cap reached; waiting", label=intent.label, nonce=intent.nonce)
            await self._broadcast(intent, last)
            return
        attempt = self._sign(
            intent.recipient, intent.calldata, intent.value, intent.gas, intent.nonce, max_fee, priority
        )
        self._outbox.attempt(intent, attempt)
        self._observe("bumped", intent.key)
        log.info("fee bumped", label=intent.label, nonce=intent.nonce, max_fee_gwei=max_fee / _GWEI)
        await self._broadcast(intent, attempt)

    async def _fill_gap(self, unfinished: Sequence[Intent], count: int) -> None:
        """A nonce below ours that nothing fills (a foreign transaction was dropped) would hold up all that follow."""
        first = next((intent.nonce for intent in unfinished if intent.state is State.SENT), None)
        if first is None or count >= first or self._outbox.at_nonce(count) is not None:
            return
        if await self._chain_nonce("pending") > count:
            return
        max_fee, priority = await self._fees()
        attempt = self._sign(self.address, b"", 0, 21_000, count, max_fee, priority)
        filler = self._outbox.add(f"gap {count}", "filling a nonce", self.address, b"", 0, 21_000, count, attempt)
        await self._broadcast(filler, attempt)

    async def _in_mempool(self, attempt: Attempt) -> bool:
        found = await self._connection.rpc.call_all("eth_getTransactionByHash", "0x" + attempt.hash.hex())
        return any(item is not None for item in found)

    async def _broadcast(self, intent: Intent, attempt: Attempt) -> _Answer:
        """To every endpoint. A refusal is no failure: the journal has it, and tending tries again."""
        answers = await asyncio.gather(
            *(
                endpoint.call("eth_sendRawTransaction", "0x" + attempt.raw.hex())
                for endpoint in self._connection.rpc.awake()
            ),
            return_exceptions=True,
        )
        verdicts = [_verdict(answer) for answer in answers]
        if _Answer.TAKEN in verdicts:
            return _Answer.TAKEN
        log.info("broadcast refused", label=intent.label, nonce=intent.nonce, reasons=[str(item) for item in answers])
        return _Answer.STALE if all(item is _Answer.STALE for item in verdicts) else _Answer.REFUSED
