# Every target is one line of `make help`. Nothing here needs more than python3 (3.11 or newer); the cluster tests also need Go once.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CLUSTER ?= scaleset
NODES ?= 10
PYTEST ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## the Python environment in .venv, exactly as locked

$(STAMP): requirements-dev.lock pyproject.toml hack/venv.sh
	@hack/venv.sh $(VENV) requirements-dev.lock
	@touch $@

.PHONY: lock
lock: ## write the lock files again, with the newest versions that pyproject.toml allows
	@hack/lock.sh

.PHONY: demo
demo: venv ## a cluster, the operator, a good image and a bad one, live
	@$(BIN)/python -m hack.demo

.PHONY: test
test: test-unit test-cluster test-faults ## all tests

.PHONY: test-unit
test-unit: venv ## rules, properties and the explored model; needs no cluster
	@echo "Running the unit tests and exploring the model ..."
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit $(wildcard tests/model) $(PYTEST)

.PHONY: test-cluster
test-cluster: venv binaries ## the operator as a process against a real API server
	@echo "Running the cluster tests, three files at a time, each with a cluster of its own ..."
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests/cluster --ignore tests/cluster/test_figures.py $(PYTEST)
	@echo "Measuring the figures, with nothing beside them ..."
	@$(BIN)/python -m pytest -s tests/cluster/test_figures.py

.PHONY: test-faults
test-faults: venv binaries ## the operator killed at every write, behind a proxy that misbehaves, on a control plane that dies
	@hack/faketime.sh
	@rm -rf .work/faults
	@echo "Breaking things, three files at a time, each with a cluster of its own (about 12 minutes) ..."
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests/faults $(PYTEST)
	@if [[ -z '$(PYTEST)' ]]; then $(BIN)/python -m tests.faults.table --check; fi

.PHONY: lint
lint: venv ## style, types, layers, and that the CRDs are those of the models
	@echo "Checking style, types, layers and CRDs ..."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy operator/src tests hack
	@NO_COLOR=1 $(BIN)/lint-imports
	@$(BIN)/python -m scaleset.api.crd --check

.PHONY: format
format: venv ## put the code into its form
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format .

.PHONY: crds
crds: venv ## write crds/ from the models
	@echo "Writing crds/ ..."
	@$(BIN)/python -m scaleset.api.crd --output crds/

.PHONY: binaries
binaries: ## a Kubernetes control plane for cluster-up and the tests (7 minutes the first time)
	@hack/cluster/build.sh >/dev/null

.PHONY: cluster-up
cluster-up: venv binaries ## start a cluster with our CRDs to look around in (CLUSTER=name NODES=10)
	@hack/cluster/up.sh $(CLUSTER) $(NODES)
	@kubectl="$$(hack/cluster/build.sh)/kubectl"; if [[ ! -x $$kubectl ]]; then kubectl=kubectl; fi; \
	  "$$kubectl" --kubeconfig .work/clusters/$(CLUSTER).kubeconfig apply --server-side -f crds/

.PHONY: cluster-down
cluster-down: ## delete that cluster
	@echo "Deleting cluster $(CLUSTER) ..."
	@hack/cluster/up.sh --delete $(CLUSTER)

.PHONY: clean
clean: ## remove the environment, caches and clusters (not the Kubernetes binaries in ~/.cache)
	@echo "Removing .venv, .work and caches ..."
	@for folder in .work/clusters/clusters/*/; do \
	  if [[ -d $$folder ]]; then hack/cluster/up.sh --delete "$$(basename "$$folder")"; fi; done
	@rm -rf $(VENV) .work dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
