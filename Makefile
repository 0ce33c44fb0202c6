# Every target does its own set-up: `make demo` or `make test` on a fresh clone is all it takes.
#   make demo        the whole chain on the embedded sample, ends with a report (runs/demo/)
#   make demo-study  the pre-declared study: five seeds, test prompts read once (long)
#   make simulation  which objective finds the true shares where they are known (long)
#   make bench       every benchmark against its peer, and the tables of docs/performance.md (an hour)
#   make test        all quick tests      make test-all   the slow ones as well
#   make check       formatting, lint, strict types, documentation
#   make docs        regenerate docs/command-line.md, build site/
#   make clean       remove what tools leave behind; .venv (make clean-venv) and runs/ stay

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Models come from installed packages; no hub is asked. Waiting OpenMP threads sleep: spinning ones collapse
# when another process is busy on the same cores.
export HF_HUB_OFFLINE := 1
export OMP_WAIT_POLICY := PASSIVE

FOUND := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else "ok")' 2>/dev/null)
ifneq ($(FOUND),ok)
$(error accord needs Python 3.11 or newer; $(PYTHON) is $(or $(FOUND),not a Python that runs). Name another one: make PYTHON=python3.11 $(MAKECMDGOALS))
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-study simulation bench test test-all check docs clean clean-venv

help:
	@sed -n '2,10s/^# *//p' Makefile

setup: $(STAMP)

# Without the stamp the environment is half made and is made anew; with an old one it is brought up to date.
$(STAMP): pyproject.toml constraints.txt weights.txt
	@test -f $@ || rm -rf $(VENV)
	@rm -f $@
	$(PYTHON) -m venv $(VENV)
	$(PIP) install torch==2.13.0
	$(PIP) install -c constraints.txt -e '.[dev,docs]'
	$(PIP) install --no-deps --require-hashes -r weights.txt
	@touch $@

demo: $(STAMP)
	$(BIN)/accord demo --output-dir runs/demo

demo-study: $(STAMP)
	$(BIN)/python -m accord.demo.study

simulation: $(STAMP)
	$(BIN)/python -m accord.recovery.simulation configs/simulation.yaml --output-dir runs/simulation

# Peers get environments of their own under benchmarks/.venvs. Nothing else runs beside it, so waiting threads may spin.
# For the growth of time and memory: .venv/bin/python -m benchmarks.run_all --growth
bench: $(STAMP)
	env -u OMP_WAIT_POLICY $(BIN)/python -m benchmarks.run_all

# One thread per test process: two processes share two cores.
test test-all: export OMP_NUM_THREADS := 1
test: $(STAMP)
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet

docs: $(STAMP)
	$(BIN)/python -m accord.cli.reference docs/command-line.md
	$(BIN)/mkdocs build --strict --quiet

clean:
	rm -rf build dist site .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-venv:
	rm -rf $(VENV)
