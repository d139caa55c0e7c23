# `make run` and `make test` do all their set-up in .venv; nothing else on the machine is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEMO := examples/simulator.yaml
PACKAGES := kernel optimizers ledger attunement proofs

.PHONY: run test test-unit soak lint format prove prove-check mutation crosshair figures bench bench-fold live lock clean

run: .venv/run.stamp
	@$(BIN)/lambda-attunement keys init --config $(DEMO) --if-missing
	@$(BIN)/lambda-attunement run --config $(DEMO)

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 --cov --cov-branch --cov-report=term --cov-fail-under=95

test-unit: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 tests/kernel tests/cal tests/optimizers tests/ledger

lint: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8 $(PACKAGES) tests benchmarks
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The writer is killed a hundred times in the midst of its work; the tests that mount file systems need root.
soak: .venv/dev.stamp
	LEDGER_KILL_ROUNDS=100 $(BIN)/python -m pytest tests/ledger/test_ledger_recovery.py tests/ledger/test_ledger_faults.py

prove: .venv/run.stamp
	$(BIN)/python -m proofs

# Proves everything again and compares certificate, report and exports byte for byte.
prove-check: .venv/run.stamp
	$(BIN)/python -m proofs --check

mutation: .venv/run.stamp
	$(BIN)/python -m proofs.mutation --details build/mutants.txt

crosshair: .venv/dev.stamp
	$(BIN)/python -m proofs.confirm

figures: .venv/dev.stamp
	$(BIN)/python docs/figures/make_companion.py

bench: .venv/run.stamp
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/ledger_throughput.py

bench-fold: .venv/run.stamp
	$(BIN)/python benchmarks/fold.py --cycles 2000 --seeds 20
	$(BIN)/python benchmarks/trace.py

# A real service on this machine, measured at fixed settings and attuned; about seven minutes a round.
live: .venv/dev.stamp
	$(BIN)/python -m examples.live_service --rounds 3

lock: .venv/dev.stamp
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
	    --all-build-deps --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
	    --extra dev --all-build-deps --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

.venv/pip.stamp:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade 'pip>=25'
	@touch $@

.venv/run.stamp: .venv/pip.stamp requirements.lock pyproject.toml
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp requirements-dev.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@
