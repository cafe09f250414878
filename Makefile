# The commands of the project; bare `make` lists them. Only Python 3.11+ and make are presumed.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help serve test demo faults hosts kills fuzz cycles lint types stubs stubs-check clients \
	client-tests bench bench-detection bench-trouble soak soak-quick h2spec clean

help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

serve: $(VENV)/.serve ## run the service on 127.0.0.1:50051 (SERVE="--listen ..." for options)
	@PYTHONMALLOC=malloc GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0 $(BIN)/petsage-grpc serve $(SERVE)

test: $(VENV)/.test ## run all tests but those of make faults (TEST="-k ..." for options of pytest)
	@echo "running the tests; those of every kind of check x every real fault have a command: make faults"
	@$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile -m "not faults" $(TEST)

demo: $(VENV)/.test ## hurt real dependencies of a running service, and show who sees it when
	@PYTHONPATH=. $(BIN)/python tools/demo $(DEMO)

faults: $(VENV)/.test ## every kind of check x every real fault; fails where a server is missing
	@CI=true $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile tests/checks $(TEST)

hosts: $(VENV)/.test ## the tests of the service against each host: a thread, a process, a server of others
	@for host in thread process mounted; do echo "against host $$host"; \
		TEST_HOST=$$host $(BIN)/python -m pytest -q --numprocesses=auto $(TEST) tests/rpc || exit 1; done
	@TEST_HOST=process $(BIN)/python -m pytest -q --numprocesses=auto $(TEST) \
		tests/plane/test_health_plane*.py tests/plane/test_bad_use.py tests/plane/test_callbacks.py \
		tests/plane/test_interpreter_end.py

kills: $(VENV)/.test ## kill the application and its plane's process 100 times each, and look what is left
	@PYTHONPATH=. $(BIN)/python tools/kills.py $(KILLS)

fuzz: $(VENV)/.fuzz ## feed it what nobody should send or write, for half an hour (SECONDS=60 for less)
	@$(BIN)/python -m tests.fuzz.run --seconds $(or $(SECONDS),1800) $(FUZZ)

cycles: $(VENV)/.test ## start and stop a plane 1,000 times with each isolation, and count what is left
	@PYTHONPATH=. $(BIN)/python tools/cycles.py thread $(CYCLES)
	@PYTHONPATH=. $(BIN)/python tools/cycles.py process $(CYCLES)

lint: $(VENV)/.dev ## check the style of the code and of the protos
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/buf lint

types: $(VENV)/.dev ## check the types, strictly
	@$(BIN)/mypy

stubs: $(VENV)/.dev ## make the generated stubs anew
	@$(BIN)/python tools/stubs.py

stubs-check: $(VENV)/.dev ## fail when the generated stubs are stale
	@$(BIN)/python tools/stubs.py --check

clients: ## build the real clients that the tests ask with (needs Go)
	@tests/clients/build

client-tests: $(VENV)/.test clients ## build the real clients, and fail unless their tests run
	@CI=true $(BIN)/python -m pytest -m clients $(TEST)

bench: $(VENV)/.dev ## measure against the reference (needs h2load)
	@$(BIN)/python benchmarks/run.py

bench-detection: $(VENV)/.dev ## time how soon real faults are seen (needs root and the servers)
	@$(BIN)/python benchmarks/detection.py

bench-trouble: $(VENV)/.dev ## show who still answers while the application is in trouble
	@$(BIN)/python benchmarks/trouble.py

soak: $(VENV)/.test clients ## ten minutes of hostile clients, crowds and faults (SOAK="--full": hours)
	@$(BIN)/python -m tests.hostile $(SOAK)

soak-quick: $(VENV)/.test ## a minute of that
	@$(BIN)/python -m tests.hostile --quick $(SOAK)

h2spec: $(VENV)/.test clients ## break the rules of HTTP/2 in 145 ways, and see that it still answers
	@$(BIN)/python -m tests.hostile --only conformance

clean: ## remove what the other commands have made
	@rm -rf $(VENV) build dist tests/clients/bin .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is older than 3.11: set PYTHON=python3.12, say"; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: pyproject.toml | $(BIN)/python
	@echo "installing petsage-grpc into $(VENV)"
	@$(PIP) install --quiet --editable .
	@touch $@

# Dependency groups need a newer pip than the one that comes with Python.
$(VENV)/.test: pyproject.toml | $(BIN)/python
	@echo "installing petsage-grpc and what its tests need into $(VENV)"
	@$(PIP) install --quiet --upgrade "pip>=25.1"
	@$(PIP) install --quiet --editable . --group test
	@touch $@ $(VENV)/.serve

# Without the fuzzer's engine, where that can not be had, there is still the other one.
$(VENV)/.fuzz: $(VENV)/.test
	@echo "installing the engine of the fuzzer into $(VENV)"
	@$(PIP) install --quiet --group fuzz || echo "atheris can not be had here"
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing petsage-grpc and its development tools into $(VENV)"
	@$(PIP) install --quiet --upgrade "pip>=25.1"
	@$(PIP) install --quiet --editable . --group dev
	@touch $@ $(VENV)/.test $(VENV)/.serve
