# genebrain: `make` alone explains what there is.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.docs_installed
RUN    ?= runs/quickstart
SEED   ?= 2026

.DEFAULT_GOAL := help
.PHONY: help env quickstart test check test-slow truth docs bench lock clean

help:  ## show this help
	@awk 'BEGIN{FS=":.*## "} /^[a-z-]+:.*## /{printf "  make %-11s %s\n",$$1,$$2}' $(MAKEFILE_LIST)

env: $(STAMP)  ## make .venv with everything (once; again when pyproject.toml changes)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || command -v $(PYTHON) > /dev/null || { echo "no $(PYTHON) here; name a Python from 3.11 on: make env PYTHON=python3"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps open_clip_torch  # an oracle of the loss tests; only its loss file is read
	@touch $@

quickstart: env  ## simulate a cohort, train an alignment, judge it, write the report (under 3 minutes)
	@$(BIN)/genebrain fit run=$(RUN)
	@$(BIN)/genebrain evaluate run=$(RUN)
	@$(BIN)/genebrain report run=$(RUN)

check: env  ## lint, types, import contracts, code that nobody uses
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/vulture

# Two workers: more threads only wait for each other. A file stays with one worker, which makes its cohorts once.
test: check  ## check, then every fast test (under 10 minutes on 2 cores), in the same order each time; SEED=n for another
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not truth" -n 2 --dist loadfile --randomly-seed=$(SEED)

test-slow: env  ## the tests that take minutes
	@$(BIN)/pytest -m slow

truth: env  ## the known-answer lines over several cohorts and seeds
	@$(BIN)/pytest -m truth

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(DOCS_STAMP)  ## build the site with its executed examples; warnings and broken links are errors
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going -n -q -b html -c docs . docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: env  ## paired timings; writes into benchmarks/RESULTS.md
	@$(BIN)/python -m benchmarks.run

lock: $(DOCS_STAMP)  ## write constraints.txt from the environment that passes the tests
	@$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' > constraints.txt

clean:  ## remove the environment and quickstart runs
	rm -rf $(VENV) runs docs/_build docs/api docs/gallery
