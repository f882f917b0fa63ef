# `make run` installs into .venv and runs the quickstart; `make test` checks everything but what is marked slow, and
# installs what the sandbox needs, if it isn't there.

VENV := .venv
BIN := $(VENV)/bin
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON = $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell $(p) -c '$(SUPPORTED)' 2>/dev/null && echo $(p))))
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test test-all check sandbox bench

run: $(VENV)/installed
	$(BIN)/ethos run examples/quickstart/config.yaml

test: check sandbox
	$(BIN)/pytest -q

test-all: check sandbox
	$(BIN)/pytest -q -m "slow or not slow"

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

sandbox:
	@command -v bwrap >/dev/null && command -v php >/dev/null || ./debian-packages.sh

bench: $(VENV)/installed
	$(BIN)/python bench/all.py

$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 to 3.13 with venv found; install one (Debian: apt install python3.11-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	@touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/made
	@echo "installing into $(VENV): a few minutes the first time"
	$(INSTALL) -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@
