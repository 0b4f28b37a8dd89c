# Every target makes .venv and installs what it needs; nothing has to be done before.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Small tensors gain nothing from two threads, and two test workers would fight over the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test lint test-slow results readme clean

demo: $(VENV)/.installed
	$(BIN)/ketformer demo

test: lint
	$(PYTEST) -n 2

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Long proofs: not part of `make test`.
test-slow: $(VENV)/.installed
	$(PYTEST) -m slow

# The numbers in the README: about an hour on two cores. Needs Tiny Shakespeare.
results: $(VENV)/.installed
	$(BIN)/ketformer reproduce qisa --json > results/reproduce-qisa.json.part
	mv results/reproduce-qisa.json.part results/reproduce-qisa.json
	$(MAKE) readme

readme: $(VENV)/.installed
	$(BIN)/python scripts/update_readme.py

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Ketformer needs Python 3.11 or newer; set PYTHON=..."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
