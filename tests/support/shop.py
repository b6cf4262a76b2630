"""A small shop on the ZODB: jobs that tests schedule, and what they left."""

import threading
import time

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
from pyramid_zodb_async.database.application import databases_of

#: What an application of tests includes.
INCLUDES = (
    "pyramid_retry",
    "pyramid_tm",
    "pyramid_zodbconn",
    "pyramid_zodb_async",
)
WITHOUT_RETRY = INCLUDES[1:]


#: How long a test waits for what is sure to come, in seconds. A machine that
#: has much to do may be slow.
PATIENCE = 60


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
    databases = databases_of(app.app.registry)
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
        assert self.opened.wait(PATIENCE), "the test did not open the gate"

    def wait_for_job(self):
        assert self.entered.wait(PATIENCE), "no job came to the gate"


#: By name, for an argument of a job cannot hold one.
gates = {}


def wait_at(gate):
    """Wait until the test opens the gate of that name."""
    gates[gate].pass_through()
    return gate


#: What jobs of `hold` wait for.
over = threading.Event()


def hold():
    """Run until the test is over, or until the job is cancelled."""
    while not over.wait(0.01):
        current_job().check()


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
    for db in databases_of(registry).values():
        db.close()


def count_open(db):
    """Count the open connections of a database."""
    return sum(info["opened"] is not None for info in db.connectionDebugInfo())


class Answer(threading.Thread):
    """A request on a thread of its own."""

    def __init__(self, ask, *args, **options):
        super().__init__(daemon=True)
        self._ask = ask, args, options
        self._given = None
        self.start()

    def run(self):
        ask, args, options = self._ask
        begin = time.monotonic()
        try:
            self._given = ask(*args, **options)
        except BaseException as error:  # noqa: BLE001 - for who asked
            self._given = error
        self.seconds = time.monotonic() - begin

    @property
    def has_come(self):
        return not self.is_alive()

    def get(self):
        """Give the answer when it comes."""
        self.join(PATIENCE)
        if isinstance(self._given, BaseException):
            raise self._given
        assert self._given is not None, "there is no answer"
        return self._given


def wait_until(condition, seconds=PATIENCE):
    """Wait for something that nobody tells of."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


def at_last(attempt, times=5):
    """Give the first result that is true of some attempts.

    For what is to happen within a short time: the machine may be slow, but
    not each time, and what is wrong is so each time.
    """
    for _ in range(times):
        if result := attempt():
            return result
    raise AssertionError(f"none of {times} attempts was in time")


def waiting(watches):
    """List the watches that somebody waits at, after the first look."""
    return [
        watch
        for sid in watches.sids()
        for watch in watches._by_sid.get(sid, ())
        if watch._begin is not None
    ]


def report_at(gate, *messages):
    """Tell of progress, and wait until the test opens the gate."""
    for number, message in enumerate(messages, 1):
        current_job().progress(number, len(messages), message)
    wait_at(gate)
    current_job().check()
    return "went on"


def give_set():
    """Return what JSON does not know."""
    return {1, 2}


#: Whether the runs of `try_luck` succeed, in that order.
luck = []


def try_luck(value):
    """Fail, or return what is given."""
    add("half done")
    if not luck.pop(0):
        raise JobError("bad luck")
    return value


def start(request):
    """Schedule what the parameters say; a view."""
    function = globals()[request.params["function"]]
    arguments = request.params.getall("argument")
    return request.accepted(request.schedule(function, *arguments))


def begin(app, function, *arguments, **options):
    """Start a job by a request for that view, and give its path."""
    params = [("function", function)]
    params += [("argument", argument) for argument in arguments]
    return f"/jobs/{app.post('/start', params, **options).json['sid']}"


def sid_of(path):
    """Give the sid of a job from its path or its URL."""
    return path.rpartition("/")[2]


def scheduler_of(app):
    """Give the scheduler of an application of WebTest."""
    return app.app.registry.getUtility(IScheduler)
