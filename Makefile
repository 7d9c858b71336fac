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
KIND ?= scaleset
PYTEST ?=
# What is also played on other versions of Kubernetes: rules of the definitions, all that the chart renders, its rights and life,
# rollouts, gates, restores, changes in place, scaling in.
COMPATIBILITY := $(addprefix tests/cluster/test_, crds.py rollouts.py gates.py in_place.py scaling_in.py refusals.py) \
  $(addprefix tests/chart/test_, api_server.py admission.py rights.py lifecycle.py upgrade.py tenants.py)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(STAMP) ## the Python environment in .venv, exactly as locked

$(STAMP): requirements-dev.lock pyproject.toml plugin/pyproject.toml hack/venv.sh
	@hack/venv.sh $(VENV) requirements-dev.lock
	@touch $@

.PHONY: lock
lock: ## write the lock files again, with the newest versions that pyproject.toml allows
	@hack/lock.sh

.PHONY: demo
demo: venv ## a cluster, the operator, a good image and a bad one, live
	@$(BIN)/python -m hack.demo

.PHONY: kind-demo
kind-demo: venv ## the same in kind: real containers, the operator as Helm installs it
	@$(BIN)/python -m hack.demo kind

.PHONY: observe
observe: venv ## a fleet with good and bad rollouts, watched by a real Prometheus (ARGS=--screenshot: docs/images/)
	@$(BIN)/python -m hack.observe $(ARGS)

.PHONY: bench
bench: venv ## rollouts of ours and of others, measured side by side (25 minutes; ARGS="--only ours,statefulset --sizes 100")
	@$(BIN)/python -m bench $(ARGS)

.PHONY: test
test: venv ## all tests but those of faults and kind; the last line says what this machine had to leave out
	@hack/observe/install.sh prometheus || echo "Going on without it: the last line says which tests that leaves out."
	@mkdir -p .work; rm -f .work/left-out
	@LEFT_OUT=$$PWD/.work/left-out $(MAKE) test-unit test-cluster test-chart
	@LEFT_OUT=.work/left-out $(BIN)/python -m hack.left_out

.PHONY: test-unit
test-unit: venv ## rules, properties and the explored model; needs no cluster
	@echo "Running the unit tests and exploring the model ..."
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/observability $(wildcard tests/exploration) $(PYTEST)

.PHONY: golden
golden: venv ## write the logs in tests/exploration/golden anew, as rollouts go now: a change of behaviour is their diff
	@$(BIN)/python -m tests.exploration.golden --write

.PHONY: stories
stories: venv ## stories of one set in which anything happens, drawn anew each time (STORIES=10000 of them by default)
	@HYPOTHESIS_PROFILE=search STORIES=$(or $(STORIES),10000) $(BIN)/python -m pytest tests/exploration/test_stories.py $(PYTEST)

.PHONY: test-cluster
test-cluster: venv binaries ## the operator as a process against a real API server (KUBE=v1.32: a part of them, on that Kubernetes)
ifdef KUBE
	@WITH_HELM=1 hack/cluster/build.sh >/dev/null
	@echo "Running $(words $(COMPATIBILITY)) files of tests on Kubernetes $(KUBE), two at a time ..."
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(COMPATIBILITY) $(PYTEST)
else
	@echo "Running the cluster tests, three files at a time, each with a cluster of its own ..."
	@$(BIN)/python -m pytest -n 3 --dist loadfile tests/cluster --ignore tests/cluster/test_figures.py $(PYTEST)
	@echo "Measuring the figures, with nothing beside them ..."
	@$(BIN)/python -m pytest -s tests/cluster/test_figures.py
endif

.PHONY: test-faults
test-faults: venv binaries ## the operator killed at every write, behind a proxy that misbehaves, on a control plane that dies
	@hack/faketime.sh
	@rm -rf .work/faults
	@echo "Breaking things, three files at a time, each with a cluster of its own (about 16 minutes) ..."
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder tests/faults $(PYTEST)
	@if [[ -z '$(PYTEST)' ]]; then $(BIN)/python -m tests.faults.table --check; fi

.PHONY: test-scale
test-scale: venv binaries ## ten thousand pods in a hundred sets, measured (8 minutes; ARGS='--sets 10' for less)
	@$(BIN)/python -m tests.scale $(ARGS)

.PHONY: test-fleet
test-fleet: venv ## 150,000 pods in 15,000 sets, in store and planner without a cluster, measured (ARGS='--sets 1000' for less)
	@$(BIN)/python -m tests.scale.simulated $(ARGS)

.PHONY: test-kind
test-kind: venv ## the image, Helm, real containers, probes and volumes in kind; needs docker, or root and apt-get
	@hack/kind/engine.sh
	@WITH_KIND=1 WITH_HELM=1 hack/cluster/build.sh >/dev/null
	@hack/kind/up.sh --node-image >/dev/null
	@echo "Running the kind tests in a cluster of their own (about 10 minutes) ..."
	@$(BIN)/python -m pytest tests/kind $(PYTEST)

.PHONY: lint
lint: venv ## style, types, layers, sentences, and that the CRDs and docs/reference are those of the code
	@echo "Checking style, types, layers, CRDs and reference pages ..."
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy operator/src plugin/src tests hack bench
	@NO_COLOR=1 $(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive operator plugin hack charts
	@$(BIN)/python -m scaleset.api.crd --check
	@$(BIN)/python -m hack.reference --check
	@$(BIN)/python -m hack.monitoring --check
	@$(BIN)/python -m hack.kustomize --check
	@$(BIN)/python -m hack.sentences

.PHONY: format
format: venv ## put the code into its form
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format .

.PHONY: crds
crds: venv ## write crds/ from the models
	@echo "Writing crds/ ..."
	@$(BIN)/python -m scaleset.api.crd --output crds/
	@echo "The chart and kustomize have them, too: \`make chart kustomize\` writes them there."

.PHONY: kustomize
kustomize: venv ## write the merge keys of our kinds into deploy/kustomize, from crds/
	@$(BIN)/python -m hack.kustomize

.PHONY: cli-record
cli-record: venv binaries ## record anew what the plugin's views are tested on, and docs/cli.txt (two minutes)
	@$(BIN)/python -m tests.unit.plugin.record

.PHONY: cli-screens
cli-screens: venv binaries ## record anew, in tmux, what terminals of 60, 100 and 160 columns show: docs/cli (five minutes)
	@$(BIN)/python -m tests.unit.plugin.screens

.PHONY: stored-objects
stored-objects: venv binaries ## record what the operator of COMMIT leaves in the API server, in tests/cluster/stored (two minutes)
	@$(BIN)/python -m tests.cluster.stored $(COMMIT) $(ARGS)

.PHONY: chart
chart: venv ## write what is generated of the chart: schema, README table, CRD templates, deploy/crds.yaml and install.yaml
	@echo "Writing what is generated of the chart ..."
	@$(BIN)/python -m hack.chart

.PHONY: test-chart
test-chart: venv binaries ## the Helm chart: rendered, refused, installed, and the operator with its rights
	@echo "Testing the chart, two files at a time, each with a cluster of its own ..."
	@WITH_HELM=1 hack/cluster/build.sh >/dev/null
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/chart $(PYTEST)

.PHONY: lint-chart
lint-chart: venv ## helm lint and checkov on what the chart renders
	@hack/chart/lint.sh

.PHONY: reference
reference: venv ## write the API pages of docs/ from crds/, its tables from the code and from what tests compare
	@$(BIN)/python -m hack.reference

.PHONY: docs
docs: venv ## the documentation as a site, in .work/site; a broken link or another host fails
	@echo "Building the site ..."
	@NO_COLOR=1 $(BIN)/zensical build --strict --clean
	@if grep -rnoE '(<(script|link|img)[^>]+(src|href)=|url\()["'"'"']?https?://[^"'"'"' )]+' .work/site --include='*.html' --include='*.css'; then \
	  echo "This comes from another host; the site has to work without a network." >&2; exit 1; fi
	@echo "Written: .work/site/index.html"

.PHONY: docs-serve
docs-serve: venv ## show that site, and build it anew after each change
	@$(BIN)/zensical serve

.PHONY: monitoring
monitoring: venv ## write the PrometheusRule, the Grafana dashboard and the chart's copies of both
	@$(BIN)/python -m hack.monitoring

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

.PHONY: image
image: venv ## the operator's image
	@hack/image/build.sh >/dev/null

.PHONY: sbom
sbom: venv ## what the image installs, as a CycloneDX bill of materials: dist/sbom.cdx.json
	@echo "Writing dist/sbom.cdx.json ..."
	@mkdir -p dist
	@hack/sbom.sh dist/sbom.cdx.json

.PHONY: release
release: venv ## the files of a release in dist/release, signed and pushed where ARGS says so (ARGS=--help lists what)
	@$(BIN)/python -m hack.release $(ARGS)

.PHONY: mutation
mutation: venv ## does a test notice when planner/ is changed? (some eight hours; SAMPLE=600 SEED=8 takes half of one)
	@$(BIN)/python -m hack.mutation $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(SEED),--seed $(SEED))

.PHONY: kind-up
kind-up: venv ## start a kind cluster with the operator's image and those of the samples on it (KIND=name)
	@hack/kind/up.sh $(KIND)
	@hack/kind/up.sh --load $(KIND) $$(hack/image/build.sh) $$(hack/kind/instance/build.sh 1.0.0 1.1.0)
	@echo "Its tools: export PATH=$$(WITH_KIND=1 WITH_HELM=1 hack/cluster/build.sh):\$$PATH"

.PHONY: kind-down
kind-down: ## delete that cluster
	@echo "Deleting kind cluster $(KIND) ..."
	@hack/kind/up.sh --delete $(KIND)

.PHONY: clean
clean: ## remove the environment, caches and clusters (not the Kubernetes binaries in ~/.cache)
	@echo "Removing .venv, .work and caches ..."
	@for folder in .work/clusters/clusters/*/; do \
	  if [[ -d $$folder ]]; then hack/cluster/up.sh --delete "$$(basename "$$folder")"; fi; done
	@for file in .work/kind/*.kubeconfig; do \
	  if [[ -e $$file ]]; then hack/kind/up.sh --delete "$$(basename "$$file" .kubeconfig)"; fi; done
	@rm -rf $(VENV) .work dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
