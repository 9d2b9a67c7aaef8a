# The vocabulary. Every target sets up what it needs (in .venv, nothing outside this directory) and may be the first
# one called; the second time it needs no network.

.DEFAULT_GOAL := help
.PHONY: help demo test pure quick check fuzz bench image apt clean

ARGS ?=
FUZZ ?= 5000000
IMAGE ?= ambassador:latest

# Any Python that is new enough; `make PYTHON=/path/to/python ...` chooses.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

ready = @test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, with its venv module" >&2; exit 1; }; \
	$(PYTHON) .ci/bootstrap.py

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
	@echo '  ARGS="..." is passed on: make demo ARGS=--once, make test ARGS="-k rotation"'

demo: ## real PostgreSQL and Valkey, an ambassador before them, queries without a password, a live rotation
	$(ready) demo
	@exec .venv/bin/ambassador demo $(ARGS)

# Three runs share the work of `test`: what looks only at itself is shared out to two processes; what weighs the whole
# daemon under load has the machine to itself; and what is compiled must do the same where there was no compiler. A run
# that fails does not hide the next. With ARGS there is one run, of what they name.
test: ## every test
	$(ready) test
ifeq ($(strip $(ARGS)),)
	@code=0; $(apart) || code=1; $(whole) || code=1; $(pure) || code=1; exit $$code
else
	@.venv/bin/python -m pytest $(ARGS)
endif

pure: ## the tests of what is compiled, on its sources alone
	$(ready) test
	@$(pure)

apart = .venv/bin/python -m pytest -n 2 -m "not alone"
# The daemon that it weighs is a process of its own, of which measuring coverage would see nothing.
whole = .venv/bin/python -m pytest tests/e2e -m alone --no-cov
# What is not compiled is the same on either loop as in the runs before.
pure = AMBASSADOR_PURE=1 AMBASSADOR_LOOP=uvloop .venv/bin/python -m pytest -n 2 $(addprefix tests/unit/,net protocols/postgres \
	$(addprefix protocols/redis/test_,client.py lanes.py line.py owing.py shared.py) proxy telemetry wire) $(ARGS)

quick: ## the unit tests and what else takes seconds
	$(ready) test
	@FUZZ=2000 exec .venv/bin/python -m pytest -m "not slow" tests/unit tests/contract tests/fuzz $(ARGS)

check: ## format, lint, types, import contracts
	$(ready) lint
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

fuzz: ## garbage for every wire machine, far more of it than in `make test` (FUZZ=5000000 mutations)
	$(ready) test
	@FUZZ=$(FUZZ) exec .venv/bin/python -m pytest tests/fuzz tests/e2e/redis/test_equivalence.py --timeout 7200 $(ARGS)

bench: ## side by side with the peers: CPU, memory (ARGS="postgres" or "redis --short": a part)
	$(ready) bench
	@exec .venv/bin/python -m tests.bench $(ARGS)

image: ## the container image, with whichever builder there is
	@for builder in docker podman buildah; do \
		if command -v $$builder >/dev/null; then exec $$builder build -t $(IMAGE) .; fi; \
	done; echo "no docker, podman or buildah here" >&2; exit 1

# Programs that only Debian's packages bring; tests that need one of them are skipped, with the reason, without it.
APT = postgresql-15 pgbouncer redis-server redis-tools nutcracker haproxy prometheus openssl nodejs npm chromium
apt: ## install the programs that only Debian brings: servers and clients to test against
	@echo "Debian starts the services among these when it installs them."
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends $(APT)

clean: ## remove everything that was made here
	rm -rf .venv build dist *.egg-info .coverage coverage.json .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf tests/e2e/node/node_modules
	find ambassador -name '*.so' -delete -o -name '*.c' -delete
	find ambassador tests -name __pycache__ -type d -prune -exec rm -rf {} +
