.DEFAULT_GOAL := help
.PHONY: help test lint

PYTHON ?= python3
BIN := .venv/bin
export SLUICE_ENV ?= trial

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

test: ## everything that needs no root and nothing installed, with coverage
	$(BIN)/python -m config.embedded exec -- $(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered

lint: ## format, rules, types, contracts, Django's checks, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
