"""Bitwuzla from PyPI as the solver that halmos calls: `python bitwuzla_solver.py query.smt2`.

Halmos first asks with products and quotients left open, and whether an answer depends on them it reads from z3's way of
printing models. Here they are what the EVM computes from the start.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import bitwuzla

OPEN = re.compile(r"\(declare-fun (f_evm_(bv\w+)_(\d+)) \([^()]*(?:\([^()]*\)[^()]*)*\) \(_ BitVec \d+\)\)")


def definition(found: re.Match[str]) -> str:
    name, operation, bits = found.groups()
    value = f"({operation} x y)"
    if operation != "bvmul":
        value = f"(ite (= y (_ bv0 {bits})) (_ bv0 {bits}) {value})"
    return f"(define-fun {name} ((x (_ BitVec {bits})) (y (_ BitVec {bits}))) (_ BitVec {bits}) {value})"


def main() -> None:
    query = OPEN.sub(definition, Path(sys.argv[1]).read_text())
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    with tempfile.NamedTemporaryFile("w", suffix=".smt2") as defined:
        defined.write(query)
        defined.flush()
        parser.parse(defined.name)


if __name__ == "__main__":
    main()
