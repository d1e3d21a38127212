# The two commands of the README are `make demo` and `make test`; both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:  ## list the commands
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## /make \1\t/'

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv/linted: .venv/tested
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@

demo: .venv/installed  ## train on a real table, look at the result
	$(BIN)/python examples/demo.py

test: .venv/tested  ## run the tests, in two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: .venv/linted  ## style, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/tested  ## measure, and write the figures into the README
	$(BIN)/python -m benchmarks

clean:  ## remove what the other commands made
	rm -rf .venv demo dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
