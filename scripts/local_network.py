"""A chain of its own with Orebit deployed on it, and node daemons: what `make demo` and `make network` share."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
ORE = 10**18
PASSWORD = "local network"
# Nodes of a simulated chain: quick to look, with stake for every lease they can hold.
NODE_SETTINGS: dict[str, object] = {
    "slots": 12,
    "parallel": 1,
    "threads": 1,
    "poll_seconds": 0.2,
    "reveal_confirmations": 0,
    "exit_grace_seconds": 1,
    "withdraw_above": 1_000_000,
    "stake": {"total": 1_000_000, "per_requester": 1_000_000},
}


def free_port() -> int:
    """Returns a TCP port on loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def die_with_parent() -> None:
    """Asks the kernel (Linux) to end a child when this process is gone, however it went."""
    pr_set_pdeathsig = 1
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


@dataclass
class Member:
    """Somebody on the network: a folder of its own (OREBIT_HOME), an account, perhaps a running daemon."""

    name: str
    home: Path
    environment: dict[str, str]
    address: str = ""
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0


@dataclass
class LocalNetwork:
    """An anvil on a free port, the contracts, and members. Use as a context manager: nothing survives its exit."""

    folder: Path
    block_seconds: float = 0.25
    port: int = field(default_factory=free_port)
    members: dict[str, Member] = field(default_factory=dict)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> LocalNetwork:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def rpc(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def deployment(self) -> Path:
        return self.folder / "31337.json"

    def start_chain(self) -> None:
        """Starts anvil. Raises RuntimeError when it does not answer within ten seconds."""
        command = [
            str(ROOT / "node_modules/.bin/anvil"),
            "--port",
            str(self.port),
            "--block-time",
            str(self.block_seconds),
        ]
        self.spawn([*command, "--silent", "--accounts", "10"], "anvil", os.environ.copy())
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                self.request("eth_chainId")
                return
            time.sleep(0.05)
        raise RuntimeError(f"anvil did not answer on port {self.port}; see {self.folder / 'anvil.log'}.")

    def request(self, method: str, *params: Any) -> Any:
        """One JSON-RPC call to the chain. Raises RuntimeError with the chain's own words when it refuses."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        call = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(call, timeout=10) as answer:
            reply = json.load(answer)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']['message']}")
        return reply["result"]

    def deploy(self) -> None:
        """Deploys with the Brownie script, as anybody would."""
        environment = os.environ | {
            "OREBIT_RPC": self.rpc,
            "OREBIT_DEPLOYMENT_DIR": str(self.folder),
            "SOLCX_BINARY_PATH": str(ROOT / ".solcx"),
        }
        log = self.folder / "deploy.log"
        with log.open("wb") as output:
            command = [str(ROOT / ".venv/bin/brownie"), "run", "deploy", "--network", "orebit-local"]
            code = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=output, stderr=output, check=False
            ).returncode
        if code or not self.deployment.exists():
            raise RuntimeError(f"Deployment failed:\n{log.read_text()[-4000:]}")

    def spawn(self, command: list[str], name: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Starts a process in a group of its own whose output goes to `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """Ends every process: politely, then not. Never raises for a process that is already gone."""
        alive = [process for process in reversed(self.processes) if process.poll() is None]
        for process in alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 5
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def add_member(self, name: str) -> Member:
        """Makes a folder and an environment for somebody; the account comes with `create_account`."""
        home = self.folder / name
        home.mkdir()
        password = home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o600)
        environment = os.environ | {
            "OREBIT_HOME": str(home),
            "OREBIT_RPC": self.rpc,
            "OREBIT_DEPLOYMENT": str(self.deployment),
            "OREBIT_PASSWORD_FILE": str(password),
            "OMP_NUM_THREADS": "1",
        }
        member = Member(name, home, environment)
        self.members[name] = member
        return member

    def fund(self, members: Sequence[Member], tokens: int, ether: int = 10) -> None:
        """Gives members ether (whole) and TokenAI (in wei) each from the deployer's account."""
        token = json.loads(self.deployment.read_text())["token"]
        deployer = self.request("eth_accounts")[0]
        sent = []
        for member in members:
            self.request("anvil_setBalance", member.address, hex(ether * ORE))
            transfer = "0xa9059cbb" + member.address[2:].lower().zfill(64) + f"{tokens:064x}"
            sent.append(self.request("eth_sendTransaction", {"from": deployer, "to": token, "data": transfer}))
        if any(self.wait(transaction)["status"] != "0x1" for transaction in sent):
            raise RuntimeError("The deployer could not give everybody tokens.")

    def wait(self, transaction: str) -> dict[str, Any]:
        """The receipt of a transaction sent by `request`. Raises RuntimeError after ten seconds without one."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            receipt: dict[str, Any] | None = self.request("eth_getTransactionReceipt", transaction)
            if receipt is not None:
                return receipt
            time.sleep(0.05)
        raise RuntimeError(f"Transaction {transaction} was not mined.")

    def orebit(self, member: Member, *arguments: str) -> str:
        """Runs the `orebit` command as that member and returns what it printed. Raises RuntimeError when it fails."""
        result = subprocess.run(
            [sys.executable, "-m", "orebit.cli.main", *arguments],
            env=member.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise RuntimeError(f"orebit {' '.join(arguments)} ({member.name}): {result.stdout}{result.stderr}")
        return result.stdout


def create_account(member: Member) -> None:
    """Makes an account as `orebit account new` does, with fewer rounds of key stretching: the key is worth nothing."""
    from orebit.chain.home import Home
    from orebit.chain.keystore import create

    member.address = create(Home(member.home).keystore, PASSWORD, iterations=4096).address


def start(network: LocalNetwork, people: Sequence[str], nodes: Sequence[str], purse: int) -> None:
    """Chain, contracts, and everybody's account with a purse (wei of TokenAI); the nodes' settings beside them."""
    network.start_chain()
    with ThreadPoolExecutor(1) as pool:
        deployed = pool.submit(network.deploy)
        for name in (*people, *nodes):
            create_account(network.add_member(name))
        for name in nodes:
            init_node(network, network.members[name])
        deployed.result()
    network.fund(list(network.members.values()), purse)


def init_node(network: LocalNetwork, member: Member) -> None:
    """Writes what `orebit node init` would, for a free port of loopback."""
    from orebit.daemon.config import FILE_NAME, make_config, render_config

    port = free_port()
    place = {"public_url": f"http://127.0.0.1:{port}", "listen_host": "127.0.0.1", "listen_port": port}
    config = make_config(rpc=[network.rpc], **place, **NODE_SETTINGS)
    (member.home / FILE_NAME).write_text(render_config(config), encoding="utf-8")


def start_nodes(network: LocalNetwork, names: Sequence[str], stake: int) -> None:
    """Stakes (whole TokenAI) and starts node daemons side by side, each with an owner and a store of its own."""
    with ThreadPoolExecutor(len(names)) as pool:
        members = [network.members[name] for name in names]
        staked = {pool.submit(network.orebit, member, "node", "stake", str(stake)): member for member in members}
        # From here, not from the pool: the kernel ties a child to the thread that started it.
        for each in as_completed(staked):
            each.result()
            run_node(network, staked[each])


def run_node(network: LocalNetwork, member: Member) -> None:
    """Starts (again) the member's daemon; its log grows in `NAME.log`."""
    command = [sys.executable, "-m", "orebit.cli.main", "node", "run"]
    member.process = network.spawn(command, member.name, member.environment)


def kill_hard(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL, at once, to the whole group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Turns SIGTERM into the same orderly exit as Ctrl-C."""

    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    # A shell starts what runs in its background with SIGINT ignored; the way out must work there too.
    previous = [(signal.SIGTERM, signal.signal(signal.SIGTERM, interrupt))]
    previous.append((signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler)))
    try:
        yield
    finally:
        for number, handler in previous:
            signal.signal(number, handler)
