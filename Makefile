# The newest Python that is new enough and can create a virtual environment; or your own: make setup PYTHON=...
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
HAS_VENV := import venv, ensurepip
PYTHON ?= $(or $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c '$(HAS_VENV); $(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done),python3)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-peers format constraints clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: .venv/installed  ## create .venv with the pinned dependencies

.venv/installed: pyproject.toml constraints.txt | .venv/bin/pip
	.venv/bin/pip install --disable-pip-version-check --use-pep517 -c constraints.txt -e '.[dev]'
	@touch $@

.venv/bin/pip:
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { echo "policylearn needs Python 3.11 or newer; $(PYTHON) is not." \
		"Install one, or name it: make setup PYTHON=/path/to/python3.11"; exit 1; } >&2
	@$(PYTHON) -c '$(HAS_VENV)' 2>/dev/null || { echo "$(PYTHON) lacks its venv module." \
		"On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; } >&2
	$(PYTHON) -m venv .venv

demo: setup  ## learn a policy on the planted benchmark, into runs/demo
	.venv/bin/policylearn train configs/demo.toml --out runs/demo

test: setup  ## lint, check formatting and types, run the tests
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy policylearn
	.venv/bin/pytest -q -n 2 --dist loadgroup

test-all: setup  ## all tests, with those that take long: whole clusters that lose machines, jobs, kills at random moments
	.venv/bin/pytest -q -n 2 --dist loadgroup -m ''

test-peers: setup  ## install the heavier trainers of others, and run the tests that need them
	.venv/bin/pip install --disable-pip-version-check -c constraints.txt -e '.[test-peers]'
	.venv/bin/pytest -q tests/peers

format: setup  ## sort imports, fix what can be fixed, format
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

constraints:  ## pin in constraints.txt what .venv holds now
	{ sed '/^#/!d' constraints.txt; .venv/bin/pip freeze --all --exclude pip --exclude-editable \
		| sed -E '/^(cuda|nvidia|triton)/d; s/\+[a-z0-9.]+$$//'; } > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

clean:  ## remove caches and build output; .venv and runs stay
	rm -rf dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
