"""An application whose jobs count how often they took effect."""

import ctypes
import os
import random
import signal
import time
from pathlib import Path

from BTrees.OOBTree import OOBTree
from persistent import Persistent
from pyramid.config import Configurator
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection
from ZODB.Connection import Connection

from pyramid_zodb_async import (
    IScheduler,
    JobError,
    JobTimeout,
    current_job,
    job,
)
from pyramid_zodb_async.database.connections import OpenedConnections
from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.process import bulk_intake

INCLUDES = (
    "pyramid_retry",
    "pyramid_tm",
    "pyramid_zodbconn",
    "pyramid_zodb_async",
)

#: Trees of counters, so that requests meet few conflicts.
TREES = 16

#: For how long a job waits for a file at most, in seconds.
PATIENCE = 60


#: How long a run of a job that is to be in time may take, in seconds.
TIME_LIMIT = 0.2

#: What may be said of jobs that fail, or are late, before they take effect;
#: they are killed as well, and each kill may count as an attempt.
AGAIN = {"attempts": 30, "backoff": (0.1, 0.3)}


#: How often a commit raises that was made, by default: see `raise_in_doubt`.
DOUBT = "chaos.doubt"

#: How many jobs of a bulk are claimed at a time, if not as many as elsewhere.
WINDOW = "chaos.window"


class Unlucky(JobError):
    """An attempt fails that another is to follow."""


class Counter(Persistent):
    """Counts how often a job took effect."""

    sid = None
    value = 0
    #: When its job may begin, in seconds since the epoch.
    not_before = 0.0
    #: How many attempts of its job are to fail.
    failures = 0
    #: Whether the last of them is to be too late.
    is_limited = False
    #: Whether its job counts nowhere else.
    is_alone = False

    def count(self):
        self.value += 1


def root(request=None):
    return get_connection(request or get_current_request()).root()


def tree_of(number):
    return root()["counters"][sum(number.encode()) % TREES]


def count(number):
    """Count once for this job, and once for all."""
    counter = tree_of(number)[number]
    assert time.time() > counter.not_before - 0.01, "the job began early"
    counter.count()
    root()["shared"].count()
    # for as long as this a kill comes in the middle of a job
    time.sleep(random.uniform(0, 0.02))


def count_alone(number):
    """Count once for this job, so that nothing is in the way of an undo."""
    tree_of(number)[number].count()


@job(batched=True)
def count_in_batch(number):
    """Count as `count_alone` does, in one commit with others that wait."""
    count_alone(number)
    time.sleep(random.uniform(0, 0.005))


def count_a_while(number):
    """Count, and take so long that a cancel may meet it."""
    count(number)
    time.sleep(random.uniform(0, 0.15))


def count_at_last(number):
    """Count, and fail in the first attempts all the same."""
    count(number)
    if current_job().attempt <= tree_of(number)[number].failures:
        raise Unlucky("not yet")


def count_in_time(number):
    """Count, and take too long in the last of the attempts that fail."""
    failures = tree_of(number)[number].failures
    if current_job().attempt < failures:
        count_at_last(number)
    count(number)
    if current_job().attempt == failures:
        time.sleep(TIME_LIMIT + random.uniform(0, 0.2))
        if random.random() < 0.5:
            raise Unlucky("too late")


def count_slowly(number):
    """Count, and do not end before there is the file `go`."""
    count(number)
    wait_for_go(number)


def count_and_raise_if_first(number):
    """Count; but the first run to come here raises when it may go on."""
    count(number)
    if wait_for_go(number):
        raise ValueError("the first run fails")


def wait_for_go(number):
    """Wait for the file `go`; tell whether this run is the job's first."""
    folder = Path(os.environ["CHAOS_FOLDER"])
    came = folder / f"{number} came"
    first = not came.exists()
    came.write_text(str(os.getpid()))
    end = time.monotonic() + PATIENCE
    while not (folder / "go").exists():
        assert time.monotonic() < end, "the test never let the job go on"
        time.sleep(0.01)
    return first


def end_process(number):
    """End the process, as a job that uses up its memory does."""
    count(number)
    end_this_process()


def keep_gil(number):
    """Count, and let no other thread of the process run for seconds."""
    count(number)
    folder = Path(os.environ["CHAOS_FOLDER"])
    with (folder / f"{number} came").open("a") as came:
        came.write(f"{os.getpid()}\n")
    # unlike CDLL, this does not release the GIL during the call
    ctypes.PyDLL(None).sleep(int(os.environ["CHAOS_SECONDS"]))


def count_for_long(number):
    """Count, and take seconds."""
    count(number)
    time.sleep(float(os.environ["CHAOS_SECONDS"]))


def end_process_late(number):
    """End the process, but not at once."""
    count(number)
    time.sleep(float(os.environ["CHAOS_SECONDS"]) / 2)
    end_this_process()


def end_this_process(*_):
    os.kill(os.getpid(), signal.SIGKILL)


JOBS = {
    function.__name__: function
    for function in (
        count,
        count_alone,
        count_in_batch,
        count_a_while,
        count_at_last,
        count_in_time,
        count_slowly,
        count_and_raise_if_first,
        count_for_long,
        end_process,
        end_process_late,
        keep_gil,
    )
}


def options_of(request):
    """Give the options that the parameters ask for, of every job."""
    options = {}
    if "attempts" in request.params:
        options["attempts"] = int(request.params["attempts"])
    if "delay" in request.params:
        options["delay"] = float(request.params["delay"])
    if "failures" in request.params:
        options.update(AGAIN, retry_on=(Unlucky, JobTimeout))
    if "count_in_time" in request.params:
        options["time_limit"] = TIME_LIMIT
    return options


def prepare(request):
    """Make what requests and jobs use, so that they need not."""
    if "shared" not in root(request):
        root(request)["shared"] = Counter()
        root(request)["counters"] = tuple(OOBTree() for _ in range(TREES))
    return "prepared"


def schedule(request):
    """Schedule jobs, keep in the database which, and give their sids.

    Each parameter is the name of a job's function, and a number for the job;
    `delay` and `failures` are said of all of them, and with `bulk` they are
    scheduled at once, and have the same function.
    """
    if "die_after_commit" in request.params:
        request.tm.get().addAfterCommitHook(end_this_process)
    options = options_of(request)
    start = request.schedule.with_options(**options)
    sids, together = {}, []
    for name, number in request.params.items():
        if name not in JOBS:
            continue
        # pyramid_retry repeats a request whose commit raised here, although
        # the storage may have made it
        if number not in tree_of(number):
            counter = tree_of(number)[number] = Counter()
            if "delay" in options:
                counter.not_before = time.time() + options["delay"]
            counter.failures = int(request.params.get("failures", 0))
            counter.is_limited = "time_limit" in options
            counter.is_alone = name in {"count_alone", "count_in_batch"}
            if "bulk" in request.params:
                together.append((counter, JOBS[name], number))
            else:
                counter.sid = start(JOBS[name], number)
        sids[number] = tree_of(number)[number]
    if together:
        counters, (function, *_), numbers = zip(*together, strict=True)
        calls = ((number,) for number in numbers)
        for counter, sid in zip(
            counters, start.many(function, calls), strict=True
        ):
            counter.sid = sid
    return {number: counter.sid for number, counter in sids.items()}


def undo(request):
    """Undo what a job has done, if it has ended and the storage can."""
    db = get_connection(request).db()
    begin = f"job {request.params['sid']}, "
    for done in db.undoLog(0, -1000):
        description = done["description"]
        if isinstance(description, bytes):
            description = description.decode()
        if begin in description:
            db.undo(done["id"], request.tm.get())
            return "undone"
    request.response.status = 404
    return "not found"


def raise_in_doubt(share):
    """Have some commits raise when the storage has made them.

    As when the connection is lost before the answer has come. A server that
    does not hear that it has made the database does not start.
    """
    finish = Connection.tpc_finish

    def finish_in_doubt(connection, current):
        is_new_database = current.description == "initial database creation"
        finish(connection, current)
        if not is_new_database and random.random() < share:
            raise OSError("the answer of the storage was lost")

    Connection.tpc_finish = finish_in_doubt


def touch(request):
    """Commit something, which takes that no other process holds that up."""
    root(request)["touched"] = time.time()
    return "touched"


def show_ready(request):
    """Tell that the process serves, and has its database."""
    return f"ready, with {len(root(request))} names"


def show_unfinished(request):
    """Tell how many jobs have not ended, and how many this process has.

    And of how many it has yet to send word.
    """
    scheduler = request.registry.getUtility(IScheduler)
    return {
        "all": len(scheduler.unfinished()),
        "held": len(scheduler.process.assigned_jobs),
        "unsent": scheduler.process.dispatcher.unsent(),
    }


def show_report(request):
    """Tell of each committed job how often it took effect, and its state."""
    scheduler = request.registry.getUtility(IScheduler)
    connections = OpenedConnections(request.tm)
    jobs = {}
    for tree in root(request)["counters"]:
        for number, counter in tree.items():
            view = scheduler.get(counter.sid, connections)
            jobs[number] = {
                "effects": counter.value,
                "failures": counter.failures,
                "is_delayed": counter.not_before > 0,
                "is_limited": counter.is_limited,
                "is_alone": counter.is_alone,
                "attempt": view and view.attempt,
                "state": view and view.state.value,
                "error": view and view.failure and view.failure.type,
            }
    request.add_finished_callback(lambda _request: connections.close())
    return {"jobs": jobs, "shared": root(request)["shared"].value}


def make_app(settings):
    if DOUBT in settings:
        raise_in_doubt(float(settings[DOUBT]))
    if WINDOW in settings:
        bulk_intake.WINDOW = bulk_claims.ENOUGH = int(settings[WINDOW])
    config = Configurator(settings=settings)
    with config:
        for include in INCLUDES:
            config.include(include)
        for view, renderer in (
            (prepare, "string"),
            (schedule, "json"),
            (undo, "string"),
            (touch, "string"),
            (show_ready, "string"),
            (show_unfinished, "json"),
            (show_report, "json"),
        ):
            config.add_route(view.__name__, f"/{view.__name__}")
            config.add_view(view, route_name=view.__name__, renderer=renderer)
    return config.make_wsgi_app()
