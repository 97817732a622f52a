"""docs/binary32.md: the scalar library by itself, and the gas of each operation as the snapshot has it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orebit.program.opcodes import SIGNATURES, Op

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "binary32.md"
SNAPSHOT = ROOT / "snapshots" / "binary32.json"
SOURCES = ROOT / "contracts" / "dispute"
OUT_OF_DATE = f"{DOCUMENT.name} is out of date: run with OREBIT_DOCS=write, or `make docs`"

# The function behind each operation; what is not named here is named as the operation, less its first letter.
_NAMES = {
    Op.FROUND: "roundHalfEven",
    Op.F_TO_I: "toInt64",
    Op.I_TO_F: "fromInt64",
    Op.F_BITS: "canonical",
    Op.BITS_F: "canonical",
    Op.ISHL: "shl",
    Op.ISHR: "shr",
    Op.ISAR: "sar",
    Op.ROTL32: "rotl32",
}
_HEAD = """# Floats and integers in Solidity

`Binary32.sol` is IEEE 754 single precision, bit for bit what CPUs and GPUs compute: rounded once to nearest, ties to
even, with subnormals, infinities, signed zeros and one NaN, `0x7fc00000`. `Int64.sol` is 64-bit integer arithmetic that
wraps. Both are libraries of internal pure functions in one file each, which import nothing: copy the file, or import it
from this repository. Nothing in them reverts, loops or touches memory.

```solidity
{example}```

- A float is its 32 bits in a `uint256`; the bits above must be zero, and are zero in every result.
- An integer is an `int256` within the signed 64-bit range; so is every result.
- A comparison gives 1 or 0, not a bool: a word like every other result. NaN compares false with everything.
- Integer division truncates, and gives 0 by zero; shift counts are taken modulo 64.
- [numerics.md](numerics.md) says what each operation gives in every case.

The compiler must be Solidity 0.8.37, with the IR pipeline and the optimizer for the figures below.

## Gas

What each operation takes with its operands on hand, from {count:,} operands each: special values among them.
The tests compare every result with this machine's processor and with the reference; they also write this page
(`make docs`), which they find out of date when the gas is another. `OREBIT_LONG_TESTS=1` takes a million operands each.
"""
EXAMPLE = """// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Binary32} from "contracts/dispute/Binary32.sol";
import {Int64} from "contracts/dispute/Int64.sol";

contract Mean {
    /// @return The mean of floats, each given by its bits.
    function mean(uint32[] calldata values) external pure returns (uint32) {
        uint256 sum;
        int256 count;
        for (uint256 i; i < values.length; ++i) {
            sum = Binary32.add(sum, values[i]);
            count = Int64.add(count, 1);
        }
        return uint32(Binary32.div(sum, Binary32.fromInt64(count)));
    }
}
"""


def function_of(op: Op) -> str:
    """Library and function that an operation is."""
    library = "Binary32" if op.name.startswith("F") or op in (Op.I_TO_F, Op.BITS_F) else "Int64"
    return f"{library}.{_NAMES.get(op, op.name[1:].lower())}"


def is_there(function: str) -> bool:
    """Whether the library has a function of that name."""
    library, name = function.split(".")
    source = (SOURCES / f"{library}.sol").read_text(encoding="utf-8")
    return re.search(rf"^    function {name}\(", source, re.MULTILINE) is not None


def document(count: int) -> str:
    """The page; `count` operands of each operation are measured."""
    gas = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    rows = {function_of(op): gas[op.name.lower()] for op in SIGNATURES if op is not Op.BITS_F}
    lines = [f"| `{name}` | {taken['median']} | {taken['most']} |" for name, taken in rows.items()]
    head = _HEAD.replace("{example}", EXAMPLE).replace("{count:,}", f"{count:,}")
    return "\n".join([head, "| function | median | most |", "|---|---:|---:|", *lines, ""])
