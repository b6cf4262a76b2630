"""Jobs that earlier versions have left in a database are found, and run."""

import contextlib
import pkgutil
import shutil

import pytest
import shop
import stored_jobs
import stored_shop
from pyramid.request import Request
from pyramid.scripting import prepare
from stored_jobs import DATA, request_of, tell
from ZODB.broken import Broken

from pyramid_zodb_async import (
    Backoff,
    IScheduler,
    JobCancelled,
    JobError,
    JobState,
    JobTimeout,
    Options,
    UnknownJob,
    events,
)
from pyramid_zodb_async.job import Version
from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.testing import run_next

#: The effects of the jobs that wait.
EFFECTS = {
    "plain": ("plain", 1, None, 2.5, b"\xff", (True, "ü")),
    "apart": ("apart", [1, [2]], {"a": {3}}),
    "persistent": ("persistent", "apple", "pear", True),
    "method": ("method", "pear", 7),
    "class method": ("class method", "Product", "hello"),
    "class": ("class", "paid"),
    "partial": ("partial", 1, 2),
    "instance": ("instance", "hello", "world"),
    "named": ("named", "pear", 2),
    "weak": ("weak", "apple", ["pear"]),
    "context": ("context", "apple", "pear", 1),
    "data": ("data", *stored_jobs.data()),
    "view": ("view", "stored_shop:note", "pending", None),
    "errors": (
        "errors",
        [
            ("UnknownJob", "where?"),
            ("JobTimeout", "The job took longer than it may."),
        ],
        ["JobError", "OutOfStock"],
    ),
    "anonymous": ("anonymous", None, "http://localhost"),
    "owned": ("owned", stored_jobs.OWNER, stored_jobs.BASE_URL),
    "options": ("options",),
    "seen": ("seen",),
    "running": ("running",),
    "free": ("free",),
    "suspect": ("suspect",),
    "crashed": ("crashed",),
    "tried again": ("mended", "OutOfStock"),
}

#: What those return that leave no effect where jobs do.
RETURNED = {"completed": True, "get": None, "remove": None}

#: The classes of the exceptions of those that have failed.
FAILED = {
    **{
        name: f"pyramid_zodb_async.exceptions:{name}"
        for name in stored_jobs.ERRORS
    },
    "TakenOver": "pyramid_zodb_async.scheduler.records:TakenOver",
    "NotTransferable": "pyramid_zodb_async.references:NotTransferable",
    "OutOfStock": "stored_shop:OutOfStock",
    "Mishap": "stored_shop:Mishap",
    "unpicklable": "pyramid_zodb_async:JobError",
    "bad result": "pyramid_zodb_async:ResultNotTransferable",
    "too late": "pyramid_zodb_async:JobTimeout",
    "given up": "pyramid_zodb_async:JobCrashed",
}

#: What those leave that are tried again. One had very little time.
MENDED = {
    **{name: ("mended", name) for name in FAILED},
    "given up": ("given up",),
}
del MENDED["too late"]

#: What those have returned that had ended; with persistent objects told.
RESULTS = {
    "small": ("small", 1, None),
    "nothing": None,
    "large": [1, {"a": {2}}],
    "given data": stored_jobs.data(),
    "progressed": "done",
    "product": {"products": ["apple"]},
    "receipt": "paper",
}

#: The classes of the events that the application has kept.
EVENTS = {
    "JobExpired",
    "JobFailed",
    "JobRetried",
    "JobScheduled",
    "JobStarted",
    "JobSucceeded",
    "JobWasCancelled",
}

WAIT_LONG = {"later", "retrying"}
GONE = {"removed", "fetched"}

#: The jobs of the scheduler that is elsewhere.
RESULTS_ELSEWHERE = {"small": "small", "large": ["large"]}
RETURNED_ELSEWHERE = {
    "plain": "plain",
    "apart": ["apart"],
    "method": 6,
    "failed": "failed",
}


@pytest.fixture(scope="module", params=["committed", "written"])
def copy(request, tmp_path_factory):
    """Copy the database of the first version; or have this one write it."""
    made = []

    def copy():
        path = tmp_path_factory.mktemp("stored") / "Data.fs"
        if request.param == "committed":
            shutil.copy(DATA / "format_1.fs", path)
        elif made:
            shutil.copy(made[0], path)
        else:
            stored_jobs.write(path)
            shutil.copy(path, path.with_name("Copy.fs"))
            made.append(path.with_name("Copy.fs"))
        return path

    return copy


@pytest.fixture(scope="module")
def found(copy):
    """Give an application that runs no jobs."""
    with stored_jobs.opened(copy()) as app:
        yield app


@pytest.fixture
def looking(found):
    """Give a request there that only looks."""
    with look(found) as request:
        yield request


@contextlib.contextmanager
def look(app):
    """Give a request whose transaction is aborted."""
    request = Request.blank("/")
    with prepare(request, registry=app.registry):
        request.tm.begin()
        try:
            yield request
        finally:
            request.tm.abort()


def scheduler_of(app):
    return app.registry.getUtility(IScheduler)


def view_of(request, name):
    return scheduler_of(request).get(shop.root(request)["jobs"][name])


def view_elsewhere(request, name):
    root = shop.root(request)
    return root["scheduler"].get(root["elsewhere"][name])


@pytest.fixture(scope="module")
def ran(copy):
    """Give an application that has run all that is due."""
    with stored_jobs.opened(copy()) as app:
        scheduler = scheduler_of(app)
        with request_of(app) as request:
            jobs = dict(shop.root(request)["jobs"])
            for name in MENDED:
                assert scheduler.retry(jobs[name])
        stored_shop.mended.set()
        try:
            run_what_is_due(app, {jobs[name] for name in WAIT_LONG})
            run_elsewhere(app)
        finally:
            stored_shop.mended.clear()
        yield app


def run_what_is_due(app, later):
    scheduler = scheduler_of(app)

    def have_run():
        with contextlib.suppress(LookupError):
            run_next(app)
        return set(scheduler.unfinished()) == later

    shop.wait_until(have_run)


def run_elsewhere(app):
    with request_of(app) as request:
        root = shop.root(request)
        assert root["scheduler"].retry(root["elsewhere"]["failed"])
    with look(app) as request:
        root = shop.root(request)
        root["scheduler"].start()
        for name in RETURNED_ELSEWHERE:
            assert root["scheduler"].wait(root["elsewhere"][name], 60)
        root["scheduler"].stop(60)


@pytest.fixture
def looking_after(ran):
    """Give a request there that only looks."""
    with look(ran) as request:
        yield request


# -- What is found ------------------------------------------------------------


def test_each_job_is_known_to_these_tests(looking):
    root = shop.root(looking)

    assert set(root["jobs"]) == {
        *(*EFFECTS, *RETURNED, *FAILED, *RESULTS),
        *(*WAIT_LONG, *GONE, "cancelled"),
    }
    assert set(root["elsewhere"]) == {
        *(*RESULTS_ELSEWHERE, *RETURNED_ELSEWHERE),
        *("later", "cancelled", "to remove", "fetched", "gone"),
    }


def test_the_same_is_told_of_all_jobs(looking):
    told = shop.root(looking)["told"]
    for name, before in told["jobs"].items():
        now = tell(view_of(looking, name))
        assert (now and {**now, **before}) == now, name
    for name, before in told["elsewhere"].items():
        now = tell(view_elsewhere(looking, name))
        assert (now and {**now, **before}) == now, name
    assert set(told["jobs"]) == set(shop.root(looking)["jobs"])


@pytest.mark.parametrize("name", FAILED)
def test_a_failed_job_has_its_exception(looking, name):
    failure = view_of(looking, name).failure
    sid = shop.root(looking)["jobs"][name]
    value, error = scheduler_of(looking).get_result(sid)

    assert value is None
    assert type(error) is pkgutil.resolve_name(FAILED[name])
    # what was a tuple when the text was made loads as a number
    was = "Version(run=1, done=True, progress=2, starts=3)"
    message = failure.message.replace(was, str(Version(1, 1, 2, 3)))
    # there is an option more
    message = message.replace("'Title')", "'Title', batched=False)")
    assert str(error).endswith(message)


def test_exceptions_have_what_they_were_given(looking):
    jobs = shop.root(looking)["jobs"]
    _, mishap = scheduler_of(looking).get_result(jobs["Mishap"])
    _, inner = scheduler_of(looking).get_result(jobs["NotTransferable"])

    assert mishap.args == (stored_jobs.data(),)
    assert vars(inner) == {"foreign": ""}


@pytest.mark.parametrize("name", RESULTS)
def test_a_finished_job_has_its_result(looking, name):
    view = view_of(looking, name)

    assert view.state is JobState.SUCCEEDED
    assert plain(view.result) == RESULTS[name]


def plain(value):
    """Put their names in the place of products."""
    if isinstance(value, dict):
        return {key: plain(value[key]) for key in value}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value.name if isinstance(value, stored_shop.Product) else value


def test_objects_of_results_are_those_of_the_database(looking):
    root = shop.root(looking)
    (product,) = looking.jobs.get(root["jobs"]["product"]).result["products"]

    assert product is root["apple"]


def test_a_cancelled_job_stays_cancelled(looking):
    sid = shop.root(looking)["jobs"]["cancelled"]

    assert view_of(looking, "cancelled").state is JobState.CANCELLED
    value, error = scheduler_of(looking).get_result(sid)
    assert value is None
    assert type(error) is JobCancelled


@pytest.mark.parametrize("name", sorted(GONE))
def test_what_was_removed_is_gone(looking, name):
    root = shop.root(looking)

    assert view_of(looking, name) is None
    record = root["pyramid_zodb_async"].job(root["jobs"][name]).record
    assert record.state == "removed"
    assert record.call is record.outcome is None


def test_jobs_that_are_due_later_wait_for_their_time(looking):
    later, retrying = view_of(looking, "later"), view_of(looking, "retrying")

    assert later.due == stored_jobs.MUCH_LATER
    assert retrying.due > later.scheduled
    assert retrying.attempt == 1
    assert retrying.options.covers(stored_shop.OutOfStock())


def test_options_are_as_they_were_given(looking):
    options = view_of(looking, "options").options

    assert options == Options(
        attempts=7,
        retry_on=(
            "pyramid_zodb_async.exceptions:JobTimeout",
            "stored_shop:OutOfStock",
            "builtins:LookupError",
        ),
        backoff=Backoff(2, 20),
        time_limit=3600,
        priority=9,
        queue="mail",
        result_timeout=2 * stored_jobs.FOREVER,
        title="Ünicode",
    )
    assert options.covers(JobTimeout())
    assert options.covers(KeyError())
    assert not options.covers(JobError())


def test_what_another_process_has_told_of_a_run_is_known(looking):
    view = view_of(looking, "running")

    assert view.state is JobState.RUNNING
    assert view.attempt == 1
    assert view.progress.as_tuple() == (1, 2, "half")
    assert view.version == make_version(0, changes=3 + 1)


def test_an_owner_sees_what_is_his_and_nobody_else_does(found, looking):
    sid = shop.root(looking)["jobs"]["owned"]

    assert looking.jobs.get(sid) is None
    looking.tm.abort()
    with request_of(found, stored_jobs.OWNER) as request:
        assert request.jobs.get(sid).owner == stored_jobs.OWNER
    looking.tm.begin()


@pytest.mark.parametrize("name", RESULTS_ELSEWHERE)
def test_a_finished_job_elsewhere_has_its_result(looking, name):
    view = view_elsewhere(looking, name)

    assert view.result == RESULTS_ELSEWHERE[name]


def test_a_failed_job_elsewhere_has_its_exception(looking):
    root = shop.root(looking)
    sid = root["elsewhere"]["failed"]
    _, error = root["scheduler"].get_result(sid)

    assert type(error) is stored_shop.OutOfStock
    assert str(error) == "failed"


@pytest.mark.parametrize("name", ["gone", "fetched"])
def test_what_was_removed_elsewhere_is_gone(looking, name):
    assert view_elsewhere(looking, name) is None


def test_what_was_cancelled_elsewhere_stays_cancelled(looking):
    view = view_elsewhere(looking, "cancelled")

    assert view.state is JobState.CANCELLED


# -- What the application has kept --------------------------------------------


def test_a_context_still_knows_its_objects(looking):
    root = shop.root(looking)
    context = root["kept"]["context"]
    context.set_root_connection(root._p_jar)

    assert context[0] is root["apple"]
    assert context["best"] is root["pear"]
    assert len(context) == 1


def test_plain_data_is_the_same(looking):
    kept = shop.root(looking)["kept"]["data"]

    assert kept == stored_jobs.data()
    assert list(map(type, kept)) == list(map(type, stored_jobs.data()))


def test_exceptions_are_the_same(looking):
    unknown, timeout = shop.root(looking)["kept"]["errors"]

    assert (type(unknown), str(unknown)) == (UnknownJob, "where?")
    assert type(timeout) is JobTimeout


def test_a_view_of_a_job_that_waited_has_no_result(looking):
    view = shop.root(looking)["kept"]["view"]

    assert view.sid == shop.root(looking)["jobs"]["seen"]
    assert view.state is JobState.PENDING
    assert view.result is None


def test_events_of_every_kind_are_known(looking):
    stored = shop.root(looking)["kept"]["events"]
    # earlier versions had a kind of event that is gone
    kept = [event for event in stored if not isinstance(event, Broken)]

    assert len(stored) - len(kept) <= 1
    assert {type(event).__name__ for event in kept} == EVENTS
    for event in kept:
        assert type(event) is getattr(events, type(event).__name__)
        assert event.job.sid in shop.root(looking)["jobs"].values()
        with pytest.raises(JobError, match="An event has no result"):
            _ = event.job.result


def test_a_store_that_is_no_scheduler_has_its_jobs(looking):
    root = shop.root(looking)
    scheduler, store = root["pyramid_zodb_async"], root["kept"]["store"]

    assert list(store.unfinished()) == list(scheduler.unfinished())
    assert type(store) is pkgutil.resolve_name(stored_jobs.STORE)
    assert isinstance(scheduler, type(store))


# -- What runs ----------------------------------------------------------------


@pytest.mark.parametrize("name", EFFECTS)
def test_a_waiting_job_runs_once(looking_after, name):
    effects = shop.root(looking_after)["effects"]

    assert view_of(looking_after, name).state is JobState.SUCCEEDED
    found = [effect for effect in effects if effect == EFFECTS[name]]
    # another one leaves the same when it is tried again
    assert len(found) == (2 if name == "tried again" else 1)


@pytest.mark.parametrize("name", RETURNED)
def test_a_method_of_a_scheduler_is_called(looking_after, name):
    view = view_of(looking_after, name)

    assert view.state is JobState.SUCCEEDED
    assert view.result == RETURNED[name]


def test_the_methods_take_effect(looking_after):
    root = shop.root(looking_after)

    assert view_elsewhere(looking_after, "to remove") is None
    assert root["pear"].stock == 7
    assert view_of(looking_after, "class").result.text == "paid"


@pytest.mark.parametrize("name", MENDED)
def test_a_failed_job_can_be_tried_again(looking_after, name):
    assert view_of(looking_after, name).state is JobState.SUCCEEDED
    assert MENDED[name] in shop.root(looking_after)["effects"]


@pytest.mark.parametrize("name", sorted(WAIT_LONG))
def test_a_job_that_is_not_due_waits_on(looking_after, name):
    told = shop.root(looking_after)["told"]["jobs"][name]
    view = view_of(looking_after, name)

    assert view.state is JobState.PENDING
    assert view.due.isoformat() == told["moments"][1]


@pytest.mark.parametrize("name", RETURNED_ELSEWHERE)
def test_a_waiting_job_elsewhere_runs(looking_after, name):
    view = view_elsewhere(looking_after, name)

    assert view.result == RETURNED_ELSEWHERE[name]


def test_a_job_elsewhere_takes_effect(looking_after):
    assert shop.root(looking_after)["apple"].stock == 6


def test_a_job_elsewhere_that_is_not_due_waits_on(looking_after):
    told = shop.root(looking_after)["told"]["elsewhere"]["later"]
    view = view_elsewhere(looking_after, "later")

    assert view.state is JobState.PENDING
    assert view.due.isoformat() == told["moments"][1]
    assert view.options.attempts == 2


def test_new_jobs_are_kept_beside_the_old_ones(ran):
    with request_of(ran) as request:
        sid = request.schedule(stored_shop.note, "new")
    assert run_next(ran, sid).state is JobState.SUCCEEDED
    with look(ran) as request:
        assert ("new",) in shop.root(request)["effects"]
