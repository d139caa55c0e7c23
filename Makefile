# `make run` and `make test` do all their set-up in .venv; nothing else on the machine is touched.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Tests start some hundred commands, each of which would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE
DEMO := examples/simulator.yaml
PACKAGES := kernel optimizers ledger attunement proofs
SOAKED := tests/ledger/test_ledger_recovery.py tests/ledger/test_ledger_faults.py tests/integration/test_kill_rounds.py

.PHONY: run test test-unit test-integration stress soak monitoring dashboard dashboard-check dashboard-pictures lint workflow-check format docs prove prove-check mutation crosshair crosshair-nightly figures bench bench-fold bench-optimizers live bench-page screenshots lock clean

run: .venv/run.stamp
	@$(BIN)/lambda-attunement keys init --config $(DEMO) --if-missing
	@$(BIN)/lambda-attunement run --config $(DEMO)

test: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 --cov --cov-branch --cov-report=term --cov-fail-under=95

test-unit: .venv/dev.stamp
	$(BIN)/python -m pytest -n 2 tests/kernel tests/cal tests/optimizers tests/ledger

test-integration: .venv/dev.stamp
	$(BIN)/python -m pytest tests/integration

stress: .venv/dev.stamp
	$(BIN)/python -m pytest tests/cal/test_attunement_stress.py tests/kernel/test_kernel_state_machine.py

# Rules by promtool, then names and labels on a loop that is scraped, and the alert that its storm raises.
monitoring: .venv/dev.stamp
	cd docs/monitoring && promtool check config prometheus.yml && promtool test rules alerts_test.yml
	cd docs/monitoring && promtool check rules --lint=all --lint-fatal recording.yml alerts.yml
	cd docs/monitoring && amtool check-config alertmanager.yml
	$(BIN)/python -m pytest tests/cal/test_metrics.py tests/integration/test_monitoring.py

dashboard: .venv/dev.stamp
	$(BIN)/python docs/monitoring/make_dashboard.py

dashboard-check: .venv/dev.stamp
	$(BIN)/python -m pytest tests/integration/test_monitoring.py -k "dashboard or panel"

dashboard-pictures: .venv/dev.stamp
	$(BIN)/python docs/monitoring/draw_panels.py

lint: .venv/dev.stamp workflow-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/flake8 $(PACKAGES) tests benchmarks docs
	$(BIN)/mypy

workflow-check: .venv/dev.stamp
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --no-progress .github/workflows

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The pages that are generated from the source.
docs: .venv/run.stamp
	$(BIN)/python -m attunement.config_docs > docs/configuration.md

# The writer is killed a hundred times in the midst of its work; the tests that mount file systems need root.
soak: .venv/dev.stamp
	LEDGER_KILL_ROUNDS=100 $(BIN)/python -m pytest --timeout 7200 $(SOAKED)

prove: .venv/run.stamp
	$(BIN)/python -m proofs

# Proves everything again and compares certificate, report and exports byte for byte.
prove-check: .venv/run.stamp
	$(BIN)/python -m proofs --check

mutation: .venv/run.stamp
	$(BIN)/python -m proofs.mutation --details build/mutants.txt

crosshair: .venv/dev.stamp
	$(BIN)/python -m proofs.confirm

# The properties of rounding and of the rules once more, their inputs chosen by CrossHair instead of by chance.
crosshair-nightly: .venv/nightly.stamp
	$(BIN)/python -m pytest -v -m crosshair --hypothesis-profile=crosshair --hypothesis-show-statistics tests/kernel

figures: .venv/dev.stamp
	$(BIN)/python docs/figures/make_companion.py
	$(BIN)/python docs/figures/make_run.py

# Needs Debian's chromium.
screenshots: .venv/dev.stamp
	$(BIN)/python docs/figures/make_screenshots.py
	$(BIN)/python docs/figures/make_terminal.py

bench: .venv/run.stamp
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/ledger_throughput.py

bench-page: .venv/dev.stamp
	$(BIN)/python benchmarks/dashboard.py

# TRACE=FOLDER adds the rows of a recorded trace.
bench-optimizers: .venv/dev.stamp
	$(BIN)/python benchmarks/attunement.py --seeds 10 --first-seed 7000 --workers $$(nproc) --plots docs/figures \
	    --engine $(if $(TRACE),--trace $(TRACE)) --page docs/optimizers.md

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
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-find-links --strip-extras --allow-unsafe \
	    --extra dev --extra nightly --all-build-deps --constraint requirements-dev.lock \
	    --output-file requirements-nightly.lock pyproject.toml

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

.venv/nightly.stamp: .venv/dev.stamp requirements-nightly.lock
	$(BIN)/pip install --quiet --require-hashes -r requirements-nightly.lock
	@touch $@
