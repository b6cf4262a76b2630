"""A server whose jobs wait at gates, and proxies before it."""

import contextlib
import itertools
from pathlib import Path

import pytest
from client_server import ClientServer
from proxies import before

HERE = Path(__file__).parent

gates = (f"gate{number}-" for number in itertools.count(1))


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.proxies)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Serve the application of the client's tests."""
    server = ClientServer(tmp_path_factory.mktemp("client"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
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
