# The commands for a checkout. Works with GNU make 3.81 (macOS) and any POSIX shell.
#
#   make run       starts Spool: webs, workers and an embedded Redis server (settings: SPOOL_*, see README)
#   make test      the tests, except the slow ones below                    (PYTEST_ARGS="-k name")
#   make lint types format
#   make clocks    the tests at other uptimes, beside busy loops            (AT=1,450 BUSY=0)
#   make faults    kills, pauses and cuts real processes and connections    (about half an hour)
#   make schedules random kills, from seeds; make soak: mixed load with kills (SEEDS=200, MINUTES=10)
#   make fuzz      invalid requests of every kind, from a seed              (CASES=10000 SEED=1)
#   make browser   the page, in a real Chromium
#   make upstream  the tests against real model servers
#   make s3        files in a bucket, on moto, an S3 server that is not ours
#   make clients   third-party clients and applications at Spool's compatible surfaces, and Spool's own clients
#   make bench     measures Spool and its peers
#   make lock      renews requirements/*.txt from pyproject.toml
#   make clean     removes everything that these commands created, except data/
#
# PYTHON=python3.12 chooses another interpreter for a new .venv.

PYTHON ?= python3
PYTEST_ARGS ?=
# More workers than cores, because tests wait for half of their time.
PYTEST_WORKERS ?= 5
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
MORE_NODE_MODULES := tests/compatible/node22/node_modules
CLIENT_VENVS := $(patsubst tests/compatible/environments/%.txt,.venv-clients-%,$(wildcard tests/compatible/environments/*.txt))
PY := $(VENV)/bin/python
# Twice quiet: errors are shown, warnings about an index are not.
PIP := $(PY) -m pip --disable-pip-version-check install --quiet --quiet --no-deps --require-hashes

# A stamp's name is a checksum of the lock file and the checkout's path. So a changed lock or a moved checkout installs
# again, and any other run needs neither pip nor the network.
stamp = $(VENV)/$(1)-$(shell (pwd; cat requirements/$(1).txt) | cksum | tr -dc '0-9').stamp
RUN_STAMP := $(call stamp,run)
TEST_STAMP := $(call stamp,test)
LINK_STAMP := $(VENV)/link-$(shell pwd | cksum | tr -dc '0-9').stamp

# Python caches compiled modules even if the environment disables it, because the tests start hundreds of interpreters.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test clocks lint types format faults schedules soak fuzz bench browser upstream s3 clients lock clean \
	install install-test install-clients install-more-clients

# exec: Ctrl-C and SIGTERM reach the supervisor itself, which stops everything in order.
run: $(RUN_STAMP)
	@exec $(PY) -m spool run

test: $(TEST_STAMP)
	@$(PY) -m pytest -n $(PYTEST_WORKERS) --dist loadscope --no-loadscope-reorder -m "not slow" $(PYTEST_ARGS)

# The monotonic clock depends on the machine's uptime, and a test's speed on the machine's load.
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

# These tests run one after the other, because they use the whole machine and check times. They write their measurements
# to build/faults.jsonl.
faults: $(TEST_STAMP) .venv-compose/installed
	@mkdir -p build && rm -f build/faults.jsonl
	@SPOOL_FAULTS_REPORT=$(CURDIR)/build/faults.jsonl $(PY) -m pytest tests/faults tests/system/test_continuing.py \
	  tests/system/test_jobs.py tests/worker/quarantine tests/compose \
	  tests/spool/jobs/test_job_model.py tests/worker/backends/openai/test_transport.py $(PYTEST_ARGS)

.venv-compose/installed: tests/compose/requirements.txt
	@echo "installing $< into .venv-compose"
	@test -d .venv-compose || $(PYTHON) -m venv .venv-compose
	@.venv-compose/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r $<
	@touch $@

# A seed determines the faults and their times. To repeat a seed: FIRST_SEED=n SEEDS=1.
schedules: $(TEST_STAMP)
	@$(PY) -m tests.faults.schedules --seeds $(SEEDS) --first $(FIRST_SEED)
	@$(PY) -m tests.faults.fail_point_seeds --seeds $(SEEDS) --first $(FIRST_SEED)

soak: $(TEST_STAMP)
	@$(PY) -m tests.faults.soak --minutes $(MINUTES)

# SEED and the arguments that a failure prints repeat a case.
fuzz: $(TEST_STAMP) .venv-fuzz/installed
	@$(PY) -m tests.fuzz --seed $(SEED) --cases $(CASES)
	@$(PY) -m tests.fuzz.openapi --seed $(SEED)
	@$(PY) -m pytest -q -m "hypothesis and not slow" --hypothesis-profile thorough

.venv-fuzz/installed: tests/fuzz/requirements.txt
	@echo "installing $< into .venv-fuzz"
	@test -d .venv-fuzz || $(PYTHON) -m venv .venv-fuzz
	@.venv-fuzz/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r $<
	@touch $@

browser: $(TEST_STAMP)
	@$(PY) -m pytest tests/browser $(PYTEST_ARGS)

upstream: $(TEST_STAMP) .venv-upstream/installed
	@$(PY) -m pytest tests/real_upstream $(PYTEST_ARGS)

# A third-party model server. torch comes first: a CPU build is enough if your index has one.
.venv-upstream/installed: tests/real_upstream/requirements.txt
	@test -d .venv-upstream || $(PYTHON) -m venv .venv-upstream
	.venv-upstream/bin/pip --disable-pip-version-check install --quiet torch==2.13.0
	.venv-upstream/bin/pip --disable-pip-version-check install --quiet -r $<
	@touch $@

s3: $(TEST_STAMP) .venv-s3/installed
	@$(PY) -m pytest tests/spool/files -m slow $(PYTEST_ARGS)

.venv-s3/installed: tests/spool/files/requirements.txt
	@test -d .venv-s3 || $(PYTHON) -m venv .venv-s3
	@.venv-s3/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r $<
	@touch $@

clients: $(TEST_STAMP) install-clients install-more-clients
	@$(PY) -m pytest tests/compatible tests/clients $(PYTEST_ARGS)

# Third-party clients for `make test` and `make clients`: Python's in a virtual environment of their own, Node's only if
# there is an npm. Tests without their client are skipped with a message.
install-clients: .venv-clients/installed $(NODE_MODULES:%=%/.installed)

# Those of `make clients` alone: frameworks whose packages exclude each other, 2.4 GB.
install-more-clients: $(CLIENT_VENVS:%=%/installed) $(MORE_NODE_MODULES:%=%/.installed)

# Pinned whole, so nothing is left to resolve.
.venv-clients-%/installed: tests/compatible/environments/%.txt
	@echo "installing $< into .venv-clients-$*"
	@test -d .venv-clients-$* || $(PYTHON) -m venv .venv-clients-$*
	@.venv-clients-$*/bin/python -m pip --disable-pip-version-check install --quiet --quiet --no-deps -r $<
	@touch $@

.venv-clients/installed: tests/compatible/requirements.txt
	@echo "installing $< into .venv-clients"
	@test -d .venv-clients || $(PYTHON) -m venv .venv-clients
	@.venv-clients/bin/python -m pip --disable-pip-version-check install --quiet --quiet -r $<
	@touch $@

$(NODE_MODULES:%=%/.installed) $(MORE_NODE_MODULES:%=%/.installed): %/node_modules/.installed: %/package.json
	@if command -v npm >/dev/null 2>&1; then \
	  echo "installing $< into $(@D)"; cd $(<D) && \
	  npm install --loglevel=error --no-package-lock --ignore-scripts --legacy-peer-deps --no-audit --no-fund && \
	  touch node_modules/.installed; \
	else echo "npm not found: tests of clients for Node will be skipped"; fi

# Memory of a job: python -m bench.sizing. Fairness of the queue: python -m bench.fair.
# A large batch under kills: python -m bench.batches.
# BENCH_ARGS="--profile full --subjects spool,nchan"; the peers are fetched into build/peers/.
bench: $(TEST_STAMP)
	@$(PY) -m bench $(BENCH_ARGS)

install: $(RUN_STAMP)

install-test: $(TEST_STAMP)

$(RUN_STAMP): $(PY) | $(LINK_STAMP)
	@echo "installing requirements/run.txt into $(VENV)"
	@$(PIP) -r requirements/run.txt
	@rm -f $(VENV)/run-*.stamp && touch $@

$(TEST_STAMP): $(PY) | $(LINK_STAMP)
	@echo "installing requirements/test.txt into $(VENV)"
	@$(PIP) -r requirements/test.txt
	@rm -f $(VENV)/test-*.stamp && touch $@

# Not an editable install, which would fetch and run a build backend. A .pth file with the checkout's paths makes
# `import spool` work from any directory, and .venv/bin/spool is the command.
$(LINK_STAMP): $(PY)
	@$(PY) -c 'import os, sysconfig; \
	open(sysconfig.get_path("purelib") + "/spool-checkout.pth", "w").write("{0}\n{0}/clients/python\n".format(os.getcwd()))'
	@printf '#!%s/%s\nfrom spool.cli import main\n\nmain()\n' "$(CURDIR)" "$(PY)" > $(VENV)/bin/spool
	@chmod +x $(VENV)/bin/spool
	@rm -f $(VENV)/link-*.stamp && touch $@

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Spool needs Python 3.11 or newer; $(PYTHON) is older: try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }

# Universal: one file for Linux and macOS, x86-64 and arm64, without a registry's address. Locked versions stay, unless
# LOCK_ARGS=--upgrade.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" $(VENV)-lock/bin/uv pip compile --quiet --universal \
	--generate-hashes --python-version 3.11 --no-emit-index-url $(LOCK_ARGS)

lock:
	@test -x $(VENV)-lock/bin/uv || { $(PYTHON) -m venv $(VENV)-lock && \
	  $(VENV)-lock/bin/python -m pip --disable-pip-version-check install --quiet uv; }
	@$(LOCK) pyproject.toml -o requirements/run.txt
	@$(LOCK) pyproject.toml --extra test -c requirements/run.txt -o requirements/test.txt
	@echo hatchling | $(LOCK) - -o requirements/build.txt

clean:
	rm -rf $(VENV) $(VENV)-lock .venv-clients $(CLIENT_VENVS) .venv-compose .venv-fuzz .venv-s3 $(NODE_MODULES) $(MORE_NODE_MODULES) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
