# The commands of a newcomer and of CI. Everything runs in .venv, which is made from constraints.txt when it is missing or old.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes that share the tests of `make test`: one more than cores, because tests of processes mostly wait; never many, because they start more of their own.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 7 ? n + 1 : 8)))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

.PHONY: help install demo up test check test-system test-players test-nights soak-serve soak-store cycle bench bench-serve bench-store bench-steer bench-plan bench-peers docs format clean distclean

help: ## say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | awk -F'|' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv and install everything

demo: $(STAMP) ## play the whole story with real processes; CHECK=1 asserts it and ends
	@$(BIN)/lowtide demo $(if $(CHECK),--check)

up: $(STAMP) ## run the whole system for as long as you like, with its state in .lowtide/
	@$(BIN)/lowtide up

test: $(STAMP) ## run the tests that need nothing of the distribution, on all cores; ARGS='…' go to pytest; WORKERS=0: one after another
	@status=0; $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not system and not long' --durations=25 $(ARGS) || status=$$?; \
		echo "not run: system (needs Chromium, and root for sick disks; make test-system), players at length (make test-players), nights that go wrong (make test-nights)"; exit $$status

check: $(STAMP) ## format, lint, types, house rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types house

.PHONY: types house
types: $(STAMP)
	@$(BIN)/mypy
	@$(BIN)/mypy tests scripts

house: $(STAMP)
	@$(BIN)/pytest -q tests/house

fuzz: $(STAMP) ## throw odd bytes at parsers and tokens; SECONDS=60 SEED=N TARGETS='request token …'
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(TARGETS)

test-system: $(STAMP) ## both pages in headless Chromium on the whole system (Chromium: sudo scripts/system-parts), and sick disks (as root)
	@scripts/system-parts --check
	@$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'system and not long' --durations=25 $(ARGS)

test-players: $(STAMP) ## shaka, hls.js, dash.js and the viewer page in headless Chromium while appliances are killed, drained and slowed and tokens end (about 25 minutes); results in build/players
	@scripts/system-parts --check
	@$(BIN)/pytest -m system tests/browser/test_players_on_the_real_system.py tests/browser/test_players_through_trouble.py \
		tests/browser/test_viewer_through_trouble.py tests/browser/test_players_on_slow_lines.py $(ARGS)

test-nights: $(STAMP) ## nights of the fill cycle that go wrong, with real appliances in compressed time (minutes)
	@$(BIN)/pytest -m system tests/system/test_nightly_cycle.py $(ARGS)

.PHONY: study
study: $(STAMP) ## run the scenarios of docs/studies and draw their plots (long); ARGS='--only hulu --seeds 1'
	@$(BIN)/python -m benchmarks.plan.studies $(ARGS)

soak-serve: $(STAMP) ## 100,000 verified requests while a worker is killed every second; ARGS='--seconds 600 --requests 1000000'
	@$(BIN)/python -m tests.oca.supervisor.soak $(ARGS)

soak-store: $(STAMP) ## everything goes wrong at once for half an hour, every byte verified; MINUTES=30; KILLS=100: the keeper alone, under 1,000 cold readers
	@$(BIN)/python -m tests.oca.appliance.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(KILLS),--kills $(KILLS)) $(ARGS)

bench: $(STAMP) ## load a running system (make up) with members who play; USERS=20 SECONDS=60 PLAYBACK=URL NETWORK=ADDRESS
	@$(BIN)/locust -f benchmarks/load/locustfile.py --headless --playback $(or $(PLAYBACK),http://127.0.0.1:8806) --users $(or $(USERS),20) --spawn-rate 2 --run-time $(or $(SECONDS),60)s \
		--only-summary $(if $(NETWORK),--network $(NETWORK))

bench-serve: $(STAMP) ## measure a request's cost beside nginx, Varnish, Traffic Server; QUICK=1: under five minutes; ARGS='…'
	@$(BIN)/python -m benchmarks.serve $(if $(QUICK),--quick) $(ARGS)

bench-store: $(STAMP) ## measure the store: coalescing, first hit, look-ups, fills, purges, policies, pull-through beside nginx; QUICK=1: under five minutes; ARGS='…'
	@$(BIN)/python -m benchmarks.store $(if $(QUICK),--quick) $(ARGS)

cycle: $(STAMP) ## seven nights of the fill cycle by themselves, with real appliances and viewers, in about sixteen minutes; DAYS=2; ARGS='…'
	@$(BIN)/python -m benchmarks.cycle $(if $(DAYS),--days $(DAYS)) $(ARGS)

bench-steer: $(STAMP) ## measure steering: decisions, requests, spread of load, a dead box, sessions through it, first frame; QUICK=1: fewer rounds; ARGS='…'
	@$(BIN)/python -m benchmarks.steer $(if $(QUICK),--quick) $(ARGS)

bench-plan: $(STAMP) ## measure planning: time, memory, gap to the bound, forecast, what a plan gains, fills; QUICK=1: under five minutes; ARGS='--top10 FILE'
	@OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.plan $(if $(QUICK),--quick) $(ARGS)

bench-peers: ## install what bench-serve compares with, and its client, from the distribution (as root)
	DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends nginx-light varnish trafficserver wrk

docs: $(STAMP) ## write the pages that are made from the code: docs/settings.md, docs/metrics.md
	@$(BIN)/python scripts/pages.py

format: $(STAMP) ## mend format and what lint can mend
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove what tools and the demo left; .venv and .lowtide/ stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .demo *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

$(STAMP): setup.cfg constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/pip || { echo "making $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV) || \
		{ echo "the venv module is missing (Debian, Ubuntu: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }; }
	@echo "installing into $(VENV), some minutes the first time"
	@PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -c constraints.txt -e '.[dev]' 2>&1 | tee $(VENV)/install.log | \
		awk '/^Collecting/ && ++n % 10 == 0 {printf "  %d packages found\n", n; fflush()} /^Installing collected/ {print "  installing them"; fflush()}' || \
		{ echo "installation failed; the last lines of $(VENV)/install.log:" >&2; tail -n 15 $(VENV)/install.log >&2; exit 1; }
	@touch $(STAMP)
