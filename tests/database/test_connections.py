"""Whose database connections are whose."""

import contextvars
import threading

import pytest
import shop
import transaction
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from transaction.interfaces import NoTransaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.database.connections import (
    OpenedConnections,
    ThreadConnections,
    current_connections,
    use_connections,
)
from pyramid_zodb_async.exceptions import NotTransferable
from pyramid_zodb_async.testing import drain, wait_for
from pyramid_zodb_async.transfer.envelopes import dump


@pytest.fixture
def manager():
    return transaction.TransactionManager(explicit=True)


def test_a_database_is_opened_once(db, manager):
    connections = OpenedConnections(manager)
    connection = connections.to(db)

    assert connections.to(db) is connection
    assert connection.transaction_manager is manager
    assert shop.count_open(db) == 1
    connections.close()
    assert shop.count_open(db) == 0


def test_databases_that_know_each_other_are_reached_through_one(pair, manager):
    connections = OpenedConnections(manager)
    one, two = map(connections.to, pair)

    assert one.db() is pair[0]
    assert two.db() is pair[1]
    assert one.get_connection("two") is two
    connections.close()
    assert [shop.count_open(db) for db in pair] == [0, 0]


def test_an_adopted_connection_is_used_and_stays_open(db, manager):
    connection = db.open(manager)
    connections = OpenedConnections(manager)
    connections.adopt(connection)
    connections.adopt(connection)

    assert connections.to(db) is connection
    assert connections.known(db) is connection
    assert connections.sole() is connection
    connections.close()
    assert shop.count_open(db) == 1
    connection.close()


def test_an_adopted_connection_can_be_given_away(db, manager):
    connections = OpenedConnections(manager)
    connections.adopt(db.open(manager), close=True)
    connections.close()

    assert shop.count_open(db) == 0


def test_a_second_root_connection_is_refused(db, manager):
    connections = OpenedConnections(manager)
    first = connections.to(db)
    second = db.open(manager)
    with pytest.raises(ValueError, match="is the root connection of this"):
        connections.adopt(second)
    second.close()
    connections.close()

    assert first.opened is None


def test_there_may_be_none_or_several_root_connections(db, pair, manager):
    connections = OpenedConnections(manager)
    assert connections.sole() is None
    assert connections.known(db) is None
    connections.to(db)
    connections.to(pair[0])

    assert connections.sole() is None
    connections.close()


def test_a_connection_is_owned_by_its_transaction_manager(db, manager):
    own = db.open(manager)
    foreign = db.open()
    connections = OpenedConnections(manager)

    assert connections.own(own)
    assert not connections.own(foreign)
    assert ThreadConnections().own(foreign)
    assert not ThreadConnections().own(own)
    own.close()
    foreign.close()


def test_a_thread_owns_what_it_opened_by_whatever_name(db):
    """The ZODB unwraps the thread's manager, pyramid_zodbconn does not."""
    for argument in (None, transaction.manager, transaction.manager.manager):
        connection = db.open(argument)
        assert ThreadConnections().own(connection)
        connection.close()


def commit():
    transaction.commit()


def abort():
    transaction.abort()


def fail_to_commit():
    transaction.get().addBeforeCommitHook(raise_an_error)
    with pytest.raises(ZeroDivisionError):
        transaction.commit()
    transaction.abort()


def fail_to_store():
    (root,) = ThreadConnections().opened()._roots.values()
    root.connection.root()["bad"] = raise_an_error.__code__
    with pytest.raises(TypeError):
        transaction.commit()


def raise_an_error():
    raise ZeroDivisionError


@pytest.mark.parametrize("end", [commit, abort, fail_to_commit, fail_to_store])
def test_connections_of_a_transaction_are_closed_with_it(db, end):
    connection = ThreadConnections().to(db)
    assert ThreadConnections().to(db) is connection
    connection.root()["changed"] = True
    end()

    assert shop.count_open(db) == 0
    transaction.abort()
    reopened = ThreadConnections().to(db)
    assert ("changed" in reopened.root()) == (end is commit)


def test_a_conflict_closes_them_as_well(db, connection):
    connection.root()["product"] = shop.Product("name")
    transaction.commit()
    ThreadConnections().to(db).root()["product"].price = 2
    manager = transaction.TransactionManager()
    other = db.open(manager)
    other.root()["product"].price = 3
    manager.commit()
    other.close()
    with pytest.raises(ConflictError):
        transaction.commit()

    assert shop.count_open(db) == 1  # that of the fixture


def test_an_explicit_manager_has_connections_of_its_own(db, manager):
    connections = ThreadConnections(manager)
    with pytest.raises(NoTransaction):
        connections.to(db)
    manager.begin()
    connection = connections.to(db)
    assert connections.to(db) is connection
    assert ThreadConnections().to(db) is not connection
    transaction.abort()
    assert shop.count_open(db) == 1
    manager.commit()

    assert shop.count_open(db) == 0


def test_each_thread_has_connections_of_its_own(db):
    connection = ThreadConnections().to(db)
    found = []

    def work():
        with transaction.manager:
            found.append(ThreadConnections().to(db))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found[0] is not connection
    assert found[0].opened is None
    assert connection.opened


def test_a_savepoint_and_its_rollback_close_nothing(db):
    connection = ThreadConnections().to(db)
    savepoint = transaction.savepoint()
    connection.root()["changed"] = True
    savepoint.rollback()

    assert ThreadConnections().to(db) is connection
    assert "changed" not in connection.root()


def test_the_current_connections_are_those_of_the_job(db, manager):
    assert isinstance(current_connections(), ThreadConnections)
    connections = OpenedConnections(manager)
    with use_connections(connections):
        assert current_connections() is connections

    assert current_connections() is not connections


def who_has_the_connection(product):
    """Tell whether the current connections are what loaded the argument."""
    return current_connections().to(product._p_jar.db()) is product._p_jar


def test_a_job_has_the_connections_that_its_arguments_came_from(
    scheduler, connection
):
    product = connection.root()["product"] = shop.Product("name")
    sid = scheduler.schedule(who_has_the_connection, product)
    transaction.commit()
    assert scheduler.wait(sid, 60)

    assert scheduler.get(sid).result is True


def count_all_open(*products):
    """Tell how many connections a job has to the databases of its objects."""
    return [shop.count_open(product._p_jar.db()) for product in products]


def fail_with(*products):
    raise ValueError(products)


@pytest.mark.parametrize("function", [count_all_open, fail_with])
def test_the_connections_of_a_job_are_closed_with_it(
    scheduler, pair, function
):
    connection = pair[0].open()
    other = connection.get_connection("two")
    sid = scheduler.schedule(function, connection.root(), other.root())
    transaction.commit()
    connection.close()
    assert scheduler.wait(sid, 60)
    assert scheduler.engine.idle(10)

    assert [shop.count_open(db) for db in pair] == [0, 0]
    assert scheduler.get(sid).result in ([1, 1], None)


def whose_connections():
    """Tell whether the job's connections are those of its request."""
    request = get_current_request()
    connections = current_connections()
    return [
        connections.to(db) is get_connection(request, name or None)
        for name, db in databases_of(request.registry).items()
    ]


@pytest.mark.parametrize(
    "settings", [{}, {"tm.manager_hook": "pyramid_tm.explicit_manager"}]
)
def test_a_job_of_a_request_has_the_connections_of_its_own_request(
    make_app, settings, engine, tmp_path
):
    def view(request):
        return request.accepted(request.schedule(whose_connections))

    named = {"zodbconn.uri.log": f"file://{tmp_path}/Log.fs"}
    app = make_app({"/view": view}, **settings, **engine, **named)
    sid = app.get("/view").json["sid"]
    drain(app)

    assert wait_for(app, sid).result == [True, True]
    databases = databases_of(app.app.registry).values()
    assert [shop.count_open(db) for db in databases] == [0, 0]


def write_elsewhere(db):
    """Begin to write in another thread; give the manager."""
    manager = transaction.TransactionManager()

    def write():
        connection = db.open(manager)
        connection.root()["product"].price = "theirs"
        return connection

    return manager, shop.in_thread(write)


def price(db):
    with db.transaction() as connection:
        return connection.root()["product"].price


def test_after_a_commit_a_connection_is_not_aborted_under_its_new_user(
    stored, db
):
    others = []
    stored[0].name = "ours"
    transaction.get().addAfterCommitHook(
        lambda _ok: others.append(write_elsewhere(db))
    )
    transaction.commit()
    ((manager, connection),) = others
    manager.commit()
    connection.close()

    assert price(db) == "theirs"


def test_nor_after_a_failed_commit_is_it_aborted(stored, db):
    stored[0].name = threading.Lock()  # cannot be stored
    with pytest.raises(TypeError):
        transaction.commit()
    manager, connection = write_elsewhere(db)
    transaction.abort()
    manager.commit()
    connection.close()

    assert price(db) == "theirs"


def test_nor_after_an_abort_is_it_aborted(stored, db):
    others = []
    stored[0].name = "ours"
    transaction.get().addAfterAbortHook(
        lambda: others.append(write_elsewhere(db))
    )
    transaction.abort()
    ((manager, connection),) = others
    manager.commit()
    connection.close()

    assert price(db) == "theirs"


def test_a_connection_of_a_later_hook_is_closed_too(stored, db):
    stored[0]  # so our hook comes first
    transaction.get().addAfterCommitHook(lambda _ok: stored[0])
    transaction.commit()
    transaction.abort()
    transaction.begin()

    assert shop.count_open(db) == 0


def test_an_adopted_connection_is_not_used_when_it_is_somebody_elses(
    stored, db
):
    connection = db.open()
    stored.set_root_connection(connection)
    connection.close()
    others = transaction.TransactionManager()
    assert db.open(others) is connection  # from the pool
    found = stored[0]._p_jar.transaction_manager
    connection.close()

    assert found is not others


def test_an_adopted_connection_is_not_closed_when_it_is_somebody_elses(
    stored, db
):
    connection = db.open()
    stored.set_root_connection(connection, close=True)
    connection.close()
    assert db.open(transaction.TransactionManager()) is connection
    transaction.abort()

    assert connection.opened


def test_a_jobs_connections_do_not_follow_a_copied_context(db):
    """As asyncio.to_thread, and threads of Python 3.14t, copy it."""
    connections = OpenedConnections(transaction.manager)
    with use_connections(connections):
        copied = contextvars.copy_context()
    found = shop.in_thread(lambda: copied.run(current_connections))

    assert found is not connections


def test_a_connection_that_another_thread_opened_as_zodbconn_does(db):
    opened, done = threading.Event(), threading.Event()
    roots = []

    def work():
        connection = db.open(transaction.manager)
        roots.append(connection.root())
        opened.set()
        done.wait(60)
        transaction.abort()
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    opened.wait(60)
    try:
        with pytest.raises(NotTransferable, match="another thread"):
            dump(roots[0], ThreadConnections())
    finally:
        done.set()
        thread.join()
