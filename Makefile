# Every command of the project. `make help` lists them.

SHELL := /bin/bash
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest -p tests.gate
# Unit tests share nothing, so each CPU runs a part of them.
UNIT := -n auto --maxprocesses 4 --dist worksteal tests/unit
C_SOURCES := $(wildcard kern/*.c kern/*.h dnsfront/worker/process/*.c)
CLANG_FORMAT := clang-format --style=file:kern/.clang-format

.DEFAULT_GOAL := help
.PHONY: setup setup-bench compiled run test test-unit test-kern test-system guesses test-compiled test-systemd check fmt objects bench bench-scale bench-lists soak fuzz clean help

setup: ## install what is missing: Debian packages (as root) and .venv
	@deploy/setup.sh

setup-bench: ## the same, and the peers to measure against
	@deploy/setup.sh bench

compiled: setup ## the installed form, its query path compiled, in .venv-compiled
	@deploy/compile.sh

# Built once for the sources as they are; PURE=1 does without, as does a missing compiler.
run: setup ## serve the demo zone on 127.0.0.1:5353 and [::1]:5353
	@venv=.venv; \
	if [[ -z "$(PURE)" ]] && deploy/compile.sh; then venv=.venv-compiled; fi; \
	exec $$venv/bin/dnsfront run -c config.example.yaml

# One system test waits for the compiled form, which is built beside the unit tests.
test: setup ## every test; kernel and system tests want root
	@nice -n 19 deploy/compile.sh & \
	$(PYTEST) $(UNIT); unit=$$?; \
	DNSFRONT_COMPILED=wanted $(PYTEST) tests/kern tests/system; rest=$$?; \
	wait; exit $$((unit + rest))

test-unit: setup ## the tests that need no root and no other program
	@$(PYTEST) $(UNIT)

test-kern: setup ## the kernel programs, in private network namespaces
	@$(PYTEST) tests/kern

test-system: setup ## the whole front end, with real peers
	@$(PYTEST) tests/system

guesses: ## 100,000 forged answers, of which none may land
	@GUESSES=100000 $(PYTEST) tests/unit/test_worker_upstream_guesses.py

test-compiled: compiled ## unit and system tests against the installed, compiled form
	@tests/compiled.sh
	@DNSFRONT_COMMAND=$(CURDIR)/.venv-compiled/bin/dnsfront $(PYTEST) tests/system

test-systemd: setup ## the systemd unit, under a systemd of its own; wants root
	@bash tests/systemd/run.sh

check: setup ## format, lint, types, layers, docs, quick unit tests: before every commit
	$(VENV)/ruff format --check
	$(VENV)/ruff check
	$(CLANG_FORMAT) --dry-run -Werror $(C_SOURCES)
	$(VENV)/mypy
	$(PYTEST) -q -m "not long" $(UNIT)

fmt: setup ## bring all sources into the project's form
	$(VENV)/ruff format
	$(VENV)/ruff check --fix
	$(CLANG_FORMAT) -i $(C_SOURCES)

objects: setup ## compile what changed in kern/ for those who have no compiler
	@$(VENV)/python -m dnsfront.kernel.shipping

bench: setup-bench compiled ## measure against the peers, side by side
	@$(VENV)/python -m tests.bench

bench-quick: setup-bench compiled ## the same in two short rounds, within three minutes
	@$(VENV)/python -m tests.bench --quick

bench-scale: setup-bench compiled ## cost and hits by size, and the charts of docs/performance.md
	@out=$$($(VENV)/python -m tests.bench.scale | tail -1) && $(VENV)/python -m tests.bench.charts $$out

# NAMES=10000000 for more.
bench-lists: setup ## what a list of rules takes on a host, how long a look and a save take
	@$(VENV)/python -m tests.bench.lists $(if $(NAMES),--names $(NAMES))

# MINUTES=60 for long; SEED=... and OPS=FILE do again what a report tells.
soak: setup ## a model beside the real server, random operations; wants root
	@$(VENV)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(SEED),--seed $(SEED)) $(if $(OPS),--ops $(OPS))

# Led by coverage where atheris installs; SECONDS are for each target.
fuzz: setup ## malformed queries, responses, zone files and configs
	-@$(VENV)/python -c 'import atheris' 2>/dev/null || \
		$(VENV)/pip install -q --only-binary :all: 'atheris>=2.3,<4'
	@$(VENV)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS))

clean: ## remove caches and builds; .venv stays
	rm -rf build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -rf tests/bench/bin
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name __objects__ \) -type d -exec rm -rf {} +

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 14
