# The two commands of the README, and what they are made of.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/installed
DEMO_INSTALLED = $(VENV)/demo-installed

# where the demo is served, if not at the address in development.ini
LISTEN ?=

# in how many processes the tests run; they wait more than they compute
PROCESSES ?= 3

# where the servers are that `make servers` starts
SERVERS ?= var/servers

# how often the chaos tests kill what they kill
ROUNDS ?= 100

.PHONY: demo test lint types docs check zope chaos proxies servers format bench \
	ways instructions clean

# Pyramid 2.1 has newer versions of setuptools say so
OF_PYRAMID = 'ignore:pkg_resources is deprecated:UserWarning'

demo: $(DEMO_INSTALLED)
	@$(BIN)/python -W $(OF_PYRAMID) -m demo_app "$(LISTEN)"

test: $(INSTALLED) lint types check docs

# what a rule that failed has left is no reason to go on
.DELETE_ON_ERROR:

# Python 2 can read this, too
IS_LATE_ENOUGH = import sys; sys.exit(sys.version_info < (3, 11))

# with an earlier one, pip looks for packages that do, and fails in the end
# without a word of Python
$(VENV)/bin/python:
	@$(PYTHON) -c '$(IS_LATE_ENOUGH)' || { \
		echo "Python 3.11 or later is needed, and $(PYTHON) is older, or"; \
		echo "not there. If you have another, make demo PYTHON=python3.12"; \
		exit 1; }
	@echo "Making a virtual environment in $(VENV)."
	@$(PYTHON) -m venv $(VENV)

$(DEMO_INSTALLED): setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing the demo and what it needs into $(VENV): some thirty"
	@echo "packages, which takes half a minute or so, once."
	@$(BIN)/python -m pip install --disable-pip-version-check \
		--progress-bar off --editable '.[demo]' || { \
		echo "pip could not install them, and has said why. It needs the"; \
		echo "network, or an index like that. make demo tries again."; \
		exit 1; }
	@touch $@

# what the tests need has all that the demo needs
$(INSTALLED): setup.cfg pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV): some hundred and"
	@echo "forty packages, which takes some minutes, once."
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@ $(DEMO_INSTALLED)

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

# behind Apache, nginx and a small proxy; a missing one is a failure here
proxies: $(INSTALLED)
	CI=true $(BIN)/python -m pytest -m proxies tests/proxies tests/browser

# servers that CI does not have; these two are built if Debian's libev-dev and
# apache2-dev are there, and else the tests tell that they are skipped
servers: $(INSTALLED)
	$(PYTHON) -m venv $(SERVERS)
	$(SERVERS)/bin/python -m pip install --quiet --editable . \
		--requirement tests/servers/requirements.txt
	for server in bjoern==3.2.2 mod_wsgi==6.1.1; do \
		$(SERVERS)/bin/python -m pip install --quiet $$server \
			> $(SERVERS)/built 2>&1 || echo "Without $$server."; \
	done
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
	$(BIN)/python benchmarks/bulk.py
	$(BIN)/python benchmarks/closed_loop.py
	$(BIN)/python benchmarks/waiting.py
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
