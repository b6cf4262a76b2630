"""Writes a database with jobs of every kind: ``stored_jobs.py PATH``.

What it does is asked of the package by its public names, so that any build
can write such a file, and any later one has to read it.
"""

import contextlib
import dataclasses
import datetime
import functools
import pkgutil
import sys
from pathlib import Path

import shop
import stored_shop
from folders import TESTS
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from pyramid.config import Configurator
from pyramid.request import Request
from pyramid.scripting import prepare
from stored_shop import Product
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import (
    Backoff,
    Failure,
    IScheduler,
    JobError,
    JobState,
    JobTimeout,
    Options,
    PersistentContext,
    PersistentTransactionalScheduler,
    Progress,
    UnknownJob,
    events,
)
from pyramid_zodb_async.job import Version
from pyramid_zodb_async.testing import (
    crash_next,
    restart,
    run_next,
)

#: What database files this version has to read.
DATA = TESTS / "data"

#: How long outcomes are kept, in seconds: some decades.
FOREVER = 10**9

#: When the jobs are due that wait for their time.
MUCH_LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)

#: The exceptions of the package.
ERRORS = (
    "ArgumentNotTransferable",
    "DatabaseForked",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobNotLoadable",
    "JobTimeout",
    "QueueFull",
    "ResultNotRenderable",
    "ResultNotTransferable",
    "StoreNotUsable",
    "TransactionRequired",
    "UnknownJob",
)

#: Exceptions that nobody imports, but databases may hold.
INNER_ERRORS = (
    "pyramid_zodb_async.scheduler.records:TakenOver",
    "pyramid_zodb_async.references:NotTransferable",
)

#: What keeps jobs, but is no scheduler.
STORE = "pyramid_zodb_async.scheduler.records:Store"

OWNER, BASE_URL = "ann", "https://shop.example"


@contextlib.contextmanager
def opened(path, configure=None):
    """Give an application that has its jobs in a FileStorage."""
    config = Configurator(
        settings={
            "zodbconn.uri": f"file://{path}?connection_pool_size=20",
            "zodb_async.scheduler": "zodb",
            "zodb_async.engine": "manual",
            "zodb_async.result_timeout": str(FOREVER),
        }
    )
    config.set_security_policy(shop.HeaderPolicy())
    for include in shop.INCLUDES:
        config.include(include)
    if configure:
        configure(config)
    app = config.make_wsgi_app()
    try:
        yield app
    finally:
        shop.shut_down(app.registry)


@contextlib.contextmanager
def request_of(app, user=None, base_url="http://localhost"):
    """Give a request with a transaction, which is committed."""
    headers = {"X-User": user} if user else {}
    request = Request.blank("/", base_url=base_url, headers=headers)
    with prepare(request, registry=app.registry), request.tm:
        yield request


def data():
    """Give values of the classes that are plain data for applications."""
    return [
        JobState.FAILED,
        Progress(done=1, total=2.5, message="half"),
        Failure(type="OutOfStock", message="no pears", public=True),
        Version(1, 1, 2, 3),
        Options(attempts=3, retry_on=("builtins:OSError",), title="Title"),
        Backoff(2, 20),
    ]


# -- The jobs -----------------------------------------------------------------


def schedule_suspects(app, jobs):
    """Leave jobs that may have ended their process."""
    with request_of(app) as request:
        once = request.schedule.with_options(attempts=1)
        jobs["given up"] = once(stored_shop.note, "given up")
    restart(app)
    crash_next(app)
    run_next(app)
    restart(app)
    with request_of(app) as request:
        jobs["crashed"] = request.schedule(stored_shop.note, "crashed")
    restart(app)
    crash_next(app)
    run_next(app)
    restart(app)
    with request_of(app) as request:
        jobs["suspect"] = request.schedule(stored_shop.note, "suspect")
    restart(app)


def schedule_waiting(request, jobs):
    """Leave jobs that nothing but a process keeps from running."""
    schedule, root = request.schedule, shop.root(request)
    note, apple, pear = stored_shop.note, root["apple"], root["pear"]
    scheduler, event = root["scheduler"], root["kept"]["events"][0]
    nested = {"products": [apple, (pear,)], "best": apple}
    jobs |= {
        "plain": schedule(note, "plain", 1, None, 2.5, b"\xff", (True, "ü")),
        "apart": schedule(note, "apart", [1, [2]], {"a": {3}}),
        "persistent": schedule(stored_shop.note_names, "persistent", nested),
        "method": schedule(pear.sell_and_note, 3),
        "class method": schedule(Product.announce, "hello"),
        "class": schedule(stored_shop.Receipt, "paid"),
        "partial": schedule(functools.partial(note, "partial", 1), 2),
        "instance": schedule(stored_shop.Greeter("hello"), "world"),
        "named": schedule(
            stored_shop.note_named, "named", number=2, product=pear
        ),
        "weak": schedule(
            stored_shop.note_weak, "weak", WeakRef(apple), [WeakRef(pear)]
        ),
        "context": schedule(
            stored_shop.note_context,
            "context",
            PersistentContext(apple, best=pear),
        ),
        "data": schedule(note, "data", *data()),
        "view": schedule(stored_shop.note_view, "view", event.job),
        "errors": schedule(
            stored_shop.note_errors,
            "errors",
            [UnknownJob("where?"), JobTimeout()],
            [JobError, stored_shop.OutOfStock],
        ),
        "anonymous": schedule(stored_shop.note_whose, "anonymous"),
        "options": schedule.with_options(
            attempts=7,
            retry_on=(JobTimeout, stored_shop.OutOfStock, LookupError),
            backoff=(2, 20),
            priority=9,
            queue="mail",
            title="Ünicode",
            time_limit=3600,
            result_timeout=2 * FOREVER,
        )(note, "options"),
        "completed": schedule(scheduler.completed, root["elsewhere"]["large"]),
        "get": schedule(scheduler.get, root["elsewhere"]["gone"]),
        "remove": schedule(scheduler.remove, root["elsewhere"]["to remove"]),
        "running": schedule(note, "running"),
        "later": schedule.with_options(at=MUCH_LATER)(note, "later"),
    }


def schedule_to_end(request, jobs):
    """Schedule jobs that are to run, and what they give or raise."""
    schedule, root = request.schedule, shop.root(request)
    give, apple = stored_shop.give, root["apple"]
    raise_given = stored_shop.raise_given
    patient = schedule.with_options(
        attempts=5, retry_on=stored_shop.OutOfStock, backoff=(1e10, 1e10)
    )
    jobs |= {
        "small": schedule(give, ("small", 1, None)),
        "nothing": schedule(give, None),
        "large": schedule(give, [1, {"a": {2}}]),
        "product": schedule(give, {"products": [apple]}),
        "receipt": schedule(stored_shop.give_receipt, "paper"),
        "given data": schedule(give, data()),
        "progressed": schedule(stored_shop.tell_and_give, "done"),
        "fetched": schedule(give, [3]),
        "retrying": patient(raise_given, stored_shop.OutOfStock("pears")),
        "OutOfStock": schedule(raise_given, stored_shop.OutOfStock("apples")),
        "Mishap": schedule(raise_given, stored_shop.Mishap(data())),
        "unpicklable": schedule(stored_shop.raise_unpicklable, "unpicklable"),
        "bad result": schedule(stored_shop.give_unpicklable, "bad result"),
        "too late": schedule.with_options(time_limit=0.05)(
            stored_shop.take_too_long, "too late"
        ),
        "tried again": schedule(raise_given, stored_shop.OutOfStock("again")),
    }
    for name in ERRORS:
        jobs[name] = schedule(stored_shop.raise_ours, name)
    for path in INNER_ERRORS:
        kind = pkgutil.resolve_name(path)
        jobs[kind.__name__] = schedule(raise_given, kind("by itself"))


def run_to_the_end(app, jobs):
    """Run those, and leave others that have ended or are to run again."""
    scheduled = {}
    with request_of(app) as request:
        schedule_to_end(request, scheduled)
    for sid in scheduled.values():
        run_next(app, sid)
    jobs |= scheduled
    with request_of(app) as request:
        give = stored_shop.give
        jobs["cancelled"] = request.schedule(give, [1])
        jobs["removed"] = request.schedule(give, [2])
    with request_of(app) as request:
        assert request.jobs.cancel(jobs["cancelled"])
        request.jobs.remove(jobs["removed"])
        assert request.jobs.get_result(jobs["fetched"]) == ([3], None)
        assert request.jobs.retry(jobs["tried again"])


def fill_elsewhere(app):
    """Put a scheduler into the root, and jobs into it."""
    with request_of(app) as request:
        root = shop.root(request)
        scheduler = root["scheduler"] = PersistentTransactionalScheduler()
        scheduler.timeout = FOREVER
        root["elsewhere"] = {}
    sids = {}
    with request_of(app) as request:
        scheduler = shop.root(request)["scheduler"]
        schedule, give = scheduler.schedule, stored_shop.give
        sids["small"] = schedule(give, "small")
        sids["large"] = schedule(give, ["large"])
        sids["fetched"] = schedule(give, ["fetched"])
        sids["failed"] = schedule(stored_shop.raise_without_request, "failed")
    for sid in sids.values():
        assert scheduler_elsewhere(app, lambda it, sid=sid: it.wait(sid, 60))
    scheduler_elsewhere(app, lambda it: it.stop(60))
    with request_of(app) as request:
        root = shop.root(request)
        scheduler = root["scheduler"]
        schedule, give = scheduler.schedule, stored_shop.give
        assert scheduler.get_result(sids["fetched"]) == (["fetched"], None)
        sids["gone"] = schedule(give, "gone")
        sids["cancelled"] = schedule(give, "cancelled")
        sids["to remove"] = schedule(give, "to remove")
        sids["plain"] = schedule(give, "plain")
        sids["apart"] = schedule(give, ["apart"])
        sids["method"] = schedule(root["apple"].sell, 4)
        sids["later"] = schedule(stored_shop.give_later, "later")
        root["elsewhere"] = sids
    with request_of(app) as request:
        scheduler = shop.root(request)["scheduler"]
        scheduler.remove(sids["gone"])
        assert scheduler.cancel(sids["cancelled"])


def scheduler_elsewhere(app, do):
    """Do something with that scheduler, as a thread of its own sees it."""

    def work():
        with request_of(app) as request:
            return do(shop.root(request)["scheduler"])

    return shop.in_thread(work)


# -- The database -------------------------------------------------------------


def write(path):
    """Write a database to *path*, where there is none."""
    if Path(path).exists():
        raise FileExistsError(path)
    jobs, told = {}, []

    def configure(config):
        config.add_subscriber(told.append, events.JobEvent)

    with opened(path, configure) as app:
        app.registry.getUtility(IScheduler).start()
        with request_of(app) as request:
            root = shop.root(request)
            root["apple"], root["pear"] = Product("apple"), Product("pear")
        fill_elsewhere(app)
        schedule_suspects(app, jobs)
        run_to_the_end(app, jobs)
        keep_things(app, jobs, told)
        with request_of(app) as request:
            schedule_waiting(request, jobs)
        with request_of(app, OWNER, BASE_URL) as request:
            jobs["owned"] = request.schedule(stored_shop.note_whose, "owned")
        crash_next(app)
        run_next(app, jobs["suspect"])
        # nobody runs jobs any more
        with request_of(app) as request:
            jobs["free"] = request.schedule(stored_shop.note, "free")
    with opened(path) as app:
        with request_of(app) as request:
            root = shop.root(request)
            root["jobs"] = jobs
            tell_of_run(root, jobs["running"])
        with request_of(app) as request:
            shop.root(request)["told"] = tell_all(app, request)
    pack(path)


def keep_things(app, jobs, told):
    """Put into the root what an application may keep of jobs."""
    with request_of(app) as request:
        kept = shop.root(request)["kept"] = PersistentMapping()
        jobs["seen"] = request.schedule(stored_shop.note, "seen")
    with request_of(app) as request:
        root = shop.root(request)
        kept, apple = root["kept"], root["apple"]
        kept["context"] = PersistentContext(apple, best=root["pear"])
        kept["data"] = data()
        kept["errors"] = [UnknownJob("where?"), JobTimeout()]
        kept["view"] = request.jobs.get(jobs["seen"])
        first = {type(event): event for event in reversed(told)}
        first[events.JobExpired] = events.JobExpired(told[0].job)
        kept["events"] = list(first.values())
        # as that of the root was before it could be asked for jobs
        kept["store"] = store = pkgutil.resolve_name(STORE)()
        store.__setstate__(root["pyramid_zodb_async"].__getstate__())


def tell_of_run(root, sid):
    """Let it look as if a job ran, as other processes are told of it."""
    store = root["pyramid_zodb_async"]
    job = store.locate(sid)
    beat = store.beat_of(job.runner)
    beat.count += 1
    started, run = job.definition.scheduled + 1, job.record.run_number
    beat.reports = {sid: (run, 1, started, (1, 2, "half"), 3, 1)}


def tell_all(app, request):
    """Tell what is known of all jobs, without classes of the package."""
    root = shop.root(request)
    scheduler = app.registry.getUtility(IScheduler)
    return {
        "jobs": {
            name: tell(scheduler.get(sid))
            for name, sid in root["jobs"].items()
        },
        "elsewhere": {
            name: tell(root["scheduler"].get(sid))
            for name, sid in root["elsewhere"].items()
        },
    }


def tell(view):
    """Tell what is known of a job, without classes of the package."""
    if view is None:
        return None
    moments = view.scheduled, view.due, view.started, view.finished
    options = dataclasses.fields(view.options)
    return {
        "state": view.state.value,
        "function": view.function,
        "owner": view.owner,
        "attempt": view.attempt,
        "moments": [moment and moment.isoformat() for moment in moments],
        "expires": view.expires and view.expires.isoformat(),
        "progress": view.progress and dataclasses.astuple(view.progress),
        "failure": view.failure and dataclasses.astuple(view.failure),
    } | {
        option.name: plain(getattr(view.options, option.name))
        for option in options
        if getattr(view.options, option.name) != option.default
    }


def plain(value):
    return list(value) if isinstance(value, tuple) else value


def pack(path):
    """Leave nothing but the last state, in one file."""
    db = DB(FileStorage(str(path)))
    db.pack()
    db.close()
    for ending in (".old", ".index", ".lock", ".tmp"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


if __name__ == "__main__":
    write(sys.argv[1])
