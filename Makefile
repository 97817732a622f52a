# Two commands do everything, set-up included: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export BROWNIE_NOCOMPILE := 1
export SOLCX_BINARY_PATH := $(CURDIR)/.solcx
# Brownie's plugin wants its chain on PATH, wherever it is loaded.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

PACKAGES := -c constraints.txt --no-binary eth-brownie -e '.[contracts,demo,dev]'

.PHONY: setup demo demo-fraud network test bench docs lint typecheck test-node test-contracts test-system snapshots slither forge halmos clean

setup:
	@$(MAKE) --quiet --no-print-directory -j2 build/.compiled .venv/.bytecode

# pip knows where this machine has its torch; uv does the many others in a third of pip's time, where it reaches them.
.venv/.installed: pyproject.toml constraints.txt setup.py $(wildcard node/orebit/executor/native/csrc/*)
	@echo "Setting up Python in .venv (a minute the first time) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Orebit needs Python 3.11 or newer; set PYTHON=/path/to/python3.11.")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --no-compile -c constraints.txt torch numpy uv
	@$(BIN)/uv pip install --quiet --native-tls --python $(BIN)/python $(PACKAGES) || \
		{ echo "uv could not; pip does it (a minute or two more) ..."; $(BIN)/pip install --quiet --no-compile $(PACKAGES); }
	@touch $@

# Byte code is written once, beside the compiler of contracts, and not by a dozen processes that start at once.
.venv/.bytecode: .venv/.installed scripts/import_all.py
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python scripts/import_all.py
	@touch $@

node_modules/.installed: package.json package-lock.json
	@echo "Setting up the chain and the compiler in node_modules ..."
	@npm ci --silent --no-audit --no-fund
	@touch $@

build/.compiled: .venv/.installed node_modules/.installed $(shell find contracts -name '*.sol') brownie-config.yaml
	@echo "Compiling the contracts (one to three minutes) ..."
	@mkdir -p build && $(BIN)/python scripts/setup_compiler.py > /dev/null && $(BIN)/python scripts/setup_networks.py > /dev/null
	@$(BIN)/python scripts/compile_contracts.py > build/compile.log 2>&1 || { cat build/compile.log; exit 1; }
	@touch $@

demo: setup
	@$(BIN)/python scripts/demo.py

# Every kind of cheat, caught and judged; CHEAT=wrong-bit shows one of them.
demo-fraud: setup
	@$(BIN)/python scripts/demo_fraud.py

network: setup
	@$(BIN)/python scripts/network.py

# Two cores stay busy: types beside the Python layers, contracts beside the networks that wait for their chains.
SIDE_BY_SIDE := -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

test: lint
	@echo "Checking types and testing the Python layers (four minutes) ..."
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) typecheck test-node
	@echo "Testing the contracts and whole networks (eight minutes) ..."
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) test-contracts test-system

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@node_modules/.bin/solhint 'contracts/**/*.sol'

typecheck: setup
	@$(BIN)/mypy

test-contracts: setup
	$(BIN)/python -m pytest tests/contracts -q

test-node: setup
	$(BIN)/python -m pytest tests/node -q -p no:pytest-brownie -n 2 --dist worksteal

test-system: setup
	$(BIN)/python -m pytest tests/system -q -p no:pytest-brownie -n 2 --dist worksteal

# `make bench BENCH=--quick` shows in a minute that everything runs; bench/engine.py --help has the other options.
bench: setup
	@$(BIN)/python bench/engine.py $(BENCH)

docs: setup
	OREBIT_DOCS=write $(BIN)/python -m pytest tests/node/strategy/test_supported.py tests/node/dispute/test_matrix.py -q
	OREBIT_DOCS=write $(BIN)/python -m pytest tests/contracts/test_library_page.py -q

snapshots: setup
	OREBIT_SNAPSHOTS=write $(BIN)/python -m pytest tests/contracts/test_gas.py tests/contracts/test_court_gas.py tests/contracts/test_binary32.py tests/contracts/test_evaluator_gas.py -q

slither: setup
	@$(BIN)/python scripts/run_slither.py

# A second fuzzer; FORGE has its options. The first time compiles for some minutes.
forge: setup
	@$(BIN)/python scripts/run_forge.py $(FORGE)

# Symbolic checks; HALMOS has its options.
halmos: setup
	@$(BIN)/python scripts/run_halmos.py $(HALMOS)

clean:
	rm -rf build .solcx .mypy_cache .ruff_cache .pytest_cache
