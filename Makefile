PYTHON ?= python3
BIN := .venv/bin
MINIMAL := $(CURDIR)/.venv-minimal

.PHONY: setup run test test-minimal test-slow test-triton lint docs

setup: .venv/.installed

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --editable '.[dev]'
	touch $@

run: setup
	$(BIN)/python -m multiscale.run model=hmlstm

test: setup
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-minimal: setup $(MINIMAL)/.installed  # imports and a run with the lowest versions allowed, and without any extra
	PYTHON_UNDER_TEST=$(MINIMAL)/bin/python $(BIN)/python -m pytest tests/test_package.py \
	    -k 'test_nothing_imports or test_a_run_ends'

$(MINIMAL)/.installed: pyproject.toml tests/helpers/lowest.py | setup
	rm -rf $(MINIMAL)
	$(PYTHON) -m venv $(MINIMAL)
	$(BIN)/python tests/helpers/lowest.py > $(MINIMAL)/lowest.txt
	$(MINIMAL)/bin/python -m pip install -qq --constraint $(MINIMAL)/lowest.txt --editable .
	touch $@

test-slow: setup  # what trained networks reach, and faults: minutes
	$(BIN)/python -m pytest -n 2 -m slow

# Without a GPU, in Triton's interpreter; `pip install 'multiscale-rnn[triton]'` first, of 1 GB, or name in PYTHONPATH a
# folder that has it (3.9: the interpreter of 3.6 fails with the numpy of today). With a GPU: TRITON_INTERPRET=0
test-triton: export TRITON_INTERPRET ?= 1
test-triton: setup
	$(BIN)/python -m pytest -rs tests/kernels/test_hmlstm_triton.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup  # site/index.html, which needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
