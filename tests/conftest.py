"""Applications, databases and clean-up for the tests."""

import inspect
import signal

import pytest
import shop
import storages
import transaction
from client_server import ClientServer
from folders import TESTS
from pyramid.config import Configurator
from webtest import TestApp
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

from pyramid_zodb_async import (
    PersistentContext,
    TransactionalScheduler,
    testing,
)

#: The folders whose files take long, of few tests.
SLOW = (
    "chaos",
    "browser",
    "docs",
    "engine/remote",
    "benchmarks",
    "proxies",
)

# the machine that these tests run on may be slower than those of users
for function in (testing.drain, testing.wait_for, testing.restart):
    function.__defaults__ = (shop.PATIENCE,)
for function in (testing.run_next, testing.paused):
    inspect.unwrap(function).__kwdefaults__["timeout"] = shop.PATIENCE


# A shell without job control has what it starts in the background ignore
# Ctrl-C, and the servers of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_transaction_left():
    """Each test begins and ends without a transaction of this thread."""
    transaction.abort()
    yield
    transaction.abort()


def pytest_collection_modifyitems(items):
    """Have those tests begin first that take long, for many processes."""
    items.sort(key=lambda item: folder_rank(item.path))


def folder_rank(path):
    """Tell which of the slow folders a test is in, or that it is in none."""
    for rank, folder in enumerate(SLOW):
        if path.is_relative_to(TESTS / folder):
            return rank
    return len(SLOW)


def pytest_generate_tests(metafunc):
    """Run tests with each scheduler that the marker ``kept_in`` names."""
    chosen = [
        mark.args[0]
        for mark in metafunc.definition.iter_markers("parametrize")
        if "kept_in" in mark.args[0]
    ]
    if "kept_in" in metafunc.fixturenames and not chosen:
        marker = metafunc.definition.get_closest_marker("kept_in")
        metafunc.parametrize("kept_in", marker.args if marker else ["memory"])


@pytest.fixture
def say(record_property):
    """Have a line shown at the end, whichever process the test runs in."""
    return lambda line: record_property("said", line)


def pytest_terminal_summary(terminalreporter):
    """Show what tests have to say."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, line in getattr(report, "user_properties", ()):
                if name == "said" and report.when == "call":
                    terminalreporter.write_line(line)


@pytest.fixture
def storage():
    """Tell on what kind of storage the applications are; none of their own."""


@pytest.fixture
def storage_uri(storage, tmp_path):
    """Give the URI of a database, the same for the same number.

    With a storage, all applications of the test have the same database.
    """
    if storage is None:
        yield (
            lambda number: (
                f"file://{tmp_path}/Data{number}.fs?connection_pool_size=20"
            )
        )
    else:
        with storages.uri_of(storage, tmp_path) as uri:
            yield lambda _number: uri


@pytest.fixture
def make_app(kept_in, storage_uri):
    """Make WebTest applications on a FileStorage, from views by path."""
    made = []

    def make(
        views=None,
        *,
        includes=shop.INCLUDES,
        configure=None,
        root=None,
        **settings,
    ):
        settings = {
            name.replace("__", "."): settings[name] for name in settings
        }
        if "pyramid_zodbconn" in includes:
            settings.setdefault("zodbconn.uri", storage_uri(len(made)))
        settings.setdefault("zodb_async.scheduler", kept_in)
        config = Configurator(settings=settings, root_factory=root)
        made.append(config.registry)
        with config:
            for include in includes:
                config.include(include)
            for path, view in (views or {}).items():
                config.add_route(path, path)
                config.add_view(view, route_name=path)
            if configure:
                configure(config)
        return TestApp(config.make_wsgi_app())

    yield make
    transaction.abort()
    for registry in made:
        shop.shut_down(registry)


@pytest.fixture(params=["implicit", "explicit"])
def manager(request):
    """Settings for the application's transaction manager."""
    if request.param == "explicit":
        return {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    return {}


@pytest.fixture(params=["inline", "threads"])
def engine(request):
    """Settings for the engine."""
    return {"zodb_async.engine": request.param}


@pytest.fixture
def db(tmp_path):
    """Give a database on a FileStorage."""
    database = DB(FileStorage(str(tmp_path / "Test.fs")))
    yield database
    transaction.abort()
    database.close()


@pytest.fixture
def pair():
    """Give two databases that know each other."""
    databases = {}
    one = DB(MappingStorage(), databases=databases, database_name="one")
    two = DB(MappingStorage(), databases=databases, database_name="two")
    yield one, two
    transaction.abort()
    one.close()
    two.close()


@pytest.fixture
def connection(db):
    """Give a connection of the thread's transaction manager."""
    opened = db.open()
    yield opened
    transaction.abort()
    opened.close()


@pytest.fixture
def scheduler():
    """Give a scheduler as a script makes one."""
    made = TransactionalScheduler()
    yield made
    made.engine.stop(grace=5)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve the application of the client's tests."""
    server = ClientServer(tmp_path_factory.mktemp("client"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def gate():
    """Give a gate for `shop.wait_at`, which is open when the test ends."""
    shop.gates["gate"] = gate = shop.Gate()
    yield gate
    gate.open()
    shop.gates.clear()


@pytest.fixture
def stored(db):
    """Give a context of a stored product."""
    with db.transaction() as connection:
        product = connection.root()["product"] = shop.Product("old")
        connection.add(product)
        return PersistentContext(db, product)
