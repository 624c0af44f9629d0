# What one does with a checkout. Works with GNU make 3.81 (macOS) and any POSIX shell.
#
#   make run       start Spool: web, workers and a Redis server of its own     (settings: SPOOL_*, see README)
#   make test      the tests, but for the slow ones below                      (PYTEST_ARGS="-k name")
#   make lint types format
#   make clocks    the tests at other uptimes, and beside busy loops           (AT=1,450 BUSY=0)
#   make faults    kills, pauses and cuts things while it runs, for real      (about half an hour)
#   make schedules random kills, from seeds; make soak: mixed load with kills  (SEEDS=200, MINUTES=10)
#   make fuzz      wrong requests of every kind, from a seed                    (CASES=10000 SEED=1)
#   make browser   the page, in a real Chromium
#   make upstream  against real model servers
#   make clients   clients and applications that exist, at Spool's compatible surfaces, and Spool's own
#   make bench     measures it
#   make lock      renews requirements/*.txt from pyproject.toml
#   make clean     removes what these made; never data/
#
# PYTHON=python3.12 chooses another interpreter for a new .venv.

PYTHON ?= python3
PYTEST_ARGS ?=
# More than two cores: half of a test's time is waiting.
PYTEST_WORKERS ?= 4
BENCH_ARGS ?=
SEEDS ?= 200
FIRST_SEED ?= 1
MINUTES ?= 10
SEED ?= 1
CASES ?= 10000
AT ?= 1,450,1e5,1e9
BUSY ?= $(shell getconf _NPROCESSORS_ONLN)

VENV := .venv
NODE_MODULES := tests/compatible/node/node_modules tests/clients/js/node_modules
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes

# A stamp's name holds the lock file's content and where the checkout is, so that a changed lock or a moved
# checkout installs again, and anything else needs neither pip nor the network.
stamp = $(VENV)/$(1)-$(shell (pwd; cat requirements/$(1).txt) | cksum | tr -dc '0-9').stamp
RUN_STAMP := $(call stamp,run)
TEST_STAMP := $(call stamp,test)

# Python keeps compiled modules even where the environment says not to: the tests start hundreds of interpreters.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test clocks lint types format faults schedules soak fuzz bench browser upstream clients lock clean \
	install install-test install-clients

# exec: Ctrl-C and SIGTERM reach the supervisor itself, which stops everything in order.
run: $(RUN_STAMP)
	@exec $(PY) -m spool run

test: $(TEST_STAMP)
	@$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

# What the monotonic clock shows depends on when the machine was started, and how fast a test runs on what else it does.
clocks: $(TEST_STAMP)
	@$(PY) -m tests.uptimes --at "$(AT)" --busy $(BUSY) -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

lint: $(TEST_STAMP)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(TEST_STAMP)
	@$(PY) -m mypy

format: $(TEST_STAMP)
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

# These run one after the other: they use up the machine, and time is part of what they check. What they measure goes
# into build/faults.jsonl.
faults: $(TEST_STAMP)
	@mkdir -p build && rm -f build/faults.jsonl
	@SPOOL_FAULTS_REPORT=$(CURDIR)/build/faults.jsonl $(PY) -m pytest tests/faults tests/system/test_continuing.py \
	  tests/spool/jobs/test_job_model.py $(PYTEST_ARGS)

# A seed says what dies and when; the same seed again: FIRST_SEED=n SEEDS=1.
schedules: $(TEST_STAMP)
	@$(PY) -m tests.faults.schedules --seeds $(SEEDS) --first $(FIRST_SEED)
	@$(PY) -m tests.faults.fail_point_seeds --seeds $(SEEDS) --first $(FIRST_SEED)

soak: $(TEST_STAMP)
	@$(PY) -m tests.faults.soak --minutes $(MINUTES)

# A case comes again with SEED and the arguments that its failure prints.
fuzz: $(TEST_STAMP) .venv-fuzz/installed
	@$(PY) -m tests.fuzz --seed $(SEED) --cases $(CASES)
	@$(PY) -m tests.fuzz.openapi --seed $(SEED)

.venv-fuzz/installed: tests/fuzz/requirements.txt
	@echo "installing $< into .venv-fuzz"
	@test -d .venv-fuzz || $(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

browser: $(TEST_STAMP)
	@$(PY) -m pytest tests/browser $(PYTEST_ARGS)

upstream: $(TEST_STAMP) .venv-upstream/installed
	@$(PY) -m pytest tests/real_upstream $(PYTEST_ARGS)

# A model server that is not ours. torch first: a CPU build is enough where your index has one.
.venv-upstream/installed: tests/real_upstream/requirements.txt
	@test -d .venv-upstream || $(PYTHON) -m venv .venv-upstream
	.venv-upstream/bin/pip --disable-pip-version-check install --quiet torch==2.13.0
	.venv-upstream/bin/pip --disable-pip-version-check install --quiet -r $<
	@touch $@

clients: $(TEST_STAMP) install-clients
	@$(PY) -m pytest tests/compatible tests/clients $(PYTEST_ARGS)

# What `make test` and `make clients` run against Spool and is not ours: Python's in an environment of its own, Node's
# only where npm is. Tests whose client is missing are skipped, and say so.
install-clients: .venv-clients/installed $(NODE_MODULES:%=%/.installed)

.venv-clients/installed: tests/compatible/requirements.txt
	@echo "installing $< into .venv-clients"
	@test -d .venv-clients || $(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

$(NODE_MODULES:%=%/.installed): %/node_modules/.installed: %/package.json
	@if command -v npm >/dev/null 2>&1; then \
	  echo "installing $< into $(@D)"; cd $(<D) && \
	  npm install --loglevel=error --no-package-lock --ignore-scripts --no-audit --no-fund && \
	  touch node_modules/.installed; \
	else echo "there is no npm: tests of clients for Node will be skipped"; fi

# How much memory a job keeps: python -m bench.sizing.
# BENCH_ARGS="--profile full --subjects spool,nchan"; the peers are fetched into build/peers/.
bench: $(TEST_STAMP)
	@$(PY) -m bench $(BENCH_ARGS)

install: $(RUN_STAMP)

install-test: $(TEST_STAMP)

$(RUN_STAMP): $(PY)
	@echo "installing requirements/run.txt into $(VENV)"
	@$(PIP) -r requirements/run.txt
	@$(call link_checkout)
	@rm -f $(VENV)/run-*.stamp && touch $@

$(TEST_STAMP): $(PY)
	@echo "installing requirements/test.txt into $(VENV)"
	@$(PIP) -r requirements/test.txt
	@$(call link_checkout)
	@rm -f $(VENV)/test-*.stamp && touch $@

# Not an editable install: that would fetch and run a build backend. A .pth file that names the checkout makes
# `import spool` work just as well, from any directory.
link_checkout = $(PY) -c 'import os, sysconfig; \
	open(sysconfig.get_path("purelib") + "/spool-checkout.pth", "w").write(os.getcwd() + "\n")'

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Spool needs Python 3.11 or newer, and $(PYTHON) is not: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }

# Universal: one file for Linux and macOS, x86-64 and arm64. No registry's address gets into it. Versions that
# are there stay, unless LOCK_ARGS=--upgrade.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)-lock/bin/uv pip compile --quiet --universal \
	--generate-hashes --python-version 3.11 --no-emit-index-url $(LOCK_ARGS)

lock:
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && \
	  $(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet uv; }
	@$(LOCK) pyproject.toml -o requirements/run.txt
	@$(LOCK) pyproject.toml --extra test -c requirements/run.txt -o requirements/test.txt
	@echo hatchling | $(LOCK) - -o requirements/build.txt

clean:
	rm -rf $(VENV) $(VENV)-lock .venv-clients .venv-fuzz $(NODE_MODULES) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
