# Every target sets up what it needs; nothing but Python and pip must be there.
PYTHON ?= python3
BIN := .venv/bin
LOCK := requirements/dev.lock

.DEFAULT_GOAL := help
.PHONY: help setup up demo demo-leads lint unit api crash test check night bench docs format lock

help:  ## This list.
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1 \2/p' $(MAKEFILE_LIST) | awk '{ name = $$1; $$1 = ""; printf "  %-12s%s\n", name, $$0 }'

setup: .venv/ready  ## Make .venv ready; every target does it first.

.venv/ready: $(LOCK) requirements/bootstrap.lock pyproject.toml
	@echo "Setting up .venv (the first time takes a minute) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -q --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes --compile-bytecode -r $(LOCK) \
		|| $(BIN)/python -m pip install -q --require-hashes -r $(LOCK)
	@$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

up: setup  ## The whole stack, until Ctrl-C.
	@$(BIN)/perdure up

demo: setup  ## A conversation that survives the death of its worker.
	@$(BIN)/perdure demo

demo-leads: setup  ## Leads imported, scored, compared and scheduled.
	@$(BIN)/perdure demo-leads

# Each ring prints one line; `make test NOUN=chat` runs one noun's.
RING = $(BIN)/python -m testing.rings $@ $(if $(NOUN),--noun $(NOUN))

lint: setup  ## Format, rules, types and imports.
	@$(RING)

unit: setup  ## What needs no stack: logic, workflows, replay, the rules of the house.
	@$(RING)

api: setup  ## The API on one real stack.
	@$(RING)

crash: setup  ## Every kill, every outage, every boot.
	@$(RING)

test: setup  ## Before a push: lint, unit, api and six crashes.
	@$(RING)

check: setup  ## Before a merge: all tests there are.
	@$(RING)

ROUNDS ?= 10
night: setup  ## All crashes again and again, in other orders; kept in build/night.json.
	@$(RING) --rounds $(ROUNDS)

bench: setup  ## All measurements (half an hour).
	$(BIN)/python -m benchmarks

docs: setup  ## The pages that are made from the code.
	$(BIN)/python -m docs.pages

format: setup  ## Format the code, and mend what ruff can.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Versions and hashes only: a lock file names no registry.
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-header --no-emit-index-url --quiet
lock: setup  ## Choose the versions of all dependencies anew.
	$(COMPILE) pyproject.toml -o requirements/runtime.lock
	$(COMPILE) --extra embedded --extra dev pyproject.toml -o $(LOCK)
	echo uv | $(COMPILE) - -o requirements/bootstrap.lock
