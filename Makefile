# Everything a person does with a checkout. `make` alone lists the targets.
# The virtual environment is made, and refreshed when a lock file changes, by the stamps below.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8080
ROUNDS ?= 3
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

# Tests to run and options: make test ARGS="tests/domain -k phase"
ARGS ?=
# How many tests run at once: they wait a good part of their time, so it may be more than there are cores. Where ARGS
# names tests there are few of them, and starting the workers would take longer than they do.
WORKERS ?= $(if $(filter-out -%,$(ARGS)),0,$(shell expr $$(nproc) + 1))
BESIDE := --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: $(shell awk -F: '/^[a-z-]+:.*## / {print $$1}' $(firstword $(MAKEFILE_LIST)))

help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.$(if $(AUTH),dev,demo) ## Start the service and run a real job with pyvo (PORT=8080; ONCE=1 stops afterwards; AUTH=1 with tokens)
	@$(BIN)/python scripts/demo.py --port $(PORT) $(if $(ONCE),--once) $(if $(AUTH),--auth)

test: $(VENV)/.dev ## Run the tests (ARGS="…" goes to pytest; UWS_TEST_REQUIRE=all makes missing tools fail)
	$(BIN)/python -m pytest -n $(WORKERS) $(BESIDE) $(ARGS)

# Each kind of thing once: rules, documents, languages, a store, an agent, a command, a job through a real service.
QUICK := tests/repository tests/domain tests/placement tests/protocol tests/applications tests/sites/kubernetes tests/adql/test_translate.py tests/agent/test_fetch.py \
	tests/store/test_jobs.py tests/store/test_attempts.py tests/soda/test_boxes.py tests/soda/test_request.py \
	tests/client/test_documents.py tests/client/test_wait.py tests/sites/local/test_local.py tests/apps/test_sleep.py \
	tests/clients/test_pyvo.py
test-quick: $(VENV)/.dev ## Run a choice of tests that takes two minutes at most
	$(BIN)/python -m pytest -n $(WORKERS) $(BESIDE) $(QUICK) $(ARGS)

SITES ?= a
cluster: $(VENV)/.dev ## Start real Kubernetes clusters on this machine (SITES="a b" KUEUE=1 KWOK=1; root, Go, containerd)
	$(BIN)/python -m tests.rig up $(SITES) $(if $(KUEUE),--kueue) $(if $(KWOK),--kwok)

cluster-down: $(VENV)/.dev ## Stop them and remove everything of theirs but the logs
	$(BIN)/python -m tests.rig down

test-cluster: $(VENV)/.dev ## Run the tests on real clusters, which they start (or with KUBECONFIG=… in part on yours)
	$(BIN)/python -m pytest tests/cluster $(ARGS)

check: $(VENV)/.dev ## Lint, format check, strict types, import layers, docs without warnings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/generate_docs.py --check
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs

format: $(VENV)/.dev ## Format the code and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev ## Measure against a bare app in the same run; table and build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

bench-cluster: $(VENV)/.dev ## Measure jobs on a real cluster against raw Kubernetes calls; build/bench-cluster.json
	$(BIN)/python -m tests.bench cluster

bench-sites: $(VENV)/.dev ## Measure jobs on a real HTCondor pool and Slurm cluster against raw ones, and what a runner adds; build/bench-sites.json (root, mmdebstrap)
	$(BIN)/python -m tests.batch build
	$(BIN)/python -m tests.bench sites

bench-pages: $(VENV)/.dev ## Measure pages in a browser with many jobs in the store; build/bench-pages.json (chromium)
	$(BIN)/python -m tests.bench pages

bench-tap: $(VENV)/.dev ## Measure TAP queries, beside DaCHS if `make conformance-peers` has it; build/bench-tap.json
	PYTHONPATH=.:conformance:conformance/tests $(BIN)/python -m tests.bench tap

SIMULATED := many-small few-large bursts
simulate: $(VENV)/.dev ## Simulate the published loads and write tables and plots of the docs (three minutes)
	for load in $(SIMULATED); do $(BIN)/uws-service simulate $$load --output docs/explanation/simulation/$$load $(ARGS) || exit; done

soak: $(VENV)/.dev ## Kill the service, and catalogues of data, again and again with jobs in flight, and look for lost ones (ROUNDS=3)
	for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; UWS_TEST_KILLS=20 UWS_TEST_IN_FLIGHT=200 UWS_TEST_DATA_JOBS=8 UWS_TEST_DATA_KILLS=6 $(BIN)/python -m pytest --timeout=3600 tests/crash tests/data/test_kills.py $(ARGS) || exit; done

soak-records: $(VENV)/.dev ## Kill the service a thousand times on each database, and count the records of its attempts (KILLS=1000)
	$(BIN)/python -m tests.crash --kills $(or $(KILLS),1000) $(ARGS)

conformance: $(VENV)/.dev ## Check a UWS server (ARGS="https://host/tap/async --profile tap")
	PYTHONPATH=conformance $(BIN)/python -m uws_conformance $(ARGS)

conformance-matrix: $(VENV)/.dev ## Run all conformance checks on all mutants and write the table of the docs
	PYTHONPATH=conformance $(BIN)/python conformance/tests/matrix.py

conformance-peers: $(VENV)/.dev ## Check servers of others: DaCHS, Daiquiri (ARGS=dachs: one; needs apt, and PostgreSQL with pgsphere and q3c)
	PYTHONPATH=.:conformance $(BIN)/python conformance/tests/peers.py $(ARGS)

docs: $(VENV)/.dev ## Generate the reference pages from the code and build build/docs
	$(BIN)/python scripts/generate_docs.py
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs build/docs
	@echo "Open build/docs/index.html"

check-links: $(VENV)/.dev ## Ask every outside address of the docs whether it is still there (needs a network)
	$(BIN)/python -m sphinx -n -q -b linkcheck docs build/links

NAME ?= own_service
recipe: $(VENV)/.dev ## Start a system of the study from packages and print its figures (NAME=diracx_service, …)
	PYTHONPATH=. $(BIN)/python docs/study/recipes/$(NAME).py $(ARGS)

soak-day: $(VENV)/.dev ## A day's load: a million jobs beside 10,000 waiters and 100 list readers (UWS_DAY_JOBS=10000: fewer)
	$(BIN)/python -m tests.bench day

soak-model: $(VENV)/.dev ## Visit every state of the model of attempts, with two controllers (some minutes)
	$(BIN)/python -m tests.model.explore 2

soak-fuzz: $(VENV)/.dev ## Feed random inputs to everything that reads strangers' words (INPUTS=100000 for each of the readers)
	$(BIN)/python -m tests.fuzz --inputs $(or $(INPUTS),100000) $(ARGS)

soak-cluster: $(VENV)/.dev ## Run all tests on real clusters, those that take long too, with 200 jobs in flight when everything is killed and full queues
	UWS_TEST_SOAK=1 UWS_TEST_CHAOS_JOBS=200 UWS_TEST_QUEUED_JOBS=100 UWS_TEST_LAKE_JOBS=40 UWS_TEST_CONFORMANCE=all \
		$(BIN)/python -m pytest --timeout=3600 tests/cluster $(ARGS)

soak-tests: $(VENV)/.dev ## Run the tests that `make test` leaves out since they take long, such as all recipes of the study
	for name in diracx_service sapporo_server; do PYTHONPATH=. $(BIN)/python docs/study/recipes/$$name.py --build || exit; done
	$(BIN)/python -m pytest --timeout=3600 -m "soak and not cluster" $(ARGS)

soak-sites: $(VENV)/.dev ## Kill parts of a pool, a cluster and a runner with jobs in flight; build/soak-sites.jsonl (JOBS=200 KILLS=40 SITES="htcondor slurm remote"; root)
	$(BIN)/python -m tests.batch soak $(SITES) --jobs $(or $(JOBS),200) --kills $(or $(KILLS),40) $(ARGS)

generate: $(VENV)/.dev ## Only generate the reference pages from the code
	$(BIN)/python scripts/generate_docs.py

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade
lock: $(VENV)/.dev ## Pin the newest versions in requirements/*.txt
	$(LOCK) --all-extras pyproject.toml requirements/build.in -o requirements/dev.txt
	$(LOCK) --extra apps --extra demo -c requirements/dev.txt pyproject.toml requirements/build.in -o requirements/demo.txt
	$(LOCK) --extra apps --extra htcondor -c requirements/dev.txt pyproject.toml requirements/build.in -o requirements/runtime.txt
	$(LOCK) --no-annotate tests/rucio/requirements.in -o tests/rucio/requirements.txt
	$(LOCK) --no-annotate tests/judges/requirements.in -o tests/judges/requirements.txt
	for name in diracx sapporo toil alienpy; do \
		$(LOCK) --no-annotate docs/study/recipes/$$name.in -o docs/study/recipes/$$name.txt || exit 1; \
	done
	$(LOCK) --no-annotate tests/cwl/requirements.in -o tests/cwl/requirements.txt

soak-image: $(VENV)/.dev ## Build the image twice, and compare the bytes (root, buildah, mmdebstrap; ten minutes)
	$(BIN)/python -m tests.release same

release: $(VENV)/.dev ## Put wheels, sdists, chart, bill of materials and checksums into dist/ (IMAGE=1: the image too, with buildah)
	$(BIN)/python scripts/release.py $(if $(IMAGE),--image) $(ARGS)

clean: ## Remove what the targets above made in the checkout, the virtual environment too
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11; say which to use: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.%: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/$*.txt into $(VENV) …"
	@$(PIP) install --require-hashes -r requirements/$*.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
