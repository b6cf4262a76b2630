"""What other packages keep to themselves is still what it was.

These tests use only the packages that the attributes belong to. If one fails,
the package has changed, and what uses the attribute must be looked at.
"""

import threading

import pytest
import transaction
import ZODB
from persistent import Persistent
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid_zodbconn import get_connection
from ZODB.POSException import ConflictError


@pytest.fixture
def db():
    opened = ZODB.DB(None)
    yield opened
    opened.close()


class Thing(Persistent):
    """An object."""


def in_a_thread(function):
    """Give what *function* returns in a new thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(60)
    return results[0]


def test_pyramid_zodbconn_has_its_databases_at_the_registry():
    settings = {"zodbconn.uri": "memory://", "zodbconn.uri.other": "memory://"}
    config = Configurator(settings=settings)
    assert not hasattr(config.registry, "_zodb_databases")
    config.include("pyramid_zodbconn")
    request = Request.blank("/")
    request.registry = config.registry
    connection = get_connection(request)
    databases = config.registry._zodb_databases
    assert databases == connection.db().databases
    assert databases[""] is connection.db()
    assert databases["other"] is get_connection(request, "other").db()
    connection.close()
    for db in databases.values():
        db.close()


def test_a_manager_has_the_open_connections_in_its_synchs(db):
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    assert connection in manager._synchs
    assert connection not in transaction.TransactionManager()._synchs
    connection.close()

    assert connection not in manager._synchs


def test_each_thread_has_synchs_of_its_own(db):
    connection = db.open(transaction.manager)

    def is_here():
        return connection in transaction.manager.manager._synchs

    assert is_here()
    assert not in_a_thread(is_here)
    connection.close()


class Resource:
    """Takes part in a transaction."""

    aborts = 0

    def abort(self, transaction):
        self.aborts += 1

    def tpc_begin(self, transaction):
        """Have nothing to do."""

    commit = tpc_vote = tpc_finish = tpc_abort = tpc_begin

    def sortKey(self):
        return "resource"


def test_a_transaction_aborts_all_again_but_those_that_have_left():
    left, stays = Resource(), Resource()
    with transaction.TransactionManager() as current:
        current.join(left)
        current.join(stays)
        current.addAfterCommitHook(lambda _committed: current._unjoin(left))
        current._unjoin(Resource())  # which takes no part

    assert left.aborts == 0
    # if not, none need leave before its connection is closed
    assert stays.aborts == 1


def test_a_connection_knows_what_was_added_only_by_a_reference(db):
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    root = connection.root()
    root["referred to"], root["added"] = Thing(), Thing()
    connection.add(root["added"])
    manager.savepoint()

    def implicit():
        return {
            name
            for name, thing in root.items()
            if connection._implicitlyAdding(thing._p_oid)
        }

    assert implicit() == {"referred to"}
    manager.commit()
    assert implicit() == set()
    connection.close()


def test_a_connection_has_a_storage_that_tells_the_history_of_objects(
    tmp_path,
):
    db = ZODB.DB(str(tmp_path / "Data.fs"))
    with db.transaction() as connection:
        connection.root()["thing"] = Thing()
    for number in range(2):
        with db.transaction() as connection:
            connection.root()["thing"].number = number
    connection = db.open()
    thing = connection.root()["thing"]
    thing._p_activate()
    history = connection._storage.history(thing._p_oid, size=2)
    states = [
        connection.oldstate(thing, revision["tid"]) for revision in history
    ]
    connection.close()
    db.close()

    assert history[0]["tid"] == thing._p_serial
    assert states == [{"number": 1}, {"number": 0}]


class Raising(Resource):
    """Raises at one step of the commit."""

    def __init__(self, step):
        setattr(self, step, self.refuse)

    def refuse(self, transaction):
        raise OSError("refused")


@pytest.mark.parametrize(
    ("step", "voted"),
    [
        ("tpc_begin", False),
        ("commit", False),
        ("tpc_vote", False),
        ("tpc_finish", True),
    ],
)
def test_a_transaction_knows_who_has_voted_when_its_commit_has_raised(
    step, voted
):
    manager = transaction.TransactionManager()
    current = manager.begin()
    resource = Raising(step)
    current.join(resource)
    with pytest.raises(OSError, match="refused"):
        manager.commit()

    assert manager.get() is current
    assert current._resources == [resource]
    assert (id(resource) in current._voted) is voted
    manager.abort()


def test_it_knows_them_as_well_if_a_synchronizer_raises_after_the_commit():
    errors = [OSError("too late")]

    class Synchronizer:
        def newTransaction(self, transaction):
            """Have nothing to do."""

        def beforeCompletion(self, transaction):
            """Have nothing to do."""

        def afterCompletion(self, transaction):
            if errors:
                raise errors.pop()

    manager, synchronizer = transaction.TransactionManager(), Synchronizer()
    manager.registerSynch(synchronizer)
    current = manager.begin()
    resource = Resource()
    current.join(resource)
    with pytest.raises(OSError, match="too late"):
        manager.commit()

    assert manager.get() is current
    assert current._resources == [resource]
    assert id(resource) in current._voted
    manager.abort()


@pytest.mark.parametrize("is_loaded", [True, False])
@pytest.mark.parametrize("has_changed", [True, False])
def test_a_connection_compares_the_serials_that_it_is_told(
    db, is_loaded, has_changed
):
    manager = transaction.TransactionManager(explicit=True)
    manager.begin()
    connection = db.open(manager)
    root = connection.root()
    root["read"], root["written"] = Thing(), Thing()
    manager.commit()
    manager.begin()
    root["read"]._p_activate()
    serial = root["read"]._p_serial
    if has_changed:
        root["read"].changed = True
    manager.commit()
    manager.begin()
    if not is_loaded:
        root["read"]._p_deactivate()
    connection._readCurrent[root["read"]._p_oid] = serial
    root["written"].changed = True
    if has_changed:
        with pytest.raises(ConflictError):
            manager.commit()
        manager.abort()
    else:
        manager.commit()
    connection.close()
