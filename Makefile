# Everything is built into one target directory outside the checkout, so that a fresh clone starts warm.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/polarway/target
BIN := $(CARGO_TARGET_DIR)
PROFILE ?= release
SCALES ?= 1,10
REPEATS ?= 5
MINUTES ?= 20

.PHONY: help setup build release demo test chaos acceptance docs helm lint fmt bench clean

help: ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## Install what is missing: mold, protoc, etcd, mosquitto, Chromium, podman, helm, cargo-nextest, Python's venv
	@./scripts/setup.sh

build: setup ## Build for daily work
	cargo build --workspace --locked

release: setup ## Build what users get
	cargo build --release --locked -p polarway -p polarway-benches

demo: release ## Show a cluster at work on TPC-H data
	$(BIN)/release/polarway demo

test: build ## Run all tests
	cargo nextest run --workspace --locked --no-fail-fast
	cargo test --workspace --locked --doc

chaos: build ## Kill, stop and cut off processes under load for MINUTES; writes chaos-report.md
	POLARWAY_CHAOS_MINUTES=$(MINUTES) POLARWAY_CHAOS_REPORT=$(CURDIR)/chaos-report.md \
		cargo nextest run --workspace --locked --run-ignored only --no-capture -E 'package(polarway-tests) and binary(chaos)'

acceptance: build ## Run the acceptance rows and write their state to docs/acceptance.md
	./scripts/acceptance.sh

docs: ## Write docs/api-python.md from the Python package
	./scripts/docs.sh

helm: setup ## Write README.md and the golden files of the Helm chart
	./scripts/helm.sh

lint: setup ## Format check, clippy, dependency rules
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	./scripts/deny.sh

fmt: ## Format the code
	cargo fmt --all

bench: release ## Measure against the peers; writes docs/benchmarks.md
	./benches/setup.sh
	$(BIN)/release/polarway-bench run --suite all --scale $(SCALES) --repeats $(REPEATS) --out benches/out/results.json
	$(BIN)/release/polarway-bench table --in benches/out/results.json --out docs/benchmarks.md

clean: ## Remove build results
	cargo clean
