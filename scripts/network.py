"""`make network`: a chain with three nodes that stays, and what people can type next."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.text import Text

from local_network import (
    ORE,
    PASSWORD,
    ROOT,
    LocalNetwork,
    free_port,
    interruptible,
    start,
    start_nodes,
)

FOLDER = ROOT / "build" / "network"
NODES = ["ada", "bob", "cleo"]
console = Console()


def instructions(network: LocalNetwork) -> str:
    """Shell lines for another terminal, ready to paste."""
    requester, owner = (network.members[name] for name in ("requester", "owner"))
    port = free_port()
    return f"""
# Everybody, in another terminal
cd {ROOT}
export OREBIT_RPC={network.rpc} OREBIT_DEPLOYMENT={network.deployment} PATH={ROOT}/.venv/bin:$PATH

# A requester ({requester.address}, with TokenAI)
export OREBIT_HOME={requester.home} OREBIT_PASSWORD_FILE={requester.home}/password
orebit account balance
orebit task submit examples/two_moons/task.toml --yes -o moons.safetensors
orebit task submit examples/mnist_mlp/task.toml --dry-run

# A rig owner ({owner.address}, with TokenAI)
export OREBIT_HOME={owner.home} OREBIT_PASSWORD_FILE={owner.home}/password
orebit node init --public-url http://127.0.0.1:{port} --listen-host 127.0.0.1 --listen-port {port} \\
    --reveal-confirmations 0
orebit node stake 100
orebit node run

# An onlooker
orebit tasks
orebit nodes
orebit task watch 1
orebit audit 1 --reexecute 1
"""


def main() -> int:
    """Runs until Ctrl-C, or until a part of the network ends by itself."""
    with interruptible(), LocalNetwork(FOLDER) as network:
        try:
            with console.status("Starting a chain, deploying the contracts, starting three nodes ..."):
                start(network, ["requester", "owner"], NODES, 2_000 * ORE)
                start_nodes(network, NODES, 1_000)
            console.print(f"Chain at {network.rpc}; {', '.join(NODES)} are running. Ctrl-C ends everything.")
            console.print(Text(instructions(network)), soft_wrap=True)
            console.print(f"Keystore password: {PASSWORD!r}. Logs: {FOLDER}.", soft_wrap=True)
            while all(process.poll() is None for process in network.processes):
                time.sleep(1)
            console.print(f"A part of the network has ended; its log is in {FOLDER}.", soft_wrap=True)
            return 1
        except KeyboardInterrupt:
            console.print("Interrupted; every process is ended.")
            return 0
        except RuntimeError as error:
            console.print(Text.assemble(("The network could not start. ", "bold red"), str(error)))
            return 1


if __name__ == "__main__":
    sys.exit(main())
