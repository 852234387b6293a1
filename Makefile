# `make demo` and `make test` work first, each without the other: both set up what they need from requirements.lock.
PYTHON ?= python3
N ?= 20
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint format soak bench clean

help: ## List what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' Makefile | column -t -s '@' 2>/dev/null || grep -E '^[a-z]+:.*##' Makefile

.venv/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@echo "Setting up .venv (once)"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r requirements.lock
	@.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch .venv/.installed

.venv-lint/.installed: .ci/lint.lock
	@echo "Setting up .venv-lint (once)"
	@rm -rf .venv-lint
	@$(PYTHON) -m venv .venv-lint
	@.venv-lint/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r .ci/lint.lock
	@touch .venv-lint/.installed

demo: .venv/.installed ## The whole path on an invented organisation, no key needed: ends with the month's table
	@.venv/bin/chargeback demo

test: .venv/.installed ## Every test, against the simulator over HTTP and real DuckDB files
	@.venv/bin/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/.installed .venv-lint/.installed ## ruff, sqlfluff, and mypy strict on pipelines/
	@.venv-lint/bin/ruff format --check .
	@.venv-lint/bin/ruff check .
	@.venv-lint/bin/mypy
	@.venv-lint/bin/sqlfluff lint --disable-progress-bar models dbt_project/tests dbt_project/macros

format: .venv-lint/.installed ## Let ruff and sqlfluff mend what they can
	@.venv-lint/bin/ruff format .
	@.venv-lint/bin/ruff check --fix .
	@.venv-lint/bin/sqlfluff fix --disable-progress-bar models dbt_project/tests

soak: .venv/.installed ## Random nights with faults and kills: make soak N=200 SEED=7
	@.venv/bin/python -m tests.soak --nights $(N) --seed $(SEED)

bench: .venv/.installed ## Measure against the yardsticks of bench/README.md
	@.venv/bin/python -m bench

clean: ## Remove environments and caches; never data/
	@rm -rf .venv .venv-lint .pytest_cache .mypy_cache .ruff_cache dbt_project/target dbt_project/logs *.egg-info
