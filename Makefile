.DEFAULT_GOAL := help
.PHONY: help run dev migrate shell manage test lint prove prove-deps soak dist image bench bench-quick bench-scale bench-deps lock venv venv-dev

# python3, or the system's where that one was built without optimizations, as pyenv builds unless
# told otherwise: an order costs a quarter more then. The headers are for gunicorn's parser in C.
IS_FAST := import ensurepip, os, sys, sysconfig, venv; sys.exit(not ( \
	sys.version_info >= (3, 11) \
	and (sys.base_prefix == "/usr" or "--enable-optimizations" in sysconfig.get_config_var("CONFIG_ARGS")) \
	and os.path.exists(sysconfig.get_path("include") + "/Python.h")))
PYTHON ?= $(shell for python in python3 /usr/bin/python3; do \
	$$python -c '$(IS_FAST)' 2>/dev/null && echo $$python && exit; done; echo python3)
PORT ?= 8000
BIN := .venv/bin
# Beside throw-away PostgreSQL and Valkey, unless DATABASE_URL or REDIS_URL name others.
BESIDE_SERVERS := $(BIN)/python -m config.embedded exec --
# What `make prove` needs besides wheels; one list, for apt.
PROVE_PACKAGES := gcc libc6-dev wrk postgresql-15 redis-server prometheus chromium fonts-dejavu-core \
	nginx haproxy iproute2 openssl
# What the peers of `make bench` are built with.
BENCH_PACKAGES := wrk golang-go golang-github-gin-gonic-gin-dev golang-github-jackc-pgx-v4-dev \
	golang-github-gomodule-redigo-dev gcc libc6-dev python3-dev
# Sluice with what production installs: what only development has costs a server memory too.
AS_INSTALLED := SLUICE_ENV=trial BENCH_PYTHON=bench/sluice/.venv/bin/python
export PORT

# What the checks of production look at; nobody's secret.
PRODUCTION := SLUICE_ENV=production ALLOWED_HOSTS=shop.example PUBLIC_URL=https://shop.example \
	DATABASE_URL=postgres:///sluice REDIS_URL=redis://127.0.0.1 \
	SECRET_KEY=only-for-the-checks-of-make-lint-and-never-for-a-server-7391

PIP_INSTALL := -m pip install --quiet --disable-pip-version-check --require-hashes

# $(call install,trial): what requirements-trial.txt lists, unless it was the last one installed.
define install
	@cmp -s requirements-$(1).txt .venv/installed-$(1).txt || { \
		echo "Installing requirements-$(1).txt into .venv ..." && \
		$(BIN)/python $(PIP_INSTALL) --only-binary :all: -r requirements-$(1).txt && \
		cp requirements-$(1).txt .venv/installed-$(1).txt; }
endef

# gunicorn's parser in C comes as source only: without a compiler the one in Python serves.
define install-fast
	@cmp -s requirements-fast.txt .venv/installed-fast.txt || { \
		$(BIN)/python $(PIP_INSTALL) -r requirements-fast.txt >/dev/null 2>&1 || \
		echo "(no C compiler: gunicorn's parser in Python is used)"; \
		cp requirements-fast.txt .venv/installed-fast.txt; }
endef

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

run: venv ## the whole service, with embedded servers and demo goods; PORT, DATABASE_URL, REDIS_URL
	@exec $(BIN)/python -m config.run --end-with-parent

dev: venv-dev ## like run, with DEBUG, and reloading when a file changes
	@SLUICE_ENV=development GUNICORN_RELOAD=true GUNICORN_LOG_LEVEL=info LOG_REQUESTS=true \
		exec $(BIN)/python -m config.run --end-with-parent

migrate: venv ## bring the tables of `make run`, or of DATABASE_URL, up to date
	@exec $(BIN)/python -m config.run manage migrate

shell: venv ## a Python shell on `make run`, or on DATABASE_URL
	@exec $(BIN)/python -m config.run manage shell

manage: venv ## any command of manage.py there: make manage ARGS="create_api_key --help"
	@exec $(BIN)/python -m config.run manage $(ARGS)

test: venv-dev ## everything that needs no root and nothing installed, with coverage
	SLUICE_ENV=trial $(BESIDE_SERVERS) $(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered

lint: venv-dev ## format, rules, types, import contracts, Django's checks, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	SLUICE_ENV=trial $(BIN)/mypy
	$(BIN)/lint-imports
	$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING
	SLUICE_ENV=trial $(BESIDE_SERVERS) $(BIN)/python manage.py makemigrations --check --dry-run

prove: venv-dev ## what is heavy or needs system packages; ALLOW_MISSING=1 goes on without those
	@failed=0; export SLUICE_ENV=trial; \
	$(BESIDE_SERVERS) $(BIN)/python -m pytest -n 2 -m "prove and paired" || failed=1; \
	$(BESIDE_SERVERS) $(BIN)/python -m pytest -m "prove and not paired" || failed=1; \
	exit $$failed

soak: venv-dev ## the night, on a quiet machine: make prove without bounds on load, and what takes long
	SLUICE_ENV=trial STEADY_RATE_MAX=1000 SCHEMATHESIS_EXAMPLES=200 $(BESIDE_SERVERS) $(BIN)/python -m pytest -m "soak or prove"

prove-deps: ## install what `make prove` needs (Debian; as root or with sudo)
	@dpkg -s $(PROVE_PACKAGES) >/dev/null 2>&1 || { \
		SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo) && \
		$$SUDO apt-get update -q && \
		$$SUDO env DEBIAN_FRONTEND=noninteractive \
			apt-get install -q -y --no-install-recommends $(PROVE_PACKAGES); }

dist: venv-dev ## dist/sluice.pyz: the service in one file, everything but Python
	$(BIN)/python deploy/build_pyz.py

image: venv-dev ## build the image without an engine, let it serve, say its size (Debian, root)
	SLUICE_ENV=trial $(BESIDE_SERVERS) deploy/try_image.sh

bench: venv-dev bench/.venv/gin-peer bench/sluice/.venv/installed ## orders a second beside Flask, FastAPI and Gin; 25 minutes
	$(AS_INSTALLED) $(BIN)/python -m bench.compare

bench-quick: venv-dev bench/.venv/gin-peer bench/sluice/.venv/installed ## the same with fewer peers, in three minutes
	$(AS_INSTALLED) $(BIN)/python -m bench.compare --quick

bench-scale: venv-dev bench/sluice/.venv/installed ## how the cost of an order grows, to 10 million of them; 50 GB of free disk
	$(AS_INSTALLED) $(BIN)/python -m bench.scale

bench-deps: ## install what the peers are built with (Debian; as root or with sudo)
	@SUDO=$$([ "$$(id -u)" = 0 ] || echo sudo) && $$SUDO apt-get update -q && \
		$$SUDO env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
			$(BENCH_PACKAGES)

bench/.venv/bin/gunicorn: bench/requirements.txt
	$(PYTHON) -m venv bench/.venv
	bench/.venv/bin/python $(PIP_INSTALL) --only-binary :all: -r bench/requirements.txt
	@touch $@

bench/sluice/.venv/installed: requirements.txt requirements-fast.txt
	$(PYTHON) -m venv --clear bench/sluice/.venv
	bench/sluice/.venv/bin/python $(PIP_INSTALL) --only-binary :all: -r requirements.txt
	bench/sluice/.venv/bin/python $(PIP_INSTALL) -r requirements-fast.txt
	@touch $@

bench/.venv/gin-peer: bench/peers/gin/main.go bench/.venv/bin/gunicorn
	@command -v go >/dev/null || { echo "sluice: there is no go; make bench-deps installs it" >&2; exit 1; }
	cd bench/peers/gin && GO111MODULE=off GOPATH=/usr/share/gocode go build -o $(CURDIR)/$@ .

lock: venv-dev ## pin every dependency anew, with hashes, from requirements*.in
	for name in requirements requirements-fast requirements-trial requirements-dev; do \
		$(BIN)/uv pip compile --quiet --upgrade --no-strip-extras --generate-hashes --universal --python-version 3.11 \
			$$name.in -o $$name.txt || exit 1; \
	done

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "sluice: there is no $(PYTHON); name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "sluice: needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) -V); name one: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "sluice: $(PYTHON) -m venv failed; Debian has it in the package python3-venv" >&2; exit 1; }

venv: .venv/bin/python
	$(call install,trial)
	$(install-fast)

venv-dev: .venv/bin/python
	$(call install,dev)
	$(install-fast)
	@cp requirements-trial.txt .venv/installed-trial.txt
