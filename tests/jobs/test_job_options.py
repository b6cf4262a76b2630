"""Each option does what it says, on every scheduler and storage."""

import datetime
import json
import logging
import threading
import time

import pytest
import shop
from shop import wait_until
from storages import everywhere, on_lasting_storages, on_shared_storages

from pyramid_zodb_async import Backoff, IScheduler, JobError, JobState, job
from pyramid_zodb_async.exceptions import JobTimeout
from pyramid_zodb_async.testing import drain, wait_for

ERRORS = {"JobError": JobError, "JobTimeout": JobTimeout}


def start(request):
    """Schedule what the parameters say, with the options they say."""
    options = json.loads(request.params.get("options", "{}"))
    if "retry_on" in options:
        options["retry_on"] = ERRORS[options["retry_on"]]
    if "at" in options:
        options["at"] = datetime.datetime.fromisoformat(options["at"])
    function = FUNCTIONS[request.params["function"]]
    arguments = request.params.getall("argument")
    schedule = request.schedule.with_options(**options)
    return request.accepted(schedule(function, *arguments))


@job(title="Restock", attempts=2, retry_on=JobError, backoff=0)
def restock():
    """Have options of its own."""
    return shop.try_luck("stocked")


def wait_and_check(gate):
    """Wait, and ask then whether to go on."""
    shop.add_and_wait_at(gate)
    shop.current_job().check()


#: How many runs of it began.
begun = []


def get_stuck_once():
    """Take for ever in the first run."""
    begun.append(1)
    if len(begun) == 1:
        shop.add_and_wait_at("gate")
    shop.add("done")


FUNCTIONS = {
    "add": shop.add,
    "add_and_wait": shop.add_and_wait_at,
    "fail": shop.fail,
    "get_stuck_once": get_stuck_once,
    "restock": restock,
    "try_luck": shop.try_luck,
    "wait": shop.wait_at,
    "wait_and_check": wait_and_check,
}


@pytest.fixture
def start_app(make_app):
    """Make an application; another one is another process."""

    def make(**settings):
        settings.setdefault("zodb_async__lease", 0.6)
        return make_app(
            {"/start": start}, zodb_async__autostart=True, **settings
        )

    begun.clear()
    shop.luck.clear()
    return make


@pytest.fixture
def app(start_app):
    return start_app()


def begin(app, function, *arguments, **options):
    """Start a job by a request, and give its sid."""
    params = [("function", function), ("options", json.dumps(options))]
    params += [("argument", argument) for argument in arguments]
    return app.post("/start", params).json["sid"]


def look(app, sid):
    """Tell what the scheduler knows of a job, outside of any request."""
    return shop.in_thread(
        lambda: app.app.registry.getUtility(IScheduler).get(sid)
    )


@everywhere
def test_a_delayed_job_starts_within_a_second_of_its_time(app):
    def lateness():
        before = datetime.datetime.now(datetime.UTC)
        sid = begin(app, "add", "word", delay=1.2)
        scheduled = datetime.datetime.now(datetime.UTC)
        view = look(app, sid)
        ended = wait_for(app, sid)
        moment = before + datetime.timedelta(seconds=1.2)
        assert ended.started >= moment
        assert ended.due is None
        if view.state is JobState.PENDING:  # else the look came too late
            assert moment <= view.due <= ended.started
            latest = scheduled + datetime.timedelta(seconds=1.2)
            assert view.due <= latest
        return ended.started - moment

    a_second = datetime.timedelta(seconds=1)
    shop.at_last(lambda: lateness() < a_second)

    assert set(shop.effects(app)) == {"word"}


@everywhere
def test_a_job_runs_at_the_moment_that_was_given(app):
    def lateness():
        moment = datetime.datetime.now(datetime.UTC).astimezone(
            datetime.timezone(datetime.timedelta(hours=-5))
        ) + datetime.timedelta(seconds=1)
        sid = begin(app, "add", "word", at=moment.isoformat())
        return (wait_for(app, sid).started - moment).total_seconds()

    shop.at_last(lambda: 0 <= lateness() < 1)


@on_lasting_storages
def test_a_delayed_job_survives_a_restart_and_is_on_time(start_app):
    def is_on_time():
        first = start_app()
        before = datetime.datetime.now(datetime.UTC)
        sid = begin(first, "add", "word", delay=2)
        shop.shut_down(first.app.registry)
        second = start_app()
        ended = wait_for(second, sid)
        assert set(shop.effects(second)) == {"word"}
        shop.shut_down(second.app.registry)
        late = ended.started - before
        assert late.total_seconds() >= 2
        return late.total_seconds() < 3

    shop.at_last(is_on_time)


@on_shared_storages
def test_a_delayed_job_runs_once_with_many_processes_about(start_app):
    apps = [start_app() for _ in range(3)]
    sids = [begin(apps[0], "add", "word", delay=1.2) for _ in range(5)]
    for sid in sids:
        assert wait_for(apps[2], sid).state is JobState.SUCCEEDED

    assert shop.effects(apps[1]) == ["word"] * 5


@everywhere
def test_a_delayed_job_takes_up_no_place_in_the_queue(start_app, gate):
    app = start_app(zodb_async__max_pending=1, zodb_async__workers=1)
    begin(app, "wait", "gate")
    gate.wait_for_job()
    for _ in range(3):
        begin(app, "add", "later", delay=600)
    begin(app, "add", "word")
    begin(app, "add", "later", delay=600)

    with pytest.raises(Exception, match="503"):
        begin(app, "add", "too many")


@everywhere
def test_a_job_that_waits_for_its_time_can_be_cancelled(app):
    def cancel():
        sid = begin(app, "add", "word", delay=0.8)
        due = time.monotonic() + 0.8
        answer = app.delete(f"/jobs/{sid}", status="*")
        return answer.status_int == 202 and (sid, due)

    sid, due = shop.at_last(cancel)
    before = shop.effects(app)
    wait_until(lambda: time.monotonic() > due + 0.2)
    drain(app)

    assert look(app, sid).state is JobState.CANCELLED
    assert shop.effects(app) == before


@everywhere
def test_a_failed_attempt_is_followed_by_another(app):
    shop.luck[:] = [False, False, True]
    options = {"attempts": 3, "retry_on": "JobError", "backoff": 0}
    sid = begin(app, "try_luck", "result", **options)
    ended = wait_for(app, sid)

    assert ended.state is JobState.SUCCEEDED
    assert ended.result == "result"
    assert ended.attempt == 3
    assert ended.options.attempts == 3
    # the effects of the last attempt alone
    assert shop.effects(app) == ["half done"]


@everywhere
def test_a_job_fails_when_its_attempts_are_used_up(app):
    shop.luck[:] = [False, False, True]
    options = {"attempts": 2, "retry_on": "JobError", "backoff": 0}
    sid = begin(app, "try_luck", "result", **options)
    ended = wait_for(app, sid)

    assert ended.state is JobState.FAILED
    assert ended.failure.message == "bad luck"
    assert ended.attempt == 2
    assert shop.luck == [True]
    assert shop.effects(app) == []


@everywhere
def test_who_retries_a_failed_job_gives_it_all_its_attempts_again(app):
    shop.luck[:] = [False, False, False, True]
    options = {"attempts": 2, "retry_on": "JobError", "backoff": 0}
    sid = begin(app, "try_luck", "result", **options)
    assert wait_for(app, sid).state is JobState.FAILED
    app.post(f"/jobs/{sid}/retry")
    ended = wait_for(app, sid)

    assert ended.state is JobState.SUCCEEDED
    assert ended.attempt == 4


@everywhere
def test_an_exception_that_is_not_named_fails_the_job_at_once(app):
    sid = begin(app, "fail", attempts=5, retry_on="JobError", backoff=0)
    ended = wait_for(app, sid)

    assert ended.state is JobState.FAILED
    assert ended.attempt == 1


@everywhere
def test_a_job_waits_for_its_next_attempt_without_a_thread(
    start_app, monkeypatch
):
    monkeypatch.setattr(Backoff, "delay", lambda self, failures: 600)
    app = start_app(zodb_async__workers=1)
    shop.luck[:] = [False]
    sid = begin(app, "try_luck", "result", retry_on="JobError")
    wait_until(lambda: look(app, sid).attempt == 1 and look(app, sid).due)
    view = look(app, sid)
    other = wait_for(app, begin(app, "add", "word"))
    document = app.get(f"/jobs/{sid}").json

    assert other.state is JobState.SUCCEEDED
    assert view.state is JobState.PENDING
    assert 500 < (view.due - other.finished).total_seconds() <= 600
    assert view.failure is None
    assert document["state"] == "pending"
    assert document["attempt"] == 1
    assert "error" not in document
    assert app.delete(f"/jobs/{sid}").status_int == 202
    assert look(app, sid).state is JobState.CANCELLED


@on_lasting_storages
def test_a_job_that_waits_for_its_next_attempt_survives_a_restart(
    start_app, monkeypatch
):
    monkeypatch.setattr(Backoff, "delay", lambda self, failures: 1.5)

    def is_on_time():
        seen = []

        def is_to_run_again():
            seen.append(look(first, sid))
            return seen[-1].due or seen[-1].state is JobState.SUCCEEDED

        first = start_app()
        shop.luck[:] = [False, True]
        sid = begin(first, "try_luck", "result", retry_on="JobError")
        wait_until(is_to_run_again)
        shop.shut_down(first.app.registry)
        second = start_app()
        ended = wait_for(second, sid)
        result = ended.result
        shop.shut_down(second.app.registry)
        assert result == "result"
        assert ended.attempt == 2
        assert shop.luck == []
        if seen[-1].due is None:  # the look came too late
            return False
        assert ended.started >= seen[-1].due
        return (ended.started - seen[-1].due).total_seconds() < 1

    shop.at_last(is_on_time)


def logged(caplog, action):
    """Give the records of the log that have an action."""
    return [
        record
        for record in caplog.records
        if getattr(record, "action", "") == action
    ]


@everywhere
def test_a_job_past_its_time_limit_fails_while_its_thread_goes_on(
    app, gate, caplog
):
    def is_found_at_the_gate():
        shop.gates["gate"] = gate = shop.Gate()
        caplog.clear()
        sid = begin(app, "add_and_wait", "gate", time_limit=0.3)
        ended = wait_for(app, sid)
        document = app.get(f"/jobs/{sid}").json
        gate.open()
        drain(app)

        assert ended.state is JobState.FAILED
        assert document["error"]["type"] == "JobTimeout"
        assert "more than 0.3 seconds" in document["error"]["detail"]
        assert shop.effects(app) == []
        # it is logged when it is recorded already
        shop.wait_until(lambda: logged(caplog, "job_timed_out"))
        (record,) = logged(caplog, "job_timed_out")
        assert record.sid == sid
        # its stack, when it has come that far
        return "pass_through" in record.getMessage()

    shop.at_last(is_found_at_the_gate)


@everywhere
def test_a_job_that_asks_is_told_that_its_time_is_up(app, gate, caplog):
    caplog.set_level(logging.INFO)
    sid = begin(app, "wait_and_check", "gate", time_limit=0.2)
    gate.wait_for_job()
    wait_for(app, sid)
    gate.open()
    drain(app)

    given_up = [
        record
        for record in caplog.records
        if getattr(record, "action", "") == "job_given_up"
    ]
    assert [record.sid for record in given_up] == [sid]
    assert look(app, sid).failure.type == "JobTimeout"


@everywhere
def test_the_settings_limit_the_time_of_jobs_that_have_no_limit(
    start_app, gate
):
    app = start_app(zodb_async__time_limit=0.2, zodb_async__workers=2)
    patient = begin(app, "add_and_wait", "gate", time_limit=60)
    hasty = begin(app, "add_and_wait", "gate")
    assert wait_for(app, hasty).failure.type == "JobTimeout"
    gate.open()

    assert wait_for(app, patient).state is JobState.SUCCEEDED


@everywhere
def test_a_job_that_was_too_slow_is_tried_again_if_that_is_wanted(
    start_app, gate
):
    app = start_app(zodb_async__workers=2)
    # a later run may take too long as well where the machine is slow
    options = {"time_limit": 0.5, "retry_on": "JobTimeout", "backoff": 0}
    sid = begin(app, "get_stuck_once", **options, attempts=20)
    ended = wait_for(app, sid)
    assert shop.effects(app) == ["done"]
    gate.open()  # the first run goes on, for nothing
    drain(app)

    assert ended.state is JobState.SUCCEEDED
    assert ended.attempt >= len(begun) >= 2
    assert shop.effects(app) == ["done"]


@everywhere
def test_of_the_jobs_that_wait_the_most_urgent_runs_first(start_app, gate):
    app = start_app(zodb_async__workers=1)
    begin(app, "wait", "gate")
    gate.wait_for_job()
    for word, priority in [("b", 0), ("d", -1), ("a", 5), ("c", 0)]:
        begin(app, "add", word, priority=priority)
    gate.open()
    drain(app)

    assert shop.effects(app) == ["a", "b", "c", "d"]


@everywhere
def test_an_outcome_is_kept_as_long_as_its_job_says(app):
    short = begin(app, "add", "word", result_timeout=0.3)
    long = begin(app, "add", "word", result_timeout=7200)
    drain(app)
    kept = look(app, long)
    wait_until(lambda: look(app, short) is None)

    assert (kept.expires - kept.finished).total_seconds() == 7200
    assert look(app, long) is not None
    assert app.get(f"/jobs/{short}", status=404)


@everywhere
def test_a_title_is_for_people(app):
    sid = begin(app, "add", "word", title="Add a wörd")
    view = wait_for(app, sid)

    assert view.title == "Add a wörd"
    assert view.options.title == view.title


@everywhere
def test_a_function_may_have_options_of_its_own(app):
    shop.luck[:] = [False, True, False, True]
    own = wait_for(app, begin(app, "restock"))
    told = wait_for(app, begin(app, "restock", attempts=1, title="Now"))

    assert own.result == "stocked"
    assert own.title == "Restock"
    assert told.state is JobState.FAILED
    assert told.title == "Now"


@everywhere
def test_a_delayed_job_may_fail_be_retried_and_take_too_long(start_app, gate):
    """Options together."""
    app = start_app(zodb_async__workers=2)
    options = {
        "delay": 0.3,
        "retry_on": "JobTimeout",
        "backoff": 0,
        "time_limit": 0.3,
        "attempts": 2,
        "priority": 3,
        "result_timeout": 60,
        "title": "All",
    }
    sid = begin(app, "add_and_wait", "gate", **options)
    ended = wait_for(app, sid)
    gate.open()

    assert ended.failure.type == "JobTimeout"
    assert ended.attempt == 2
    assert ended.options.stored() == (
        ("attempts", 2),
        ("retry_on", ("pyramid_zodb_async.exceptions:JobTimeout",)),
        ("backoff", (0.0, 3600.0)),
        ("time_limit", 0.3),
        ("priority", 3),
        ("result_timeout", 60.0),
        ("title", "All"),
    )
    drain(app)
    assert shop.effects(app) == []


@everywhere
def test_threads_end_many_delayed_jobs(app):
    """They become due together."""
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(
        seconds=1
    )
    threads = [
        threading.Thread(
            target=lambda: [
                begin(app, "add", "word", at=moment.isoformat())
                for _ in range(5)
            ]
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)
    drain(app)

    assert shop.effects(app) == ["word"] * 15
