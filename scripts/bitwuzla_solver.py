"""Bitwuzla from PyPI as the solver that halmos calls: `python bitwuzla_solver.py query.smt2`."""

from __future__ import annotations

import sys

import bitwuzla


def main() -> None:
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    parser.parse(sys.argv[1])


if __name__ == "__main__":
    main()
