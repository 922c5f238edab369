# `make chat` and `make test` set up what they need on a fresh machine; the second time they start at once.
VENV := .venv
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
ARGS ?=
READY := $(VENV)/.anygpt-ready
READY_DEV := $(VENV)/.anygpt-ready-dev
READY_EVAL := $(VENV)/.anygpt-ready-eval

.PHONY: chat test report lint python

chat: $(READY)
	@$(VENV)/bin/anygpt chat $(ARGS)

test: lint
	@$(VENV)/bin/python -m pytest -q $(ARGS)

# Sixteen minutes on two cores; `make report COUNT=300` takes hours and has small errors.
COUNT ?= 30
report: $(READY_EVAL)
	@$(VENV)/bin/anygpt evaluate --report output/report --count $(COUNT) $(ARGS)

lint: $(READY_DEV)
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy

$(READY): pyproject.toml | python
	@echo "Setting up $(VENV) (once; this takes a few minutes) …" >&2
	@$(PYTHON) -m venv $(VENV) </dev/null >&2
	@$(VENV)/bin/python -m pip install -qq --editable . </dev/null >&2
	@touch $@

$(READY_DEV): pyproject.toml | python
	@echo "Setting up $(VENV) for the tests (once; this takes a few minutes) …" >&2
	@$(PYTHON) -m venv $(VENV) </dev/null >&2
	@$(VENV)/bin/python -m pip install -qq --editable '.[dev]' </dev/null >&2
	@touch $@ $(READY)

$(READY_EVAL): pyproject.toml | python
	@echo "Setting up $(VENV) for the report (once; this takes a few minutes) …" >&2
	@$(PYTHON) -m venv $(VENV) </dev/null >&2
	@$(VENV)/bin/python -m pip install -qq --editable '.[eval]' </dev/null >&2
	@touch $@ $(READY)

python:
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "make: Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
