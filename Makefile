# The two commands of the README, and what they are made of.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

# how often the chaos tests kill what they kill
ROUNDS ?= 100

.PHONY: demo test lint types docs check chaos format bench clean

demo: $(INSTALLED)
	mkdir -p var
	$(BIN)/python -m pyramid.scripts.pserve development.ini

test: $(INSTALLED) lint types check docs

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): setup.cfg pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: $(INSTALLED)
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report

# also on ZEO and PostgreSQL; POSTGRES_DSN names a server to make databases in
chaos: $(INSTALLED)
	CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/chaos

docs: $(INSTALLED)
	$(BIN)/sphinx-build -W -n -q -E docs docs/_build

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the peers to compare with are no dependencies of the project
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet dm.zodb.asynchronous==2.3.1 \
		huey 'celery[redis]' 'dramatiq[redis]' rq procrastinate \
		'psycopg[binary]'
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/durable.py

clean:
	rm -rf $(VENV) docs/_build .coverage .mypy_cache .pytest_cache .ruff_cache
