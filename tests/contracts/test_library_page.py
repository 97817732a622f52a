"""docs/binary32.md: its table is the snapshot, its functions exist, and its example compiles and computes."""

from __future__ import annotations

import os
import struct
from types import SimpleNamespace

import pytest
import solcx
from evm import Chain, alone
from library_page import DOCUMENT, EXAMPLE, OUT_OF_DATE, ROOT, document, function_of, is_there
from test_binary32 import COUNT

import setup_compiler
from orebit.program.opcodes import SIGNATURES

WRITING = os.environ.get("OREBIT_DOCS") == "write"


@pytest.mark.skipif(not WRITING, reason="OREBIT_DOCS=write writes docs/binary32.md")
def test_the_page_is_written() -> None:
    DOCUMENT.write_text(document(COUNT), encoding="utf-8")


@pytest.mark.skipif(WRITING, reason="the page is being written")
def test_the_page_is_up_to_date() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == document(COUNT), OUT_OF_DATE


def test_every_operation_is_a_function_of_a_library() -> None:
    assert [name for name in map(function_of, SIGNATURES) if not is_there(name)] == []


def bits(value: float) -> int:
    return int.from_bytes(struct.pack(">f", value))


def test_the_example_computes_a_mean(aside: Chain) -> None:
    """With the libraries alone: nothing else of the project is compiled."""
    names = ["contracts/dispute/Binary32.sol", "contracts/dispute/Int64.sol"]
    sources = {"Mean.sol": {"content": EXAMPLE}} | {name: {"content": (ROOT / name).read_text()} for name in names}
    selection = {"*": {"*": ["abi", "evm.bytecode.object"]}}
    settings = {"viaIR": True, "optimizer": {"enabled": True, "runs": 200}, "outputSelection": selection}
    made = solcx.compile_standard(
        {"language": "Solidity", "sources": sources, "settings": settings}, solc_version=setup_compiler.VERSION
    )["contracts"]["Mean.sol"]["Mean"]
    artifact = SimpleNamespace(abi=made["abi"], bytecode=made["evm"]["bytecode"]["object"])
    mean = alone(aside, artifact).mean
    assert mean([bits(value) for value in (1.5, -0.25, 4.0)]) == bits(1.75)
    assert mean([]) == 0x7FC00000, "zero by zero"
