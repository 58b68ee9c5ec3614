# make demo and make test each work alone, from nothing but Python and a package index.

PYTHON ?= python3
BIN := .venv/bin
CONSTRAINTS := deploy/constraints/cpu.txt
DEMO := demo
ELSEWHERE := not slow and not gpu and not weights and not cluster

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster test-slow test-faults lint format clean

help:
	@echo "make demo    simulate an archive, run the whole pipeline on it, name the report"
	@echo "make test    run the tests (minutes; make test-cluster and make test-slow run the rest)"
	@echo "make lint    ruff, mypy, import-linter"

.venv/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

demo: .venv/.installed
	rm -rf $(DEMO)
	$(BIN)/anabatch simulate $(DEMO)/archive --images 24 --seed 1 --size 972x724
	$(BIN)/anabatch run -c deploy/demo.toml
	@echo "The report: $$(ls -t $(DEMO)/store/runs/*/report.html | head -n 1)"

test: .venv/.installed
	$(BIN)/pytest -m "$(ELSEWHERE)"

test-cluster: .venv/.installed
	$(BIN)/pytest -m "cluster and not slow and not gpu and not weights"

test-slow: .venv/.installed
	$(BIN)/pytest -m "slow and not gpu and not weights"

# kills, full disks and failing calls, for an hour; what came of them is a page of its own
test-faults: .venv/.installed
	ANABATCH_FAULT_RESULTS=tests/faults/RESULTS.md $(BIN)/pytest tests/faults -m "slow and not cluster"

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy anabatch jobs schemas tests
	$(BIN)/lint-imports

format: .venv/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(DEMO) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
