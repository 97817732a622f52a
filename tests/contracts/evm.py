"""Contracts on anvil without ceremony: call a function by its name, get decoded events back, or a decoded error.

Several times faster than a Brownie receipt, which the state machine needs, and exact about blocks: every transaction is
mined at once in a block of its own, one second after the last.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from socket import create_connection, socket
from subprocess import Popen
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from eth_abi import decode, encode
from eth_utils import event_abi_to_log_topic, function_abi_to_4byte_selector, to_checksum_address

GAS = 15_000_000
PANIC = "4e487b71"
MESSAGE = "08c379a0"


class Reverted(Exception):
    """A call or transaction that failed: the custom error's name and values."""

    def __init__(self, name: str, values: tuple[Any, ...]) -> None:
        super().__init__(f"{name}{values}")
        self.name = name
        self.values = values


@dataclass(frozen=True)
class Event:
    """One decoded log."""

    name: str
    values: tuple[Any, ...]
    fields: dict[str, Any] = field(compare=False)
    address: str = field(compare=False)


@dataclass(frozen=True)
class Receipt:
    """A transaction that succeeded."""

    block: int
    gas: int
    events: tuple[Event, ...]

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    def one(self, name: str) -> SimpleNamespace:
        """Fields of the only event of that name."""
        (event,) = self.named(name)
        return SimpleNamespace(**event.fields)


def type_of(parameter: dict[str, Any]) -> str:
    """The ABI type as eth_abi spells it, tuples unfolded."""
    if not parameter["type"].startswith("tuple"):
        return str(parameter["type"])
    inner = ",".join(type_of(component) for component in parameter["components"])
    return f"({inner}){parameter['type'][5:]}"


def shaped(parameter: dict[str, Any], value: Any) -> Any:
    """Decoded values with the fields' names, addresses with their checksums."""
    if parameter["type"] == "tuple":
        names = [component["name"] for component in parameter["components"]]
        values = [shaped(*pair) for pair in zip(parameter["components"], value, strict=True)]
        return SimpleNamespace(**dict(zip(names, values, strict=True)))
    return to_checksum_address(value) if parameter["type"] == "address" else value


def decoded(parameters: list[dict[str, Any]], data: bytes) -> list[Any]:
    values = decode([type_of(parameter) for parameter in parameters], data)
    return [shaped(*pair) for pair in zip(parameters, values, strict=True)]


class Chain:
    """One anvil, and the decoders of every contract on it."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        assert place.hostname
        self.connection = HTTPConnection(place.hostname, place.port)
        self.numbers = itertools.count(1)
        self.errors: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, dict[str, Any]] = {}
        self.observers: list[Callable[[Receipt], None]] = []
        self.rpc("anvil_setBlockTimestampInterval", 1)
        self.rpc("anvil_autoImpersonateAccount", True)
        self.rpc("anvil_setLoggingEnabled", False)

    def rpc(self, method: str, *params: Any) -> Any:
        answer = self.raw(method, *params)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def raw(self, method: str, *params: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": next(self.numbers), "method": method, "params": params}
        answer: dict[str, Any] = self.post(body)
        return answer

    def post(self, body: Any) -> Any:
        self.connection.request("POST", "/", json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.loads(self.connection.getresponse().read())

    def learn(self, abi: list[dict[str, Any]]) -> None:
        """Errors and events are decoded wherever they come from."""
        for entry in abi:
            if entry["type"] == "error":
                self.errors[function_abi_to_4byte_selector(entry).hex().removeprefix("0x")] = entry
            elif entry["type"] == "event" and not entry["anonymous"]:
                self.logs["0x" + event_abi_to_log_topic(entry).hex().removeprefix("0x")] = entry

    # Time

    @property
    def block(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    @property
    def time(self) -> int:
        return int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def mine(self, blocks: int = 1) -> None:
        if blocks > 0:
            self.rpc("anvil_mine", hex(blocks))

    def mine_to(self, block: int) -> None:
        """So that the last block is `block`, and the next transaction in the one after."""
        behind = block - self.block
        assert behind >= 0, f"block {block} is {-behind} blocks ago"
        self.mine(behind)

    def next_time(self, time: int) -> None:
        """Timestamp of the next block only."""
        self.rpc("evm_setNextBlockTimestamp", time)

    def jump(self, seconds: int) -> None:
        """Mines one block whose clock is that much later."""
        self.next_time(self.time + seconds)
        self.mine()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside never happened."""
        snapshot = self.rpc("evm_snapshot")
        try:
            yield
        finally:
            self.revert(snapshot)

    def revert(self, snapshot: str) -> None:
        """Back to a snapshot. What is still in the pool then would be mined anew, and what was just mined is so for a
        moment: that is waited for."""
        until = time.monotonic() + 10
        while any(int(count, 16) for count in self.rpc("txpool_status").values()):
            assert time.monotonic() < until, "there is a transaction that no block takes"
        assert self.rpc("evm_revert", snapshot)

    # Transactions

    def send(
        self, sender: str, to: str | None, data: bytes, gas: int = GAS, value: int = 0, price: int = 0
    ) -> dict[str, Any]:
        """Sends and returns the raw receipt, of a success or a failure."""
        call = {"from": sender, "data": "0x" + data.hex(), "gas": hex(gas), "gasPrice": hex(price), "value": hex(value)}
        if to is not None:
            call["to"] = to
        transaction = self.rpc("eth_sendTransaction", call)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            receipt = self.rpc("eth_getTransactionReceipt", transaction)
            if receipt is not None:
                return dict(receipt)
        raise TimeoutError(f"no receipt for {transaction}")

    def transact(self, sender: str, to: str, data: bytes, gas: int = GAS, value: int = 0, price: int = 0) -> Receipt:
        """Sends. Raises Reverted with the decoded error when the transaction failed."""
        return self.received(self.send(sender, to, data, gas, value, price))

    def together(self, sender: str, to: str, calls: Sequence[tuple[bytes, int]]) -> Receipt:
        """Calls with their values, one transaction each, in one block. The last's receipt; raises Reverted for it."""
        self.rpc("evm_setAutomine", False)
        try:
            sent = [
                self.rpc(
                    "eth_sendTransaction",
                    {
                        "from": sender,
                        "to": to,
                        "data": "0x" + data.hex(),
                        "gas": hex(GAS // len(calls)),
                        "gasPrice": "0x0",
                        "value": hex(value),
                    },
                )
                for data, value in calls
            ]
            self.mine()
        finally:
            self.rpc("evm_setAutomine", True)
        receipts = [self.rpc("eth_getTransactionReceipt", transaction) for transaction in sent]
        assert len({receipt["blockNumber"] for receipt in receipts}) == 1
        return self.received(receipts[-1])

    def received(self, receipt: dict[str, Any]) -> Receipt:
        """A raw receipt with its events. Raises Reverted with the decoded error when the transaction failed."""
        if receipt["status"] != "0x1":
            raise self.reverted(self.revert_data(receipt["transactionHash"]))
        events = tuple(self.event(log) for log in receipt["logs"])
        done = Receipt(int(receipt["blockNumber"], 16), int(receipt["gasUsed"], 16), events)
        for observer in self.observers:
            observer(done)
        return done

    def revert_data(self, transaction: str) -> bytes:
        tracer = {"tracer": "callTracer", "tracerConfig": {"onlyTopCall": True}}
        trace = self.rpc("debug_traceTransaction", transaction, tracer)
        return bytes.fromhex(trace.get("output", "0x")[2:])

    def call(self, sender: str, to: str, data: bytes, value: int = 0) -> bytes:
        """An `eth_call` on the last block. Raises Reverted."""
        call = {"from": sender, "to": to, "data": "0x" + data.hex(), "value": hex(value)}
        answer = self.raw("eth_call", call, "latest")
        if "error" in answer:
            raise self.reverted(bytes.fromhex(answer["error"].get("data", "0x")[2:]))
        return bytes.fromhex(answer["result"][2:])

    def calls(self, to: str, datas: list[bytes]) -> list[bytes]:
        """Many `eth_call`s in one request; none may revert."""
        batch = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "eth_call",
                "params": [{"to": to, "data": "0x" + data.hex()}, "latest"],
            }
            for number, data in enumerate(datas)
        ]
        answers = {answer["id"]: answer for answer in self.post(batch)} if datas else {}
        return [bytes.fromhex(answers[number]["result"][2:]) for number in range(len(datas))]

    # Decoding

    def reverted(self, data: bytes) -> Reverted:
        selector = data[:4].hex()
        if selector == PANIC:
            return Reverted("Panic", (int.from_bytes(data[4:], "big"),))
        if selector == MESSAGE:
            return Reverted("Error", decode(["string"], data[4:]))
        if selector not in self.errors:
            return Reverted("Unknown", (data.hex(),))
        entry = self.errors[selector]
        return Reverted(entry["name"], tuple(decoded(entry["inputs"], data[4:])))

    def event(self, log: dict[str, Any]) -> Event:
        entry = self.logs[log["topics"][0]]
        indexed = iter(log["topics"][1:])
        plain = [parameter for parameter in entry["inputs"] if not parameter["indexed"]]
        body = iter(decoded(plain, bytes.fromhex(log["data"][2:])))
        fields = {
            parameter["name"]: decoded([parameter], bytes.fromhex(next(indexed)[2:]))[0]
            if parameter["indexed"]
            else next(body)
            for parameter in entry["inputs"]
        }
        return Event(entry["name"], tuple(fields.values()), fields, to_checksum_address(log["address"]))


class Function:
    """A contract's function: a view is called, anything else is sent from `sender`."""

    def __init__(self, contract: Contract, entry: dict[str, Any]) -> None:
        self.contract = contract
        self.inputs = [type_of(parameter) for parameter in entry["inputs"]]
        self.outputs = entry["outputs"]
        self.selector = function_abi_to_4byte_selector(entry)
        self.view = entry["stateMutability"] in ("view", "pure")

    def encode(self, *arguments: Any) -> bytes:
        """Calldata."""
        return bytes(self.selector) + encode(self.inputs, [as_values(argument) for argument in arguments])

    def simulate(self, *arguments: Any, sender: Any = None, value: int = 0) -> Any:
        """What it would return on the last block's state."""
        chain = self.contract.chain
        data = chain.call(address_of(sender), self.contract.address, self.encode(*arguments), value)
        values = decoded(self.outputs, data)
        return values[0] if len(values) == 1 else tuple(values)

    def each(self, arguments: Iterable[Any]) -> list[Any]:
        """The view's answer for each of these, its only argument, in one request."""
        contract = self.contract
        answers = contract.chain.calls(contract.address, [self.encode(argument) for argument in arguments])
        return [decoded(self.outputs, answer)[0] for answer in answers]

    def __call__(self, *arguments: Any, sender: Any = None, gas: int = GAS, value: int = 0, price: int = 0) -> Any:
        if self.view:
            return self.simulate(*arguments, sender=sender)
        to = self.contract.address
        return self.contract.chain.transact(address_of(sender), to, self.encode(*arguments), gas, value, price)


class Contract:
    """A deployed contract: its functions are attributes."""

    def __init__(self, chain: Chain, address: str, abi: list[dict[str, Any]]) -> None:
        self.chain = chain
        self.address = address
        chain.learn(abi)
        for entry in abi:
            if entry["type"] == "function":
                setattr(self, entry["name"], Function(self, entry))

    def __getattr__(self, name: str) -> Function:
        raise AttributeError(f"the contract has no function {name}")


def as_values(argument: Any) -> Any:
    """Named structs as the tuples that eth_abi wants."""
    if isinstance(argument, SimpleNamespace):
        return tuple(as_values(value) for value in vars(argument).values())
    return address_of(argument) if hasattr(argument, "address") else argument


def address_of(sender: Any) -> str:
    if sender is None:
        return "0x" + "00" * 19 + "01"
    return str(getattr(sender, "address", sender))


@contextmanager
def reverts(name: str, *values: Any) -> Iterator[None]:
    """The block must end in that custom error with those values (`...` for a value that does not matter)."""
    expected = tuple(as_values(value) for value in values)
    try:
        yield
    except Reverted as failure:
        assert failure.name == name, f"reverted with {failure}, not {name}"
        given = tuple(as_values(value) for value in failure.values)
        matching = [want is ... or want == have for want, have in zip(expected, given, strict=False)]
        assert len(given) == len(expected) and all(matching), f"{name}{given}, expected {expected}"
    else:
        raise AssertionError(f"did not revert with {name}{expected}")


@contextmanager
def own_chain(genesis: int = 1_800_000_000) -> Iterator[Chain]:
    """A chain of its own, on a free port, which ends with the block. Base fee 0; time starts at `genesis`."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = ["--timestamp", str(genesis), "--order", "fifo", "--hardfork", "prague", "--block-base-fee-per-gas", "0"]
    process = Popen(["anvil", "--port", str(port), "--silent", "--gas-limit", "30000000", *settings])
    try:
        wait_for(port)
        chain = Chain(f"http://127.0.0.1:{port}")
        try:
            yield chain
        finally:
            chain.connection.close()
    finally:
        process.terminate()
        process.wait()


def alone(chain: Chain, artifact: Any) -> Contract:
    """A contract that needs no other, deployed. `artifact`: Brownie's container of it."""
    receipt = chain.send("0x" + "11" * 20, None, bytes.fromhex(artifact.bytecode), GAS)
    assert receipt["status"] == "0x1", receipt
    return Contract(chain, receipt["contractAddress"], artifact.abi)


def wait_for(port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + 30
    while True:
        try:
            create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
