# Needs Python 3.11 or newer and make; everything else goes into .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test check types async pytest format bench soak clean
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

# $(call step,name,command): one line for a step that passes, everything that it said for one that fails.
step = @start=$$(date +%s); if said=$$($(2) 2>&1); \
	then printf '  %-9s ok %4ss\n' '$(1)' $$(($$(date +%s) - start)); \
	else printf '  %-9s FAILED\n\n%s\n\n' '$(1)' "$$said"; exit 1; fi

help:  ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# STORE=postgres brings its own server; a URL is somebody else's.
demo: $(VENV)/.installed$(if $(filter postgres%,$(STORE)),-postgres)  ## index the standard library as durable tasks and kill the process in the middle; STORE=postgres, ARGS="..."
	@$(BIN)/python -m milepost.demo $(if $(STORE),--store '$(STORE)') $(ARGS)

test: check  ## everything that guards the project
	@$(MAKE) -j2 mypy pyright
	@$(MAKE) async
	@$(MAKE) pytest

check: $(VENV)/.installed-dev  ## the fast part: format, lint, floors, tidy
	$(call step,format,$(BIN)/ruff format --check .)
	$(call step,lint,$(BIN)/ruff check .)
	$(call step,floors,$(BIN)/lint-imports --no-logo)
	$(call step,tidy,$(BIN)/pytest -q tests/test_tidy.py)

types: $(VENV)/.installed-dev  ## both type checkers
	@$(MAKE) -j2 mypy pyright

.PHONY: mypy pyright
mypy: $(VENV)/.installed-dev
	$(call step,mypy,$(BIN)/mypy)

pyright: $(VENV)/.installed-dev
	$(call step,pyright,$(BIN)/pyright)

# Off: 106 and 114 are about spelling, 124 would forbid an async task that needs no await, 91x asks for a checkpoint on
# every path. A deliberate exception carries `# noqa: ASYNC103` and a reason.
comma := ,
ASYNC_OFF := ASYNC106$(comma)ASYNC114$(comma)ASYNC124$(comma)ASYNC91

# Only files that have something asynchronous: parsing the others would take most of the time.
async: $(VENV)/.installed-dev
	$(call step,async,grep -rlwZ --include='*.py' async src tests \
		| xargs -0 -r -n 5 -P 2 $(BIN)/flake8-async --enable=ASYNC --disable=$(ASYNC_OFF))

pytest: $(VENV)/.installed-dev
	@$(BIN)/pytest -q -n 3 $(ARGS)

format: $(VENV)/.installed-dev  ## write the code as the project formats it
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## measure; see benchmarks/README.md
	@$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/.installed-dev  ## ten times the kills and restarts of the quick tier; TIMES="..." for more
	@MILEPOST_SOAK=$(or $(TIMES),10) $(BIN)/pytest -q tests/reliability tests/simulation $(ARGS)

clean:  ## remove .venv, caches and what was built
	@rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Set-up: once, and again when pyproject.toml changes.

$(VENV)/.created:
	@python=; for each in python3.11 python3 python3.12 python3.13 python3.14; do \
		if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'milepost needs Python 3.11 or newer, and neither python3.11 nor a new enough python3 is on the PATH.' >&2; \
		echo 'Install one, then run make again.' >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { \
		echo 'Python could not make a virtual environment; on Debian and Ubuntu install python3-venv.' >&2; exit 1; }
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.created
	@echo 'Installing milepost'
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-postgres: pyproject.toml | $(VENV)/.created
	@echo 'Installing milepost with PostgreSQL'
	@$(BIN)/python -m pip install --quiet --editable '.[postgres,server]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.created
	@echo 'Installing milepost and its development tools'
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $(VENV)/.installed $(VENV)/.installed-postgres $@
