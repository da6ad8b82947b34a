# What a contributor can do here. `make` alone lists it. Needs Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV ?= .venv
# More words for pip, such as --extra-index-url of an index with CPU builds of torch.
PIP_ARGS ?=
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run test fuzz check fmt bench docs weights constraints clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv and install Luthier into it, at the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Luthier needs Python 3.11 or newer; name one with: make PYTHON=python3.12 …' >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable . --group dev
	@touch $@

run: install ## Pull the base weights and do the main job once on the bundled sample
	$(BIN)/luthier quickstart

test: install ## Run the tests
	$(BIN)/pytest -n auto

fuzz: install ## Send 2,000 made-up requests of each kind to each path of the API
	FUZZ_EXAMPLES=2000 $(BIN)/pytest -n auto tests/contract/test_fuzz.py

check: install ## Lint, formatting, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run the benchmarks, each against its peer
	@for script in $(filter-out %/machine.py,$(wildcard benchmarks/*.py)); do $(BIN)/python $$script || exit 1; done

docs: install ## Write the pages of docs/ that are made from the code
	$(BIN)/python -m luthier.cli.reference docs
	$(BIN)/python -m luthier.server.openapi docs/openapi.json
	$(BIN)/python tests/contract/compatibility.py docs/compatibility.md

weights: install ## Pull the weights that the tests marked `weights` need: of ada and of the embedding models
	$(BIN)/luthier pull ada
	$(BIN)/luthier pull text-embedding-3-small
	$(BIN)/luthier pull text-embedding-ada-002

constraints: ## Write constraints.txt from what .venv holds
	$(BIN)/python -m pip freeze --all --exclude luthier --exclude wheel | sed 's/+cpu$$//' > constraints.txt

clean: ## Remove .venv and what tools left here
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
