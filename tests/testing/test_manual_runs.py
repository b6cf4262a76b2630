"""Jobs that a test runs by hand: one by one, failing, recovering at will."""

import re
import threading

import pytest
import shop
import transaction
from exhausted import no_new_threads
from pyramid.scripting import prepare
from shop import begin, sid_of

from pyramid_zodb_async import IScheduler, JobState, current_job
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import (
    assert_scheduled,
    conflict_next,
    crash_next,
    drain,
    fail_next,
    paused,
    restart,
    run_next,
    scheduled,
    wait_for,
)

pytestmark = pytest.mark.kept_in("memory", "zodb")

in_database = pytest.mark.parametrize("kept_in", ["zodb"])

#: With a storage that several processes can have open.
on_zeo = pytest.mark.parametrize(("kept_in", "storage"), [("zodb", "zeo")])


@pytest.fixture
def make(make_app):
    """Make an application whose engine is driven by hand."""
    return lambda **settings: make_app(
        {"/start": start},
        **{"zodb_async__engine": "manual", "zodb_async__lease": 0.3}
        | settings,
    )


@pytest.fixture
def app(make):
    return make()


def start(request):
    name = request.params["function"]
    function = globals().get(name) or getattr(shop, name)
    arguments = request.params.getall("argument")
    return request.accepted(request.schedule(function, *arguments))


def report_and_add(word):
    """Leave an effect after telling of progress, twice."""
    current_job().progress(1, 2)
    shop.add(word)
    current_job().progress(2, 2)


# -- Pending ------------------------------------------------------------------


def test_jobs_stay_pending_until_they_are_run_one_by_one(app):
    first, second = begin(app, "add", "a"), begin(app, "add", "b")
    assert app.get(first).json["state"] == "pending"
    assert shop.effects(app) == []
    view = run_next(app)

    assert view.sid == sid_of(first)
    assert view.state is JobState.SUCCEEDED
    assert view.result == 1
    assert shop.effects(app) == ["a"]
    assert app.get(second).json["state"] == "pending"


def test_a_certain_job_can_be_run_before_its_turn(app):
    begin(app, "add", "a")
    second = begin(app, "add", "b")
    view = run_next(app, sid_of(second))

    assert view.sid == sid_of(second)
    assert shop.effects(app) == ["b"]


def test_a_job_has_another_thread_and_another_transaction(app):
    begin(app, "tell_surroundings")
    transaction.begin().note("the test's")
    view = run_next(app)

    assert view.result == [
        False,
        f"job {view.sid}, attempt 1: test_manual_runs:tell_surroundings",
    ]


def tell_surroundings():
    return [
        threading.current_thread() is threading.main_thread(),
        transaction.get().description,
    ]


def test_a_job_that_a_job_schedules_waits_for_its_turn(app):
    begin(app, "schedule_another")
    run_next(app)
    assert shop.effects(app) == []
    run_next(app)

    assert shop.effects(app) == ["by another"]


def schedule_another():
    shop.get_current_request().schedule(shop.add, "by another")


def test_draining_runs_all_that_waits(app):
    begin(app, "schedule_another")
    begin(app, "add", "a")
    conflict_next(app)
    drain(app)

    assert sorted(shop.effects(app)) == ["a", "by another"]
    assert scheduled(app) == []


def test_draining_has_an_end_and_tells_what_waits(app):
    path = begin(app, "add", "a")
    with pytest.raises(TimeoutError, match=f"{sid_of(path)} .* is pending"):
        drain(app, timeout=0)


def test_draining_waits_for_a_delay_to_be_over(app):
    begin(app, "add", "a")
    conflict_next(app)
    view = run_next(app)
    assert view.state is JobState.PENDING
    drain(app)

    assert shop.effects(app) == ["a"]


def test_nothing_to_run_is_an_error(app):
    with pytest.raises(LookupError, match="No job waits to be run"):
        run_next(app)


def test_an_unknown_job_cannot_be_run(app):
    with pytest.raises(LookupError, match="There is no job 'unknown'"):
        run_next(app, "unknown")


def test_a_job_that_has_ended_cannot_be_run_again(app):
    path = begin(app, "add", "a")
    run_next(app)
    with pytest.raises(
        LookupError, match=r"It does not wait to be run.*succe"
    ):
        run_next(app, sid_of(path))


def test_a_cancelled_job_is_passed_over(app):
    begin(app, "add", "a")
    app.delete(begin(app, "add", "b"))
    begin(app, "add", "c")
    run_next(app)
    run_next(app)

    assert shop.effects(app) == ["a", "c"]
    with pytest.raises(LookupError):
        run_next(app)


def test_a_job_that_was_forgotten_at_once_is_told_of(make):
    app = make(zodb_async__result_timeout=0)
    begin(app, "nothing")
    with pytest.raises(LookupError, match=r"zodb_async\.result_timeout"):
        run_next(app)


def test_a_job_that_runs_on_is_told_of(app, gate):
    path = begin(app, "wait_at", "gate")
    with pytest.raises(TimeoutError, match=r"the job runs on: .* is running"):
        run_next(app, timeout=0.05)
    gate.open()

    assert wait_for(app, sid_of(path)).result == "gate"


@pytest.mark.parametrize("engine", ["threads", "inline"])
@pytest.mark.parametrize(
    "use",
    [
        run_next,
        conflict_next,
        crash_next,
        restart,
        lambda app: fail_next(app, ValueError),
        lambda app: paused(app).__enter__(),
    ],
)
def test_another_engine_cannot_be_driven_by_hand(make, use, engine):
    app = make(zodb_async__engine=engine)
    with pytest.raises(RuntimeError, match=r"needs .*zodb_async.engine = man"):
        use(app)


def test_a_scheduler_that_was_stopped_runs_nothing(app):
    begin(app, "add", "a")
    app.app.registry.getUtility(IScheduler).stop()
    with pytest.raises(RuntimeError, match="was stopped"):
        run_next(app)


# -- Delays -------------------------------------------------------------------


def test_a_job_that_is_not_due_is_run_only_if_it_is_wanted(app, monkeypatch):
    monkeypatch.setattr("pyramid_zodb_async.execution.rules.FIRST_DELAY", 1e9)
    monkeypatch.setattr(
        "pyramid_zodb_async.execution.rules.GREATEST_DELAY", 1e9
    )
    path = begin(app, "add", "a")
    conflict_next(app)
    run_next(app)
    with pytest.raises(LookupError) as caught:
        run_next(app)
    assert re.search(
        rf"No job is due yet: {sid_of(path)} \(shop:add\) in \d+\.\d\d s;"
        r" run_next\(early=True\)",
        str(caught.value),
    )
    with pytest.raises(TimeoutError):
        drain(app, timeout=0.1)
    assert shop.effects(app) == []
    view = run_next(app, early=True)

    assert view.state is JobState.SUCCEEDED
    assert shop.effects(app) == ["a"]


def begin_late(request):
    later = request.schedule.with_options(delay=3600)
    return request.accepted(later(shop.add, "a"))


def test_a_delayed_job_waits_for_its_time_or_for_the_test(make_app):
    app = make_app({"/late": begin_late}, zodb_async__engine="manual")
    sid = app.post("/late").json["sid"]
    assert [job.sid for job in scheduled(app)] == [sid]
    assert assert_scheduled(app, shop.add, "a").due is not None
    with pytest.raises(LookupError, match=rf"{sid} \(shop:add\) in 3\d\d\d\."):
        run_next(app)
    with pytest.raises(LookupError, match="No job is due yet"):
        run_next(app, sid)
    assert run_next(app, early=True).state is JobState.SUCCEEDED

    assert shop.effects(app) == ["a"]


def test_a_job_that_is_tried_again_waits_for_its_time(make_app):
    def view(request):
        patient = request.schedule.with_options(
            attempts=2, retry_on=ValueError, backoff=3600
        )
        return request.accepted(patient(shop.add, "a"))

    app = make_app({"/start": view}, zodb_async__engine="manual")
    path = f"/jobs/{app.post('/start').json['sid']}"
    fail_next(app, ValueError, "end")
    assert run_next(app).state is JobState.PENDING
    assert shop.effects(app) == []
    with pytest.raises(LookupError, match="No job is due yet"):
        run_next(app)
    fail_next(app, ValueError, "end")

    assert run_next(app, early=True).state is JobState.FAILED
    assert app.get(path).json["attempt"] == 2


# -- Failing ------------------------------------------------------------------


@pytest.mark.parametrize("when", ["start", "progress", "end", "commit"])
def test_a_run_fails_at_will_and_leaves_no_effects(app, when):
    path = begin(app, "report_and_add", "a")
    fail_next(app, ValueError("as you like"), when)
    view = run_next(app)

    assert view.state is JobState.FAILED
    assert (view.failure.type, view.failure.message) == (
        "ValueError",
        "as you like",
    )
    assert shop.effects(app) == []
    assert app.get(path).json["error"]["type"] == "ValueError"
    has_begun = when != "start"
    assert (app.get(path).json["progress"] is not None) == has_begun


def test_the_next_run_after_a_failure_is_as_usual(app):
    path = begin(app, "add", "a")
    fail_next(app, ValueError)
    run_next(app)
    app.post(f"{path}/retry")
    view = run_next(app)

    assert view.state is JobState.SUCCEEDED
    assert view.attempt == 2
    assert shop.effects(app) == ["a"]


def test_several_runs_fail_in_their_order(app):
    for error in (ValueError, ZeroDivisionError):
        begin(app, "nothing")
        fail_next(app, error)

    assert run_next(app).failure.type == "ValueError"
    assert run_next(app).failure.type == "ZeroDivisionError"


def test_a_run_conflicts_at_will_and_is_repeated(app):
    begin(app, "add", "a")
    conflict_next(app)
    assert run_next(app).state is JobState.PENDING
    assert shop.effects(app) == []
    view = run_next(app, early=True)

    assert view.attempt == 1
    assert view.state is JobState.SUCCEEDED
    assert shop.effects(app) == ["a"]


def test_a_moment_that_does_not_come_is_told_of(app):
    begin(app, "fail")
    fail_next(app, ValueError, "commit")
    with pytest.raises(AssertionError, match="was over before its 'commit'"):
        run_next(app)
    begin(app, "add", "a")
    assert run_next(app).state is JobState.SUCCEEDED


def test_a_moment_that_there_is_none_of_is_refused(app):
    with pytest.raises(ValueError, match=r"no moment 'lunch' in a run.*'end'"):
        fail_next(app, ValueError, "lunch")


@pytest.mark.parametrize("error", ["broken", int, None])
def test_only_an_exception_can_be_raised(app, error):
    with pytest.raises(TypeError, match="can fail with an exception, not"):
        fail_next(app, error)


def test_a_savepoint_does_not_disturb_what_is_to_happen_at_the_commit(app):
    begin(app, "add_around_savepoint")
    fail_next(app, ValueError, "commit")
    assert run_next(app).state is JobState.FAILED
    begin(app, "add_around_savepoint")

    assert run_next(app).state is JobState.SUCCEEDED
    assert shop.effects(app) == ["before"]


def add_around_savepoint():
    shop.add("before")
    savepoint = shop.get_current_request().tm.savepoint()
    shop.add("after")
    savepoint.rollback()


# -- Pausing ------------------------------------------------------------------


@pytest.mark.parametrize("when", ["start", "progress", "end"])
def test_a_run_pauses_at_will_and_goes_on(app, when):
    path = begin(app, "report_and_add", "a")
    with paused(app, when) as view:
        assert view.state is JobState.RUNNING
        document = app.get(path).json
        assert document["state"] == "running"
        done = {"start": None, "progress": 1, "end": 2}[when]
        assert (document["progress"] or {"done": None})["done"] == done
        assert shop.effects(app) == []

    assert wait_for(app, view.sid, 0).state is JobState.SUCCEEDED
    assert shop.effects(app) == ["a"]


@pytest.mark.parametrize("when", ["start", "progress", "end"])
def test_a_job_is_cancelled_in_the_middle_and_leaves_nothing(app, when):
    path = begin(app, "report_and_add", "a")
    with paused(app, when):
        app.delete(path, status=202)
    assert app.get(path).json["state"] == "cancelled"
    assert shop.effects(app) == []
    with pytest.raises(LookupError):
        run_next(app)


def test_a_run_that_pauses_can_conflict_as_well(app):
    begin(app, "add", "a")
    conflict_next(app)
    with paused(app) as view:
        pass
    assert wait_state(app, view.sid) is JobState.PENDING
    run_next(app, early=True)

    assert shop.effects(app) == ["a"]


def wait_state(app, sid):
    (view,) = [view for view in scheduled(app) if view.sid == sid]
    return view.state


def test_a_real_conflict_in_a_pause_repeats_the_job(app):
    begin(app, "add", "a")
    run_next(app)
    begin(app, "add", "b")
    with paused(app):
        add_from_outside(app, "c")
    run_next(app, early=True)

    assert shop.effects(app) == ["a", "c", "b"]


def add_from_outside(app, word):
    db = databases_of(app.app.registry)[""]
    with db.transaction() as connection:
        connection.root()["history"].append(word)


def test_an_error_in_the_block_of_a_pause_lets_the_run_go_on(app):
    path = begin(app, "add", "a")
    with pytest.raises(ZeroDivisionError), paused(app):
        raise ZeroDivisionError
    wait_for(app, sid_of(path))

    assert shop.effects(app) == ["a"]


def test_a_run_that_ends_before_its_pause_is_told_of(app):
    path = begin(app, "add", "a")
    with (
        pytest.raises(AssertionError, match="was over before its 'progress'"),
        paused(app, "progress"),
    ):
        pytest.fail("it does not pause")
    assert app.get(path).json["state"] == "succeeded"
    begin(app, "add", "b")

    assert run_next(app).state is JobState.SUCCEEDED


def test_a_run_that_does_not_come_to_its_pause_is_told_of(app, gate):
    path = begin(app, "wait_at", "gate")
    with (
        pytest.raises(TimeoutError, match="has not come to its 'end'"),
        paused(app, timeout=0.05),
    ):
        pytest.fail("it does not pause")
    gate.open()

    assert wait_for(app, sid_of(path)).state is JobState.SUCCEEDED


def test_a_run_does_not_pause_in_its_commit(app):
    with (
        pytest.raises(ValueError, match="the whole database would wait"),
        paused(app, "commit"),
    ):
        pytest.fail("it does not pause")


# -- Recovering ---------------------------------------------------------------


@in_database
@pytest.mark.parametrize("when", ["start", "progress", "end", "commit"])
def test_a_job_whose_process_dies_is_run_by_the_next_process(app, when):
    path = begin(app, "report_and_add", "a")
    crash_next(app, when)
    view = run_next(app)
    assert view.state is JobState.PENDING
    assert shop.effects(app) == []
    with pytest.raises(RuntimeError, match="its process is dead"):
        run_next(app)
    restart(app)
    view = run_next(app)

    assert view.sid == sid_of(path)
    assert view.state is JobState.SUCCEEDED
    assert shop.effects(app) == ["a"]


@in_database
def test_what_waited_in_a_dead_process_is_run_by_the_next_one(app):
    for word in ("a", "b", "c"):
        begin(app, "add", word)
    restart(app)
    for _ in range(3):
        run_next(app)

    assert sorted(shop.effects(app)) == ["a", "b", "c"]


@in_database
def test_a_job_that_ends_its_process_each_time_fails_in_the_end(make):
    app = make(zodb_async__attempts=2)
    path = begin(app, "add", "a")
    for _ in range(3):
        crash_next(app)
        assert run_next(app).state is JobState.PENDING
        restart(app)

    assert app.get(path).json["error"]["type"] == "JobCrashed"
    assert shop.effects(app) == []


@in_database
def test_a_job_that_goes_on_in_a_dead_process_leaves_nothing(app):
    begin(app, "go_on_whatever_happens", "a")
    crash_next(app, "progress")
    assert run_next(app).state is JobState.PENDING
    restart(app)

    assert shop.effects(app) == []
    assert run_next(app).state is JobState.SUCCEEDED


def go_on_whatever_happens(word):
    try:
        current_job().progress(1)
    except Exception:  # noqa: BLE001 - as bad code does
        shop.add(word)


@in_database
def test_a_job_of_a_script_is_run_when_the_process_has_started(make):
    app = make()
    with prepare(registry=app.app.registry) as env:
        request = env["request"]
        with request.tm:
            request.schedule(shop.add, "a")
    run_next(app)

    assert shop.effects(app) == ["a"]


def test_a_restart_forgets_what_is_in_memory_alone(app, kept_in):
    path = begin(app, "add", "a")
    if kept_in == "zodb":
        restart(app)
        assert app.get(path).json["state"] == "pending"
    else:
        crash_next(app)
        assert run_next(app).state is JobState.RUNNING
        restart(app)
        app.get(path, status=404)
        assert scheduled(app) == []


@on_zeo
def test_on_a_shared_storage_a_restart_takes_the_lease(make):
    app = make()
    begin(app, "add", "a")
    restart(app)
    run_next(app)

    assert shop.effects(app) == ["a"]


@on_zeo
def test_a_restart_that_takes_too_long_is_told_of(make):
    app = make(zodb_async__lease=60)
    path = begin(app, "add", "a")
    with pytest.raises(TimeoutError, match=f"{sid_of(path)}.*lease"):
        restart(app, timeout=0.1)
    with pytest.raises(LookupError, match="No job waits to be run"):
        run_next(app, timeout=0.1)


def test_a_run_without_a_thread_leaves_the_job_and_the_next_run_alone(app):
    path = begin(app, "give", "given")
    with (
        no_new_threads(),
        pytest.raises(RuntimeError, match="No thread can be started for"),
        paused(app),
    ):
        raise AssertionError
    assert app.get(path).json["state"] == "pending"

    assert run_next(app).result == "given"


@in_database
def test_a_run_may_be_what_starts_the_scheduler_once_there_is_a_thread(app):
    with (
        no_new_threads(),
        pytest.raises(RuntimeError, match="to look after jobs"),
    ):
        run_next(app)
    path = begin(app, "give", "given")
    run_next(app)

    assert app.get(path).json["result"] == "given"
