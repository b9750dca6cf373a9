# mezzotint: `make demo`, `make check`, `make test`. Each makes .venv when it is missing and installs what it needs.
#
#   PYTHON=python3.12        the interpreter that makes .venv
#   PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'    how pip finds torch: here, the CPU wheels
#   PYTEST_ARGS='-x -k dit'  passed to pytest by `make test`
#   WORKERS=8                processes that `make test` deals the tests out to; 0 is this one alone

PYTHON      ?= python3
PIP_ARGS    ?=
PYTEST_ARGS ?=
WORKERS     ?= 2

VENV := .venv
BIN  := $(VENV)/bin
CORE := $(VENV)/.installed-core
DEV  := $(VENV)/.installed-dev
DOCS := $(VENV)/.installed-docs

# One thread: the tests are small, and the same sums in the same order give the same bits.
test house: export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo check style lint types house test format docs freeze clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*##/\1\t/p' Makefile

demo: $(CORE)  ## the main job: pictures of every class, in a minute
	$(BIN)/mezzotint demo --force

check: style lint types house  ## format, lint, types, house rules; `make -k check` goes on after a failure

style: $(DEV)
	$(BIN)/ruff format --check .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

house: $(DEV)
	$(BIN)/pytest -q tests/house

test: $(DEV)  ## everything a contributor must pass
	$(BIN)/pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

format: $(DEV)  ## rewrite the code as ruff formats it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(DOCS)  ## build the site into site/
	$(BIN)/zensical build

freeze: $(DEV)  ## accept the command line's present options as the frozen ones
	$(BIN)/python -m tests.house.options

clean:  ## remove .venv and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis site dist

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit("mezzotint needs Python 3.11 or newer; run: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(CORE): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install -q $(PIP_ARGS) -e .
	@touch $@

$(DEV): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install -q $(PIP_ARGS) -e '.[dev]'
	@touch $(CORE) $@

$(DOCS): pyproject.toml | $(BIN)/pip
	$(BIN)/pip install -q $(PIP_ARGS) -e '.[docs]'
	@touch $@
