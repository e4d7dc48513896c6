# Every command of the project. `make` alone lists them.
# A lane that takes longer than its budget (seconds) is stopped and fails.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: help setup kubernetes demo test check unit engine kernel cluster image bench gen format clean

BIN := .venv/bin
CHECK_BUDGET  := 420
ENGINE_BUDGET := 600
UNIT_BUDGET   := 240
KERNEL_BUDGET := 900
CLUSTER_BUDGET := 900
IMAGE_BUDGET  := 600
CARGO := cargo --quiet
CARGO_TEST := --manifest-path proxy/Cargo.toml --release --no-default-features

help: ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

setup: ## Install what is missing and build the engine (the others call it)
	@scripts/setup.sh

kubernetes: ## Build the control plane that the cluster lane runs, once, outside the checkout
	@scripts/kubernetes.sh

demo: setup ## Bring up a mesh of two nodes and show it at work
	@$(BIN)/python examples/shop/demo.py

test: setup kubernetes check engine unit kernel cluster image ## Run every lane

check: setup ## Format, lint, types, layers, generated files
	timeout $(CHECK_BUDGET) scripts/check.sh

engine: setup ## Tests of the engine and the CNI plugin in Rust
	timeout $(ENGINE_BUDGET) cargo test $(CARGO_TEST)

unit: setup ## Tests without root and network
	timeout $(UNIT_BUDGET) $(BIN)/python -m pytest tests/unit

kernel: setup ## Tests with real namespaces, BPF and engine; needs root
	timeout $(KERNEL_BUDGET) $(BIN)/python -m pytest tests/kernel

cluster: setup kubernetes ## Tests with a real API server and etcd
	timeout $(CLUSTER_BUDGET) $(BIN)/python -m pytest tests/cluster

image: setup ## Build the container image (build/), without a registry, and run what is in it
	timeout $(IMAGE_BUDGET) scripts/image/build.sh
	timeout $(IMAGE_BUDGET) $(BIN)/python -m pytest tests/image

bench: setup kubernetes ## Measure against direct TCP, and a large cluster; writes bench/results.json
	$(BIN)/python -m bench.main
	$(BIN)/python -m bench.scale

gen: setup ## Generate the protobuf stubs, the resource definitions and the tables in the docs anew
	PATH=$(CURDIR)/$(BIN):$$PATH scripts/generate.sh .
	$(BIN)/python scripts/crds.py
	$(BIN)/python scripts/document.py

format: setup ## Format everything
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .
	$(CARGO) fmt --manifest-path proxy/Cargo.toml --all
	clang-format -i bpf/*.c bpf/*.h

clean: ## Remove what was built
	rm -rf .venv proxy/target agent/_engine*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
