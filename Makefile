# `make demo` and `make test` do all the set-up on a machine with Python >= 3.11 and nothing else.
# The environment is made once, outside the tree, and used again until pyproject.toml changes.

VENV   ?= $(HOME)/.cache/vizsla/venv
PYTHON ?= $(shell for p in python3.12 python3.13 python3.11 python3; do \
            $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN    := $(VENV)/bin
RAY_VENV ?= $(HOME)/.cache/vizsla/ray-venv
RAY_TESTS ?= slow or not slow
# A network of its own with nothing but loopback: as root, or as root of a namespace of its own.
ALONE  := unshare $(if $(filter 0,$(shell id -u)),-n,-rn)
# Says which checkout and which dependencies the environment holds.
STAMP  := $(VENV)/.ready-$(shell (pwd; cat pyproject.toml) | cksum | tr ' ' '-')

RAY_STAMP := $(RAY_VENV)/$(notdir $(STAMP))

.DEFAULT_GOAL := help
.PHONY: help install demo notebooks test test-aws test-ray test-all floors lint format clean

help: ## say what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make the environment (about 3 minutes and 6 GB the first time: torch)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Vizsla needs Python >= 3.11 with the modules venv and ensurepip (Debian: apt install python3-venv)."; exit 1; }
	@echo "Installing into $(VENV) (the first time takes some minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@rm -f $(VENV)/.ready-*
	@touch $@

demo: install ## check, fit and predict scikit-learn's handwritten digits, offline, in about a minute
	@$(BIN)/python examples/digits.py

floors: install ## the direction of the imports, and what imports without torch
	@$(BIN)/python -m pytest -q tests/test_floors.py tests/test_imports.py

notebooks: install ## run the notebooks of examples/, without a network
	@$(BIN)/python -m pytest -q tests/examples

test: install ## the default tests, on two workers (they wait for processes and servers half of the time)
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not gpu'

test-aws: install ## AWS's SDKs and notebooks against the AWS door, with the SDKs in environments of their own
	@$(BIN)/python -m pytest -q -m slow tests/aws

test-ray: $(RAY_STAMP) ## the tests of many machines, with Ray in an environment of its own, on loopback alone
	@$(ALONE) sh -c 'ip link set lo up && exec "$$@"' sh $(RAY_VENV)/bin/python -m pytest -q -m "$(RAY_TESTS)" tests/cluster

$(RAY_STAMP): $(STAMP)
	@echo "Installing Ray into $(RAY_VENV) (600 MB) ..."
	@test -x $(RAY_VENV)/bin/python || $(BIN)/python -m venv $(RAY_VENV)
	@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' > \
	  "$$($(RAY_VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/vizsla_below.pth"
	@$(RAY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'ray[default,data,serve,train]>=2.51,<3'
	@rm -f $(RAY_VENV)/.ready-*
	@touch $@

test-all: install ## the slow tests too
	@$(BIN)/python -m pytest

lint: install ## style, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: install ## rewrite the code in the house's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## remove what make and the tests left in the tree
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis demo build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
