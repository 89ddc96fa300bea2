# Everything a person does with this checkout. Each target is a thin call of a script in scripts/.

SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV

PY := .venv/bin/python
export PHOTOS

.PHONY: help setup demo run test coverage check format bench soak deb test-deb lock clean

help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | while IFS=$$'\t' read -r name what; do \
		printf '  make %-9s %s\n' "$$name" "$$what"; done

setup: ## Make .venv with everything, once; quick when nothing changed
	@scripts/setup.sh

demo: setup ## Run the daemon on a sample library, show what becomes of it, and clean up
	@$(PY) -m scripts.demo

run: setup ## Run the daemon on your folder: make run PHOTOS=~/Pictures
	@$(PY) -m scripts.run

test: setup ## Run all tests
	@scripts/test.sh

coverage: setup ## Run all tests and say how much of the code they reach
	@COVERAGE=1 scripts/test.sh

check: setup ## Run the linters, the type checkers and the import rules
	@scripts/check.sh

format: setup ## Format the code and fix what can be fixed
	@scripts/format.sh

bench: setup ## Measure (long; BENCH=short for the short form); keep the machine idle
	@scripts/bench.sh

soak: setup ## Kill workers and the database, then the daemon for hours while it works (SOAK_MINUTES=60)
	@scripts/chaos.sh
	@$(PY) -m scripts.soak

deb: setup ## Build the Debian package: dist/lumilio_<version>_<arch>.deb
	@packaging/deb/build.sh

test-deb: deb ## Install, use, upgrade, remove and purge the package in a Debian of its own (as root)
	@packaging/deb/test.sh

lock: setup ## Renew the lock files from pyproject.toml (needs uv)
	@scripts/lock.sh

clean: ## Remove what was built here: .venv, .demo and caches; no library is touched
	@scripts/clean.sh
