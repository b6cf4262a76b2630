"""Proxies before the server whose jobs wait at gates."""

import contextlib
import itertools
from pathlib import Path

import pytest
from proxies import before

HERE = Path(__file__).parent

gates = (f"gate{number}-" for number in itertools.count(1))


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.proxies)


@pytest.fixture(scope="module")
def proxy_named(server, tmp_path_factory):
    """Give a proxy by its name, the same one to all tests."""
    with contextlib.ExitStack() as stack:
        started = {}

        def start(name):
            if name not in started:
                folder = tmp_path_factory.mktemp(name)
                started[name] = stack.enter_context(
                    before(server.port, name, folder)
                )
            return started[name]

        yield start


@pytest.fixture
def gate():
    """Give the beginning of the names of gates that are the test's alone."""
    return next(gates)
