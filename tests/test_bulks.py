"""Many jobs at once in the database: a window of them after the other."""

import os
import threading

import pytest
import shop
import transaction
import undoing
from BTrees.IOBTree import IOBTree
from persistent import Persistent
from pyramid.response import Response
from pyramid.scripting import prepare
from pyramid.threadlocal import get_current_request
from shop import HeaderPolicy, scheduler_of
from test_contract import forget
from ZODB.POSException import UndoError

from pyramid_zodb_async import IScheduler, JobCancelled, JobState, JobUndone
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.events import JobScheduled, JobSucceeded
from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.process import bulk_intake
from pyramid_zodb_async.testing import drain, wait_for

#: How many jobs are scheduled where there are many; more if somebody says so,
#: and then as many are claimed at a time as an application claims.
MANY = int(os.environ.get("BULK", "160"))


def on(*storages):
    """Have a test use the scheduler in the database on some storages."""
    return pytest.mark.parametrize(
        ("kept_in", "storage"), [("zodb", storage) for storage in storages]
    )


everywhere = on("file", "zeo", "postgres")
shared = on("zeo", "postgres")


@pytest.fixture
def small_windows(monkeypatch):
    """Have jobs claimed by fives."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 5)


@pytest.fixture
def windows(monkeypatch):
    """Have jobs claimed by fifties, unless there are very many."""
    if MANY < 1000:
        monkeypatch.setattr(bulk_intake, "WINDOW", 50)
        monkeypatch.setattr(bulk_claims, "ENOUGH", 50)


class Book(Persistent):
    """What a job sells."""

    sold = 0
    seller = None


def sell(number):
    """Sell a book, and note which process does."""
    request = get_current_request()
    book = shop.root(request)["books"][number]
    book.sold += 1
    book.seller = scheduler_in(request).process.incarnation
    return number


def sell_at(gate, number):
    """Sell a book when the test opens the gate, if it is the first one."""
    if number == 0:
        shop.wait_at(gate)
    return sell(number)


@pytest.fixture
def both():
    """Give an event that is set when two processes have sold something."""
    SELLERS.clear()
    BOTH.clear()
    return BOTH


SELLERS, BOTH = set(), threading.Event()


def sell_together(number):
    """Sell a book; after the first ones, when another process does so too."""
    SELLERS.add(scheduler_in(get_current_request()).process.incarnation)
    if len(SELLERS) > 1:
        BOTH.set()
    assert number < 40 or BOTH.wait(shop.PATIENCE)
    return sell(number)


@pytest.fixture
def unlucky():
    """The numbers for which `sell_if_lucky` fails."""
    UNLUCKY.clear()
    yield UNLUCKY
    UNLUCKY.clear()


UNLUCKY = set()


def sell_if_lucky(number):
    sell(number)
    if number in UNLUCKY:
        raise ValueError(number)
    return number


def scheduler_in(request):
    return request.registry.getUtility(IScheduler)


def prepare_books(request):
    """Make the books."""
    shop.root(request)["books"] = IOBTree(
        {number: Book() for number in range(int(request.params["count"]))}
    )
    return Response("done")


def start(request):
    """Schedule a bulk, and name the transaction."""
    request.tm.get().note("start")
    params = request.params
    numbers = range(
        int(params.get("first", 0)),
        int(params.get("first", 0)) + int(params["count"]),
    )
    function = globals()[params.get("function", "sell")]
    schedule = request.schedule.with_options(
        **{name: float(params[name]) for name in ("delay",) if name in params}
    )
    before = (params["gate"],) if "gate" in params else ()
    sids = schedule.many(
        function,
        ((*before, number) for number in numbers),
        spread=float(params.get("spread", 0)),
    )
    return Response(json=list(sids))


VIEWS = {"/start": start, "/books": prepare_books}


@pytest.fixture
def new_process(make_app):
    """Make processes of an application."""

    def make(**settings):
        app = make_app(VIEWS, **{"zodb_async__lease": 1, **settings})
        app.get("/jobs/unknown", status=404)  # it serves
        return app

    return make


def begin(app, count, **params):
    """Schedule a bulk, of books that are there then; give the sids."""
    first = params.get("first", 0)
    if not first:
        app.post("/books", {"count": 2 * count})
    return app.post("/start", {"count": count, **params}).json


def sales(app):
    """Tell how often each book was sold that was, seen from outside."""
    return {number: sold for number, (sold, _) in books(app).items() if sold}


def sellers(app):
    return {seller for _, seller in books(app).values() if seller}


def books(app):
    manager = transaction.TransactionManager(explicit=True)
    connection = databases_of(app.app.registry)[""].open(manager)
    with manager:
        found = {
            number: (book.sold, book.seller)
            for number, book in connection.root()["books"].items()
        }
    connection.close()
    return found


def in_request(app, act):
    """Do something in a request of its own, and commit."""
    with prepare(registry=app.app.registry) as environment:
        request = environment["request"]
        with request.tm:
            return act(request)


def incarnation_of(app):
    return scheduler_of(app).process.incarnation


# -- Who runs them ------------------------------------------------------------


@shared
def test_all_processes_take_part_and_each_job_runs_once(
    new_process, windows, both
):
    apps = [new_process() for _ in range(2)]
    sids = begin(apps[0], MANY, function="sell_together")
    for app in apps:
        drain(app, timeout=120)

    assert len(set(sids)) == MANY
    assert sales(apps[0]) == dict.fromkeys(range(MANY), 1)
    assert sellers(apps[0]) == set(map(incarnation_of, apps))
    for app in apps:
        assert scheduler_of(app).unfinished() == []
        for index in (0, MANY // 2, MANY - 1):
            view = wait_for(app, sids[index])
            assert view.state is JobState.SUCCEEDED
            assert view.load_result() == index


@everywhere
def test_a_bulk_of_a_script_is_run_by_others(
    new_process, make_app, storage, windows
):
    script = make_app(VIEWS)
    if storage != "file":
        process = new_process()
    # no request comes to it, so it runs nothing
    scheduler = scheduler_of(script)

    def schedule(request):
        shop.root(request)["books"] = IOBTree(
            {number: Book() for number in range(MANY)}
        )
        calls = [(number,) for number in range(MANY)]
        return list(request.schedule.many(sell, calls))

    sids = in_request(script, schedule)
    assert len(scheduler.unfinished()) == MANY
    if storage == "file":
        databases_of(script.app.registry)[""].close()
        process = new_process()
    drain(process, timeout=120)

    assert sales(process) == dict.fromkeys(range(MANY), 1)
    assert wait_for(process, sids[-1]).load_result() == MANY - 1


@everywhere
def test_a_process_that_is_killed_in_the_middle_of_a_bulk_leaves_it_to_others(
    new_process, small_windows, gate
):
    app = new_process(zodb_async__workers=1, zodb_async__lease=0.5)
    sids = begin(app, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    forget(app)
    successor = new_process(zodb_async__lease=0.5)
    gate.open()
    drain(successor, timeout=60)

    assert sales(successor) == dict.fromkeys(range(22), 1)
    assert sellers(successor) == {incarnation_of(successor)}
    assert {wait_for(successor, sid).state for sid in sids} == {"succeeded"}


@everywhere
def test_a_process_that_stops_goes_on_with_a_bulk_when_it_starts(
    new_process, small_windows, gate
):
    app = new_process(zodb_async__workers=1, zodb_async__lease=60)
    begin(app, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    scheduler = scheduler_of(app)
    stopping = threading.Thread(target=scheduler.stop)
    stopping.start()
    gate.open()
    stopping.join(shop.PATIENCE)
    assert 0 < len(sales(app)) < 22
    scheduler.start()
    drain(app, timeout=60)

    assert sales(app) == dict.fromkeys(range(22), 1)


# -- What is told of them -----------------------------------------------------


@on("file", "postgres")
def test_a_job_of_a_bulk_is_as_any_other_to_who_looks(make_app, small_windows):
    app = make_app(
        VIEWS,
        configure=lambda config: config.set_security_policy(HeaderPolicy()),
        zodb_async__engine="manual",
    )
    app.get("/jobs/unknown", status=404)
    app.post("/books", {"count": 20})
    ann = {"X-User": "ann"}
    sids = app.post("/start", {"count": 12, "delay": 0}, headers=ann).json
    scheduler = scheduler_of(app)
    assert set(scheduler.unfinished()) == set(sids)
    for sid in (sids[0], sids[7], sids[-1]):  # claimed or not
        seen = app.get(f"/jobs/{sid}", headers=ann).json
        assert seen["state"] == "pending"
        app.get(f"/jobs/{sid}", headers={"X-User": "bob"}, status=404)
        view = in_request(
            app, lambda request, sid=sid: scheduler_in(request).get(sid)
        )
        assert (view.owner, view.function) == ("ann", "test_bulks:sell")
    assert not scheduler.wait(timeout=0)
    drain(app)
    assert scheduler.wait(timeout=0)
    assert scheduler.wait(sids[11], timeout=0)
    assert app.get(f"/jobs/{sids[11]}", headers=ann).json["result"] == 11


@everywhere
def test_each_job_of_a_bulk_is_told_of(make_app, small_windows):
    heard = {JobScheduled: [], JobSucceeded: []}

    def configure(config):
        for kind, sids in heard.items():
            config.add_subscriber(
                lambda event, sids=sids: sids.append(event.job.sid), kind
            )

    app = make_app(VIEWS, configure=configure)
    app.get("/jobs/unknown", status=404)
    sids = begin(app, 12)
    drain(app)

    assert heard[JobScheduled] == sids
    assert sorted(heard[JobSucceeded]) == sorted(sids)


# -- When they begin ----------------------------------------------------------


@everywhere
def test_the_jobs_of_a_bulk_are_due_one_after_the_other(new_process, storage):
    app = new_process(zodb_async__lease=10)
    sids = begin(app, 100, spread=2000, delay=1000)
    first = wait_for_view(app, sids[0]).due_at
    dues = [wait_for_view(app, sid).due_at - first for sid in sids]

    assert dues == [pytest.approx(20 * number) for number in range(100)]
    # what is due late is claimed when its time comes, unless nobody else could
    # run it
    runners = scheduler_of(app).process.location.read(
        lambda store: {store.locate(sid).runner for sid in sids[50:]}, set()
    )
    assert runners == {incarnation_of(app) if storage == "file" else None}


def wait_for_view(app, sid):
    return in_request(app, lambda request: request.jobs.get(sid))


@everywhere
def test_a_bulk_that_is_due_later_than_a_lease_runs_at_its_time(new_process):
    app = new_process(zodb_async__lease=0.3)
    begin(app, 40, spread=2, delay=0.5)
    drain(app, timeout=60)

    assert sales(app) == dict.fromkeys(range(40), 1)


# -- What is done to one of them ----------------------------------------------

RUNNING, WAITING, UNCLAIMED = 0, 3, 20


@everywhere
@pytest.mark.parametrize("index", [RUNNING, WAITING, UNCLAIMED])
@pytest.mark.parametrize("act", ["cancel", "remove"])
def test_a_job_of_a_bulk_is_ended_while_it_runs_waits_or_is_unclaimed(
    new_process, small_windows, gate, index, act
):
    app = new_process(zodb_async__workers=1)
    sids = begin(app, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    in_request(app, lambda request: getattr(request.jobs, act)(sids[index]))
    view = wait_for_view(app, sids[index])
    outcome = in_request(
        app, lambda request: request.jobs.get_result(sids[index])
    )
    gate.open()
    drain(app, timeout=60)

    if act == "cancel":
        assert view.state is JobState.CANCELLED
        assert outcome[0] is None
        assert isinstance(outcome[1], JobCancelled)
    else:
        assert (view, outcome) == (None, None)
    assert set(range(22)) - sales(app).keys() == {index}
    assert set(sales(app).values()) == {1}
    assert scheduler_of(app).unfinished() == []


@everywhere
def test_a_job_of_a_bulk_is_retried_alone(
    new_process, small_windows, unlucky, storage
):
    app = new_process()
    unlucky.update({2, 17})
    sids = begin(app, 22, function="sell_if_lucky")
    drain(app, timeout=60)
    assert set(range(22)) - sales(app).keys() == {2, 17}
    assert wait_for(app, sids[17]).state is JobState.FAILED
    unlucky.clear()
    assert in_request(app, lambda request: request.jobs.retry(sids[17]))
    drain(app, timeout=60)

    assert set(range(22)) - sales(app).keys() == {2}
    assert wait_for(app, sids[17]).load_result() == 17
    result = in_request(app, lambda request: request.jobs.get_result(sids[17]))
    assert result == (17, None)
    assert wait_for_view(app, sids[17]) is None
    assert wait_for_view(app, sids[16]).load_result() == 16
    if storage != "file":  # a revival finds another process, too
        assert in_request(app, lambda request: request.jobs.retry(sids[2]))
        other = new_process()
        drain(other, timeout=60)
        assert sales(app) == dict.fromkeys(range(22), 1)


# -- Undo ---------------------------------------------------------------------


@everywhere
def test_one_job_of_a_bulk_is_undone_alone(new_process, small_windows):
    app = new_process(zodb_async__lease=0.5)
    sids = begin(app, 12)
    drain(app, timeout=60)
    undoing.undo(databases_of(app.app.registry)[""], f"job {sids[6]}, ")
    assert set(range(12)) - sales(app).keys() == {6}
    forget(app)
    successor = new_process(zodb_async__lease=0.5)
    drain(successor, timeout=60)

    assert set(range(12)) - sales(successor).keys() == {6}
    assert set(sales(successor).values()) == {1}


@everywhere
def test_a_bulk_whose_scheduling_is_undone_never_was(
    new_process, small_windows
):
    app = new_process()
    sids = begin(app, 12, delay=3600)
    undoing.undo(databases_of(app.app.registry)[""], "start")
    begin(app, 3, first=3)
    drain(app, timeout=60)

    assert sales(app).keys() == {3, 4, 5}
    assert [wait_for_view(app, sid) for sid in sids] == [None] * 12


@everywhere
def test_a_bulk_of_which_a_job_has_run_cannot_be_undone(
    new_process, small_windows, gate
):
    app = new_process(zodb_async__workers=1)
    begin(app, 12)
    drain(app)
    with pytest.raises(UndoError):
        undoing.undo(databases_of(app.app.registry)[""], "start")

    assert sales(app) == dict.fromkeys(range(12), 1)


# -- What happens beside them -------------------------------------------------


@everywhere
def test_a_pack_in_the_middle_of_a_bulk_loses_nothing(
    new_process, small_windows, gate
):
    app = new_process(zodb_async__workers=1)
    begin(app, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    databases_of(app.app.registry)[""].pack()
    gate.open()
    drain(app, timeout=60)

    assert sales(app) == dict.fromkeys(range(22), 1)


#: The names of the bulks whose jobs have run.
ORDER = []


def note(name, number):
    """Note the bulk that runs; the first job waits for the test."""
    if (name, number) == ("first", 0):
        shop.wait_at("gate")
    ORDER.append(name)


@on("file", "postgres")
def test_bulks_take_turns(new_process, small_windows, gate):
    ORDER.clear()
    app = new_process(zodb_async__workers=1)

    def schedule(kind, count):
        def act(request):
            request.schedule.many(
                note, [(kind, number) for number in range(count)]
            )

        in_request(app, act)

    schedule("first", 40)
    gate.wait_for_job()
    schedule("second", 10)
    gate.open()
    drain(app, timeout=60)

    order = list(ORDER)
    assert order.count("first") == 40
    assert order.count("second") == 10
    # the second does not wait for all of the first
    assert order.index("second") < 25
    assert (
        max(place for place, kind in enumerate(order) if kind == "second") < 49
    )


@on("file", "postgres")
def test_a_bulk_does_not_count_for_what_may_be_pending(
    new_process, small_windows, gate
):
    app = new_process(zodb_async__workers=1, zodb_async__max_pending=2)
    begin(app, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    for number in (30, 31):
        in_request(
            app, lambda request, number=number: request.schedule(sell, number)
        )
    gate.open()
    drain(app, timeout=60)

    assert sales(app) == dict.fromkeys([*range(22), 30, 31], 1)


@everywhere
def test_the_outcome_of_a_job_that_was_undone_tells_so(
    new_process, small_windows
):
    app = new_process(zodb_async__lease=0.5)
    sids = begin(app, 7)
    drain(app, timeout=60)
    undoing.undo(databases_of(app.app.registry)[""], f"job {sids[6]}, ")
    scheduler_of(app).process.to_settle.append(sids[6])
    view = wait_for(app, sids[6])

    assert view.state is JobState.CANCELLED
    assert view.failure.type == JobUndone.__qualname__


@shared
def test_a_bulk_of_a_process_that_stops_goes_on_elsewhere_at_once(
    new_process, small_windows, gate
):
    """Others need not wait until its silence has lasted for a lease."""
    here, there = (
        new_process(zodb_async__workers=1, zodb_async__lease=lease)
        for lease in (3600, 1)
    )
    begin(here, 22, function="sell_at", gate="gate")
    gate.wait_for_job()
    stopping = threading.Thread(target=scheduler_of(here).stop)
    stopping.start()
    gate.open()
    stopping.join(shop.PATIENCE)
    drain(there, timeout=60)

    assert sales(there) == dict.fromkeys(range(22), 1)
    assert incarnation_of(there) in sellers(there)
