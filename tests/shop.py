"""A small shop on the ZODB: jobs that tests schedule, and what they left."""

import threading

import transaction
from persistent import Persistent
from persistent.list import PersistentList
from pyramid.authorization import ACLHelper
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from ZODB.POSException import ConflictError

from pyramid_zodb_async import (
    IScheduler,
    JobError,
    current_job,
    transactional,
)


class Product(Persistent):
    """Something that the shop sells."""

    def __init__(self, name, price=1):
        self.name = name
        self.price = price

    def rename(self, name):
        self.name = name
        return self.name


def root(request=None):
    """Give the database's root, in a request or in a job."""
    return get_connection(request or get_current_request()).root()


def history(request=None):
    """Give the list of what happened, for jobs to leave their effects in."""
    return root(request).setdefault("history", PersistentList())


def add(*words):
    """Leave an effect."""
    history().extend(words)
    return len(words)


def effects(app):
    """Tell what was committed to the history, seen from outside."""
    manager = transaction.TransactionManager(explicit=True)
    databases = app.app.registry._zodb_databases
    connection = databases[""].open(manager)
    with manager:
        found = list(connection.root().get("history", ()))
    connection.close()
    return found


def nothing():
    """Do nothing."""


def give(value):
    """Return what is given."""
    return value


def fail(text="broken"):
    """Fail in a way that people should not see."""
    add("half done")
    raise ValueError(text)


def explain(text="no such file"):
    """Fail in a way that people should see."""
    add("half done")
    raise JobError(text)


class Gate:
    """Lets a job wait for a test, and the test for the job."""

    def __init__(self):
        self.entered = threading.Event()
        self.opened = threading.Event()

    def open(self):
        self.opened.set()

    def pass_through(self):
        self.entered.set()
        assert self.opened.wait(10), "the test did not open the gate"

    def wait_for_job(self):
        assert self.entered.wait(10), "no job came to the gate"


#: By name, for an argument of a job cannot hold one.
gates = {}


def wait_at(gate):
    """Wait until the test opens the gate of that name."""
    gates[gate].pass_through()
    return gate


def add_and_wait_at(gate):
    """Leave an effect before the test opens the gate of that name."""
    add("half done")
    return wait_at(gate)


#: The attempt numbers of the runs of `conflict`.
attempts = []


def conflict(times):
    """Conflict that many times before it works."""
    add("conflicting")
    attempts.append(current_job().attempt)
    if len(attempts) <= times:
        raise ConflictError
    return len(attempts)


@transactional
def add_transactionally(word):
    """Leave an effect, in the transaction of whoever calls."""
    return add(word)


@transactional
def add_and_fail(word):
    """Call a transactional function, and fail after it."""
    add_transactionally(word)
    raise ValueError(word)


def history_as_list():
    """Tell what happened."""
    return list(history())


def give_and_raise(text):
    """Raise an exception with a text."""
    raise ZeroDivisionError(text)


def effects_here():
    """Tell what was committed, seen from inside a job."""
    manager = transaction.TransactionManager(explicit=True)
    connection = root()._p_jar.db().open(manager)
    with manager:
        found = list(connection.root().get("history", ()))
    connection.close()
    return found


class HeaderPolicy:
    """Believes the header X-User, for tests."""

    def identity(self, request):
        return request.headers.get("X-User")

    def authenticated_userid(self, request):
        return self.identity(request)

    def permits(self, request, context, permission):
        principals = [f"user:{self.identity(request)}"]
        return ACLHelper().permits(context, principals, permission)

    def remember(self, request, userid, **kw):
        return []

    def forget(self, request, **kw):
        return []


def in_thread(function):
    """Call a function in another thread, in a transaction of its own."""
    results = []

    def work():
        with transaction.manager:
            results.append(function())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0]


def shut_down(registry):
    """End what an application has begun, and close its databases."""
    if scheduler := registry.queryUtility(IScheduler):
        scheduler.stop(grace=5)
    for db in getattr(registry, "_zodb_databases", {}).values():
        db.close()


def count_open(db):
    """Count the open connections of a database."""
    return sum(info["opened"] is not None for info in db.connectionDebugInfo())
