# The two commands of the README, and what they are made of.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed

# in how many processes the tests run; they wait more than they compute
PROCESSES ?= 3

# where the servers are that `make servers` starts
SERVERS ?= var/servers

# how often the chaos tests kill what they kill
ROUNDS ?= 100

.PHONY: demo test lint types docs check zope chaos servers format bench ways \
	instructions clean

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

# what runs nowhere but in Zope is measured where there is Zope
WITHOUT_ZOPE = */acquisition.py,*/zope2/*
OMIT = $(shell $(BIN)/python -c 'import Zope2' 2>/dev/null \
	|| echo '--omit=$(WITHOUT_ZOPE)')

# in the order of tests/conftest.py: those that take long, of few tests, come
# first
check: $(INSTALLED)
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile \
		--no-loadscope-reorder --cov --cov-report= --cov-fail-under=0
	$(BIN)/coverage report $(OMIT)

# has the tests in Zope run from now on
zope: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[zope]'

# also on ZEO and PostgreSQL; POSTGRES_DSN names a server to make databases in;
# with brokers of their own
chaos: $(INSTALLED)
	CHAOS_ROUNDS=$(ROUNDS) $(BIN)/python -m pytest tests/chaos

# servers that CI does not have; bjoern is built if there is libev-dev
servers: $(INSTALLED)
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python -m pip install --quiet --editable . \
		--requirement tests/servers/requirements.txt
	-$(SERVERS)/bin/python -m pip install --quiet bjoern==3.2.2
	SERVERS=$(SERVERS) $(BIN)/python -m pytest tests/servers

docs: $(INSTALLED)
	$(BIN)/sphinx-build -W -n -q -E docs docs/_build

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the peers to compare with are no dependencies of the project, nor is wrk
bench: $(INSTALLED)
	$(BIN)/python -m pip install --quiet dm.zodb.asynchronous==2.3.1 \
		huey 'celery[redis]' 'dramatiq[redis]' rq procrastinate \
		'psycopg[binary]'
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/durable.py
	$(BIN)/python benchmarks/over_http.py
	$(BIN)/python benchmarks/celery_engine.py
	$(BIN)/python benchmarks/client.py

# how many modules each step of a job takes, and how many calls between them
ways: $(INSTALLED)
	$(BIN)/python benchmarks/ways.py

# how many instructions each step of a job takes, if there is valgrind
instructions: $(INSTALLED)
	$(BIN)/python benchmarks/instructions.py

clean:
	rm -rf $(VENV) docs/_build .coverage .mypy_cache .pytest_cache .ruff_cache
