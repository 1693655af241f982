# Everything starts here: `make run` and `make test` set themselves up on first use.

PYTHON  ?= python3
FLEET   ?= 500
DATA    ?=
VENV    := .venv
BIN     := $(VENV)/bin
AZURITE := 3.35.0

.PHONY: help run test bench nightly check docs lock clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/installed  ## the whole stack here; FLEET=2000 DATA=/folder PORT=3100 DAGSTER_PORT=3101
	@$(BIN)/wattlake up --fleet $(FLEET) $(if $(DATA),--data $(DATA))

test: $(VENV)/installed-dev  ## every test, on real Postgres, Delta, HTTP and Dagster
	@# in the order of the files: those that take longest come first, and not last; how many at a
	@# time is said in tests/conftest.py
	@$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

bench: SUITE ?= ingest lake answers alerts truth condition month queueing
bench: RUNS ?= 3
bench: HOURS ?= 24
bench: $(VENV)/installed-dev $(if $(filter ray,$(SUITE)),$(VENV)/installed-cluster)  ## speed of the stack and of its lake; RUNS=3, SUITE=ingest SECONDS=60 CASES="single steady" COLLECTORS=2, SUITE=lake HOURS=24 CASES="day import", SUITE=answers SECONDS=10 VEHICLES=1000 DAYS=3 CASES="day row-store", SUITE=alerts SECONDS=60, SUITE=truth VEHICLES=10 DAYS=4, SUITE=condition VEHICLES=1000 SEED=1, SUITE=month VEHICLES=2000 DAYS=31 KEEP=/tmp/month, SUITE=ray VEHICLES=1000 DAYS=8, SUITE=queueing CASES=writers
	@$(if $(and $(CASES)$(VEHICLES)$(DAYS),$(word 2,$(SUITE))),$(error name the suite of the cases, vehicles or days: SUITE=ingest, lake, answers, alerts, truth, condition, month, ray or queueing))
	@$(if $(filter ingest,$(SUITE)),$(BIN)/python -m benchmarks ingest $(if $(SECONDS),--seconds $(SECONDS)) $(if $(COLLECTORS),--collectors $(COLLECTORS)) --runs $(RUNS) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter lake,$(SUITE)),$(BIN)/python -m benchmarks lake --hours $(HOURS) --runs $(RUNS) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter answers,$(SUITE)),$(BIN)/python -m benchmarks answers $(if $(SECONDS),--seconds $(SECONDS)) $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(DAYS),--days $(DAYS)) --runs $(RUNS) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter alerts,$(SUITE)),$(BIN)/python -m benchmarks alerts $(if $(SECONDS),--seconds $(SECONDS)) --runs $(RUNS) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter truth,$(SUITE)),$(BIN)/python -m benchmarks truth $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(DAYS),--days $(DAYS)) $(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter ray,$(SUITE)),$(BIN)/python -m benchmarks ray $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(DAYS),--days $(DAYS)) --runs $(RUNS))
	@$(if $(filter condition,$(SUITE)),$(BIN)/python -m benchmarks condition $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(SEED),--seed $(SEED)) $(if $(CASES),--cases $(CASES)))
	@$(if $(filter month,$(SUITE)),$(BIN)/python -m benchmarks month $(if $(VEHICLES),--vehicles $(VEHICLES)) $(if $(DAYS),--days $(DAYS)) $(if $(CADENCE),--cadence $(CADENCE)) $(if $(SEED),--seed $(SEED)) $(if $(KEEP),--keep $(KEEP)))
	@$(if $(filter queueing,$(SUITE)),$(BIN)/python -m benchmarks queueing $(if $(CASES),--cases $(CASES)))

nightly: KILLS ?= 200
nightly: $(VENV)/installed-dev $(if $(filter ray,$(or $(PARTS),ray)),$(VENV)/installed-cluster) $(if $(filter azure,$(or $(PARTS),azure)),$(VENV)/installed-azurite-$(AZURITE))  ## kills everything and fills every disk at random under load, for long; KILLS=200 SEED=1 FULL=60 PARTS="kills cells store azure runs disks ray", PARTS=soak MINUTES=120
	@$(BIN)/python -m tests.faults.nightly --kills $(KILLS) $(if $(FULL),--full $(FULL)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(addprefix --part ,$(PARTS))

check: $(VENV)/installed-dev  ## format, lint, types
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .
	@$(BIN)/mypy

docs: $(VENV)/installed  ## write docs/configuration.md, .env.example, docs/data-dictionary.md from the code
	@$(BIN)/python -m docs.configuration
	@$(BIN)/python -m docs.data_dictionary

lock:  ## resolve the dependencies anew (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate pyproject.toml -o requirements.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate --group dev --extra kubernetes -c requirements.lock \
	  pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-header --no-annotate --extra kubernetes --extra ray -c requirements-dev.lock \
	  pyproject.toml -o requirements-cluster.lock

clean:  ## forget the virtual environment and the caches, never data
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "wattlake needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: requirements.lock pyproject.toml | $(VENV)/bin/pip
	@echo "installing the locked dependencies ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/installed-dev: requirements-dev.lock $(VENV)/installed
	@echo "installing the locked test tools ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/installed-cluster: requirements-cluster.lock $(VENV)/installed
	@echo "installing the locked Ray and Kubernetes clients ..."
	@$(BIN)/pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements-cluster.lock
	@touch $@

$(VENV)/installed-azurite-$(AZURITE): | $(VENV)/bin/pip
	@command -v npm >/dev/null || { echo "the part azure needs npm, to install Azurite" \
	  "(on Debian: apt-get install npm); or name the other PARTS, see make help" >&2; exit 1; }
	@echo "installing Azurite ..."
	@npm install --prefix $(VENV)/azurite --no-save --ignore-scripts --no-audit --no-fund --silent azurite@$(AZURITE)
	@touch $@
