"""Imports whatever the commands import, so that its byte code is on disk before many processes want it at once."""

from __future__ import annotations

import importlib
import pkgutil

import orebit

APPLICATIONS = ("brownie.project", "mlxtend.data")


def main() -> None:
    for module in pkgutil.walk_packages(orebit.__path__, "orebit."):
        # What starts a program when it is imported, and the library that is no Python.
        if module.name.rpartition(".")[2] not in ("__main__", "_kernels"):
            importlib.import_module(module.name)
    for name in APPLICATIONS:
        importlib.import_module(name)


if __name__ == "__main__":
    main()
