# clearsync: `make serve` on a machine with Python 3.11 or later and make, nothing else.

VENV := .venv
VENDOR := tests/vendor
CONFORMANCE := tests/conformance
BROWSER := tests/browser
BENCH := .bench
BENCH_NODE := bench/peers/socketio bench/peers/node-ws
# -P keeps a module of this folder from standing in for one of pip's
PIP := $(VENV)/bin/python -P -m pip --disable-pip-version-check --no-input --quiet
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'
# `make serve ARGS="--port 0"`, `make test ARGS="-k cursor"`, `make lock ARGS=--upgrade`
ARGS :=
# the Python that makes the environment; empty: the first that is new enough
PYTHON :=

.DELETE_ON_ERROR:
.PHONY: help install serve test check schema chaos outage storm soak rolling bench docs screenshots lock clean

help: ## what there is to make
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

install: $(VENV)/.installed ## .venv with clearsync in it

serve: install ## serve on http://127.0.0.1:8080, any user name signs in, data in .data (ARGS="--port 0")
	@$(VENV)/bin/clearsync serve --dev --data-dir .data $(ARGS)

test: $(VENV)/.installed-dev vendor-client proxy browser check ## install what the tests need, check, run the tests (ARGS="-k cursor")
	$(VENV)/bin/python -m pytest $(ARGS)

check: $(VENV)/.installed-dev ## lint, format, types, and what could be unsafe: in our code, given away, in what we run on
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/bandit --quiet --configfile pyproject.toml --recursive server
	$(VENV)/bin/python -P .ci/no_secrets.py
	$(VENV)/bin/python -P .ci/audit.py requirements.lock

schema: $(VENV)/.installed-dev ## 1,000 requests of each operation, made of /openapi.json (SCHEMA_EXAMPLES=50 SCHEMA_SEED=2)
	SCHEMA_EXAMPLES=$${SCHEMA_EXAMPLES:-1000} $(VENV)/bin/python -m pytest tests/schema/test_schemathesis.py \
	    --timeout 900 --durations 16 $(ARGS)

chaos: $(VENV)/.installed-dev ## random faults under load, nothing may be lost (CHAOS_SECONDS=300 CHAOS_DEVICES=500 SEED=7)
	$(VENV)/bin/python -m tests.faults.chaos --seconds $${CHAOS_SECONDS:-300} --devices $${CHAOS_DEVICES:-500} \
	    $${SEED:+--seed $$SEED} $(ARGS)

outage: $(VENV)/.installed-dev ## the store is silent for 20 s under load (ARGS=--each: a short time of every fault)
	$(VENV)/bin/python -m tests.faults.outage $(ARGS)

storm: $(VENV)/.installed-dev ## 10,000 devices come back to a server that was down, and what that takes (STORM_DEVICES=10000)
	$(VENV)/bin/python -m tests.faults.storm --devices $${STORM_DEVICES:-10000} $(ARGS)

soak: $(VENV)/.installed-dev ## devices come and go, and nothing is left behind (SOAK_SECONDS=600 SOAK_DEVICES=5000)
	$(VENV)/bin/python -m tests.faults.soak --seconds $${SOAK_SECONDS:-600} --devices $${SOAK_DEVICES:-5000} $(ARGS)

rolling: $(VENV)/.installed-dev ## rolling restarts of two servers behind nginx, which has to be installed (ARGS="--restarts 3")
	$(VENV)/bin/python -m tests.faults.rolling $(ARGS)

bench: $(VENV)/.installed-dev bench-peers ## clearsync beside what one would take instead, 20 minutes (ARGS="--only clearsync,nchan")
	$(VENV)/bin/python -m bench $(ARGS)

docs: $(VENV)/.installed-dev ## the documentation as a site in build/site, nothing in it from another host (no broken link)
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --config-file docs/site/mkdocs.yml $(ARGS)

screenshots: $(VENV)/.installed-dev browser ## the pictures of the console in docs/images, of a server that is made for them
	$(VENV)/bin/python -m tests.browser.screenshots $(ARGS)

lock: $(VENV)/.installed-dev ## write the lock files anew, keeping versions that still fit (ARGS=--upgrade)
	$(LOCK) $(ARGS) pyproject.toml --output-file requirements.lock
	$(LOCK) $(ARGS) --group build --output-file requirements-build.lock
	$(LOCK) $(ARGS) --constraints requirements.lock --constraints requirements-build.lock \
	    pyproject.toml --extra memory --group dev --output-file requirements-dev.lock
	$(LOCK) $(ARGS) --constraints requirements.lock bench/requirements.in --output-file bench/requirements.lock

clean: ## remove all that was made or installed here, but not .data
	rm -rf $(VENV) $(VENDOR)/node_modules $(CONFORMANCE)/node_modules $(BROWSER)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	rm -rf $(BENCH) bench/peers/*/node_modules
	find . -path ./.data -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# A half-made environment is removed, or the next `make` would take it for a whole one.
$(VENV)/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14; do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "making $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv --clear $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "clearsync: $$python can't make a virtual environment (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "clearsync: needs Python 3.11 or later, found none; if it has another name: make PYTHON=/path/to/python3" >&2; \
	exit 1

# Stamps, so that a second `make serve` starts at once. Editable: a change of the code needs no new install.
$(VENV)/.installed: requirements.lock requirements-build.lock pyproject.toml server/__init__.py | $(VENV)/bin/python
	@echo "installing clearsync into $(VENV)"
	@$(PIP) install --require-hashes -r requirements.lock -r requirements-build.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "installing what the tests need into $(VENV)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# Without Node.js the tests with the vendor's client are skipped; in CI they fail.
.PHONY: vendor-client
vendor-client:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	    $(MAKE) --no-print-directory --silent $(VENDOR)/node_modules/.package-lock.json \
	        $(CONFORMANCE)/node_modules/.package-lock.json; \
	else \
	    echo "no Node.js here: the tests with the vendor's client, and of ours in Node.js, are left out"; \
	fi

# Without nginx and curl the tests through a proxy are skipped; in CI they fail. As with `bench-nchan`, no web server is
# started that nobody asked for.
.PHONY: proxy
proxy:
	@has() { PATH="$$PATH:/usr/sbin:/usr/local/sbin" command -v "$$1" >/dev/null; }; \
	if ! { has nginx && has curl; } && [ "$$(id -u)" = 0 ] && has apt-get && \
	    { [ -n "$$CI" ] || [ ! -d /run/systemd/system ]; }; then \
	    echo "installing nginx and curl"; \
	    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx curl >/dev/null; \
	fi; \
	has nginx && has curl || echo "no nginx or curl here: the tests through a proxy are left out"

# A Chromium, one that is there or else the system's or else Playwright's own, and axe-core. Without them the tests of the
# console are skipped; in CI they fail. (Ubuntu's package of that name is none, but a snap.)
.PHONY: browser
browser: $(VENV)/.installed-dev
	@has() { $(VENV)/bin/python -m tests.browser.chromium; }; \
	if ! has && [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release; then \
	    echo "installing chromium"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	fi; \
	if ! has; then \
	    echo "installing Playwright's own chromium"; \
	    [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || with=--with-deps; \
	    $(VENV)/bin/playwright install $$with chromium >/dev/null || true; \
	fi; \
	has || echo "no Chromium here: the tests of the console are left out"
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	    $(MAKE) --no-print-directory --silent $(BROWSER)/node_modules/.package-lock.json; \
	else \
	    echo "no Node.js here: axe-core is left out"; \
	fi

%/node_modules/.package-lock.json: %/package-lock.json %/package.json
	cd $* && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# What `make bench` compares clearsync with. It says of what can't be had here why, and goes on without.
.PHONY: bench-peers bench-node bench-nchan
bench-peers: $(VENV)/.installed $(BENCH)/venv/.installed bench-node bench-nchan

$(BENCH)/venv/.installed: bench/requirements.lock | $(VENV)/bin/python
	@echo "installing the peers in Python into $(BENCH)/venv"
	@$(VENV)/bin/python -m venv --clear $(BENCH)/venv
	@$(subst $(VENV)/,$(BENCH)/venv/,$(PIP)) install --require-hashes -r bench/requirements.lock
	@touch $@

bench-node:
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
	    $(MAKE) --no-print-directory --silent $(BENCH_NODE:%=%/node_modules/.package-lock.json); \
	else \
	    echo "no Node.js here: its servers are left out of the benchmark"; \
	fi

# By apt-get, as root; but where that would start a web server that nobody asked for, it is left to its owner.
bench-nchan: $(VENV)/.installed
	@absent() { ! $(VENV)/bin/python -c 'from bench.peers.nchan import Nchan; exit(Nchan().absent() or None)'; }; \
	if absent 2>/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
	    { command -v nginx >/dev/null || [ ! -d /run/systemd/system ]; }; then \
	    echo "installing nginx and nchan"; \
	    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1; \
	    apt-get update -qq && apt-get install -y -qq --no-install-recommends libnginx-mod-nchan >/dev/null; \
	fi; \
	if absent; then echo "it is left out of the benchmark"; fi
