# Every target sets up what it needs; nothing but Python and pip must be there.
PYTHON ?= python3
BIN := .venv/bin
LOCK := requirements/dev.lock

.PHONY: setup up demo demo-leads test check bench docs format lock

setup: .venv/ready

.venv/ready: $(LOCK) requirements/bootstrap.lock pyproject.toml
	@echo "Setting up .venv (the first time takes a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --compile-bytecode -r $(LOCK) \
		|| $(BIN)/python -m pip install -q --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

up: setup
	@$(BIN)/perdure up

demo: setup
	@$(BIN)/perdure demo

demo-leads: setup
	@$(BIN)/perdure demo-leads

test: setup
	$(BIN)/python -m pytest -n 3 --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

bench: setup
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python -m docs.pages

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Versions and hashes only: a lock file names no registry.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --quiet
lock: setup
	$(COMPILE) pyproject.toml -o requirements/runtime.lock
	$(COMPILE) --extra embedded --extra dev pyproject.toml -o $(LOCK)
	echo uv | $(COMPILE) - -o requirements/bootstrap.lock
