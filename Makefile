# `make` alone lists the targets. The environment is made by the first target that needs it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes share the work where there are two cores; more would only crowd them, because the libraries have threads of their own.
WORKERS := $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1); [ $$n -gt 1 ] && echo 2 || echo 0)

.PHONY: help setup check demo test test-slow faults fuzz lint audit types layers serve bench lock wheel clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

check:
	@command -v $(PYTHON) >/dev/null || { echo "Python is missing. Type: sudo apt-get install -y python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Type: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@command -v uv >/dev/null || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "The venv module is missing. Type: sudo apt-get install -y python3-venv"; exit 1; }
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libgomp.so.1")' 2>/dev/null || [ "$$(uname)" = Darwin ] \
	  || { echo "The OpenMP runtime is missing; LightGBM and implicit need it. Type: sudo apt-get install -y libgomp1"; exit 1; }

$(READY): requirements.lock pyproject.toml | check
	@echo "Setting up $(VENV) from requirements.lock (once; about 1 GB) ..."
	@if command -v uv >/dev/null; then \
	  uv venv -q --seed --allow-existing --python $(PYTHON) $(VENV) && uv pip install -q --python $(BIN)/python --require-hashes --no-deps -r requirements.lock \
	  && uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e . ; \
	else \
	  $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock \
	  && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . ; \
	fi
	@touch $(READY)

setup: $(READY) ## make the environment and nothing else

demo: $(READY) ## the whole product on a real retailer's data, in minutes
	@$(BIN)/retain demo

test: $(READY) ## the default test suite
	@$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-slow: $(READY) ## what takes longer, but for faults: quality on public data, schemathesis at full size
	@$(BIN)/python -m pytest -q -m "slow and not fault"

faults: $(READY) ## every fault that we foresee, tried with the real part; the table goes to docs/faults.md
	@$(BIN)/python -m benchmarks.faults

fuzz: $(READY) ## 100,000 bent requests against the default workspace, which must be published
	@$(BIN)/python -m benchmarks.fuzz --workspace var

lint: $(READY) ## style, types and import layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports --config pyproject.toml

audit: $(READY) ## known holes in what the lock pins; asks a database over the network
	@$(BIN)/python .ci/audit.py

serve: $(READY) ## run the service on the default workspace
	@$(BIN)/retain serve

bench: $(READY) ## speed and size, as ratios within one run
	@$(BIN)/python -m benchmarks

lock: ## resolve requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes --no-header -q -o requirements.lock

wheel: $(READY) ## build the wheel into dist/
	@rm -rf dist && $(BIN)/python -m hatchling build -t wheel

clean: ## remove the environment and the default workspace
	rm -rf $(VENV) var dist .pytest_cache .mypy_cache .ruff_cache
