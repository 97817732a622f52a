"""Adds `orebit-local` to Brownie's list of networks: whatever chain OREBIT_RPC names, run by somebody else.

Brownie keeps its networks in ~/.brownie and knows no project's own. Written once, whole or not at all.
"""

from __future__ import annotations

import os

import yaml
from brownie._config import CONFIG, _get_data_folder

NETWORK = {"id": "orebit-local", "name": "A chain at OREBIT_RPC", "host": "$OREBIT_RPC", "chainid": "31337"}


def main() -> None:
    """Writes the network if Brownie does not know it yet."""
    if NETWORK["id"] in CONFIG.networks:
        return
    path = _get_data_folder().joinpath("network-config.yaml")
    networks = yaml.safe_load(path.read_text())
    networks["live"].append({"name": "Orebit", "networks": [NETWORK]})
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(yaml.dump(networks, sort_keys=False))
    partial.replace(path)


if __name__ == "__main__":
    main()
