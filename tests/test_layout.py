"""Imports run one way, and each module says in a line what it is for."""

import ast
import configparser
from pathlib import Path

import pytest
from setuptools import find_packages

import pyramid_zodb_async

PACKAGE = Path(pyramid_zodb_async.__file__).parent

#: From the ground up; a module imports only from rows above its own.
LEVELS = [
    [
        "web.static_files",
        "concurrency.deadlines",
        "exceptions",
        "concurrency.forks",
        "jobs.options",
        "database.storages",
        "config.sigterm",
    ],
    ["jobs.model", "execution.time_limit"],
    [
        "database.connections",
        "jobs.current_job",
        "web.etags",
        "events",
        "settings",
        "transactional",
    ],
    [
        "execution.announcer",
        "transfer.references",
        "scheduler.transaction_changes",
        "database.own_transaction",
        "web.poll_pacing",
        "database.pool_sizes",
    ],
    [
        "transfer.callables",
        "context",
        "transfer.failures",
        "database.application",
    ],
    ["interfaces", "web.status_document", "transfer.storing"],
    [
        "web.authorization",
        "zope2.acquisition",
        "engine",
        "execution.surroundings",
        "engine.fault_injection",
        "web.malformed_requests",
        "web.templates",
        "web.long_polling",
        "config.startup",
    ],
    [
        "config.directives",
        "engine.queue",
        "web.jobs",
        "execution.runner",
        "web.views",
    ],
    [
        "engine.inline",
        "engine.manual",
        "engine.remote.publisher",
        "engine.threads",
    ],
    ["engine.remote.engine"],
    ["engine.remote.worker"],
    ["engine.celery"],
    [
        "scheduler.maintenance.liveness",
        "scheduler.event_queue",
        "scheduler.waiters",
        "scheduler.sids",
    ],
    [
        "scheduler.maintenance.thread",
        "scheduler.records",
        "database.single",
        "engine.submission",
        "scheduler.in_memory.table",
    ],
    [
        "scheduler.process.assigned_jobs",
        "scheduler.store.stored_values",
        "scheduler.in_memory.views",
        "scheduler.store.location",
        "scheduler.store.transitions",
    ],
    [
        "scheduler.process.intake",
        "scheduler.in_memory.run",
        "scheduler.process.progress_reports",
        "scheduler.process.dispatch",
        "scheduler.process.crash_suspects",
        "scheduler.process.remote_claim",
    ],
    [
        "scheduler.memory",
        "scheduler.maintenance.resending",
        "scheduler.process.views",
    ],
    [
        "scheduler.maintenance.expiry",
        "scheduler.maintenance.observing",
        "scheduler.maintenance.takeover",
        "scheduler.process.run",
        "scheduler.process.transaction_job",
    ],
    ["scheduler.maintenance.chores"],
    ["scheduler.zodb"],
    ["scheduler.durable"],
    ["scheduler"],
    ["job"],
    ["options"],
    ["references"],
    ["prefer"],
    ["announcer"],
    ["scheduler.view"],
    ["tween"],
    ["acquisition"],
    ["testing.inspection"],
    ["testing.manual_runs", "testing.expected_calls", "config.include"],
    ["testing"],
    ["__init__", "zope2"],
]


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


def level(name):
    for height, names in enumerate(LEVELS):
        if name in names:
            return height
    pytest.fail(f"{name} has no level yet")


def imported(name, path):
    """Give the modules of ours that a module imports."""
    depth = len(name.split(".")) - (path.name != "__init__.py")
    package = name.split(".")[:depth] if name != "__init__" else []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            yield ".".join([*base, node.module]) if node.module else None


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_a_module_imports_only_what_lies_below_it(name, path):
    for below in imported(name, path):
        assert below is not None, f"{name} imports a whole package"
        assert level(below) < level(name), f"{name} imports {below}"


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_a_module_imports_nothing_inside_functions(name, path):
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            inside = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Import | ast.ImportFrom)
            ]
            assert inside == []


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_a_module_tells_its_purpose_in_one_line(name, path):
    first_line = ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
    assert first_line.endswith(".")


@pytest.mark.parametrize(("name", "path"), list(modules()))
def test_a_module_stays_a_small_room(name, path):
    assert len(path.read_text().splitlines()) <= 400


def test_everything_in_the_package_is_shipped():
    config = configparser.ConfigParser()
    config.read(PACKAGE.parent / "setup.cfg")
    (include,) = config["options.packages.find"]["include"].split()
    packages = find_packages(PACKAGE.parent, include=[include])
    patterns = config["options.package_data"]["pyramid_zodb_async"].split()
    for path in PACKAGE.rglob("*.*"):
        place = path.relative_to(PACKAGE)
        if path.suffix == ".py":
            name = ".".join(["pyramid_zodb_async", *place.parent.parts])
            assert name in packages
        elif path.suffix != ".pyc":
            assert any(place.match(pattern) for pattern in patterns), place
