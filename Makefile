# The project's commands; `make` alone lists them. Each does its own set-up into .venv, which costs
# nothing when pyproject.toml and requirements.lock are unchanged.
#   STACK=modern|compatible  the dependency stack; without it, what this machine can load
#   ARGS=…                   more arguments for pytest (test), or uv (lock)
#   WORKERS=2                processes that share the tests; each takes up to 3 GB

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install run test test-modern test-image lint format bench lock clean
export STACK ARGS
WORKERS ?= 2
# The other scripts in benchmarks/ are parts of training.
COMPARISONS := feature_cache ingestion leakage serving training

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: ## Make .venv from requirements.lock
	@scripts/install.sh

run: install ## Graft the digits 5-9 onto a base trained on 0-4, end to end
	.venv/bin/python -m pipeline.digits
	.venv/bin/graft run configs/digits.yaml

test: install ## Run every test that can run here, and say which were skipped and why
	.venv/bin/pytest -n $(WORKERS) --dist loadfile $(ARGS)

test-modern: ## Run the tests on the modern stack, in a Debian 13 root where this machine is older
	@scripts/modern_root.sh make test STACK=modern ARGS="$${ARGS:-}"

test-image: ## Build the container image's root file system without an engine, and check it from inside
	@scripts/image_root.sh sh -c "$$(cat scripts/image_check.sh)"

lint: install ## Check style, format and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: install ## Mend style and format in place
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: install ## Run the comparisons in benchmarks/
	@for name in $(COMPARISONS); do echo "$$name"; .venv/bin/python "benchmarks/$$name.py"; done

lock: ## Make requirements.lock again from pyproject.toml (ARGS=--upgrade moves the pins)
	@scripts/lock.sh $(ARGS)

clean: ## Remove the environment and caches; runs, demo data and served models stay
	rm -rf .venv .tools build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
