PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup run test test-slow lint

setup: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@

run: setup
	$(BIN)/python -m multiscale.run model=hmlstm

test: setup
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-slow: setup  # what trained networks reach, and faults: minutes
	$(BIN)/python -m pytest -n 2 -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
