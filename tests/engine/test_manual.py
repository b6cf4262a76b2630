"""The engine that runs a job when a test says so."""

import contextvars
import threading
import time

import pytest
from exhausted import no_new_threads
from zope.interface.verify import verifyObject

from pyramid_zodb_async import IEngine
from pyramid_zodb_async.concurrency.moments import EndOfPause
from pyramid_zodb_async.engine import manual
from pyramid_zodb_async.engine.manual import ManualEngine


def run_first(engine):
    """Run what is first, and wait for its end."""
    assert engine.begin(engine.waiting()[0]).wait(60)


def sids(engine):
    return [job.sid for job in engine.waiting()]


def test_it_keeps_the_contract():
    assert verifyObject(IEngine, ManualEngine(lambda sid: None))


def test_nothing_runs_before_it_is_begun_and_then_one_job_does():
    ran = []
    engine = ManualEngine(lambda sid: ran.append((sid, threading.get_ident())))
    engine.submit(["a", "b"])
    engine.submit(["c"])
    assert ran == []
    assert sids(engine) == ["a", "b", "c"]
    run_first(engine)

    assert [sid for sid, _ in ran] == ["a"]
    assert ran[0][1] != threading.get_ident()
    assert sids(engine) == ["b", "c"]


def test_what_is_due_first_comes_first():
    engine = ManualEngine(lambda sid: None)
    now = time.time()
    engine.submit(["late", "later"], due=now + 60, priority=9)
    engine.submit(["in between"], due=now + 30)
    engine.submit(["now"])
    engine.submit(["over"], due=now - 60)
    engine.submit(["important"], priority=1)

    assert sids(engine) == [
        "important",
        "now",
        "over",
        "in between",
        "late",
        "later",
    ]


def test_a_job_that_is_to_run_again_waits_for_its_time():
    engine = ManualEngine(lambda sid: 60)
    engine.submit(["a"])
    begin = time.time()
    run_first(engine)
    (job,) = engine.waiting()

    assert job.sid == "a"
    assert begin + 60 <= job.due <= time.time() + 60


def test_what_was_withdrawn_does_not_wait():
    engine = ManualEngine(lambda sid: None)
    engine.submit(["a", "b"])
    (first, _) = engine.waiting()
    engine.withdraw("a")

    assert sids(engine) == ["b"]
    with pytest.raises(LookupError, match="The job a does not wait"):
        engine.begin(first)


def test_a_job_still_waits_that_could_not_be_begun(caplog):
    ran = []
    engine = ManualEngine(ran.append)
    engine.submit(["a", "b"])
    with (
        no_new_threads(),
        pytest.raises(RuntimeError, match="No thread can be started for the"),
    ):
        engine.begin(engine.waiting()[0])
    (record,) = caplog.records
    assert record.action == "worker_not_started"
    assert sids(engine) == ["a", "b"]
    assert engine.idle(0)
    assert engine.stop(0) == []
    run_first(engine)

    assert ran == ["a"]
    assert sids(engine) == ["b"]


def test_it_is_idle_when_nothing_runs():
    go_on = threading.Event()
    engine = ManualEngine(lambda sid: go_on.wait(60) and None)
    assert engine.idle(0)
    engine.submit(["a"])
    assert engine.idle(0)
    started = engine.begin(engine.waiting()[0])
    assert not engine.idle(0)
    assert not started.wait(0)
    assert engine.stop(0) == ["a"]
    go_on.set()

    assert engine.idle(60)
    assert started.wait(60)
    assert engine.stop(10) == []


def test_a_stop_does_not_wait_for_ever_for_a_job_that_hangs(monkeypatch):
    monkeypatch.setattr(manual, "GRACE", 0.05)
    go_on = threading.Event()
    engine = ManualEngine(lambda sid: go_on.wait(30) and None)
    engine.submit(["a"])
    started = engine.begin(engine.waiting()[0])
    assert engine.stop() == ["a"]
    go_on.set()

    assert started.wait(60)


def test_it_knows_whether_it_was_stopped_and_keeps_what_waits():
    engine = ManualEngine(lambda sid: None)
    engine.submit(["a"])
    engine.stop()
    assert engine.is_stopped
    engine.start()

    assert not engine.is_stopped
    assert sids(engine) == ["a"]


def test_who_waits_for_more_is_woken_by_it():
    engine = ManualEngine(lambda sid: None)
    begin = time.monotonic()
    other = threading.Timer(0.05, engine.submit, [["a"]])
    other.start()
    engine.wait_for_more(60)
    other.join()

    assert time.monotonic() - begin < 30
    assert sids(engine) == ["a"]


variable = contextvars.ContextVar("variable", default="nothing")


def test_no_job_sees_what_another_left_in_a_context_variable():
    seen = []

    def run(sid):
        seen.append(variable.get())
        variable.set(sid)

    engine = ManualEngine(run)
    engine.submit(["a", "b"])
    variable.set("the test's")
    run_first(engine)
    run_first(engine)

    assert seen == ["nothing", "nothing"]


def test_a_pause_is_over_when_either_clock_says_so():
    engine = ManualEngine(lambda sid: None)
    now, counted = time.time(), time.monotonic()
    engine.submit(["wall"], due=EndOfPause(now - 1, counted + 99))
    engine.submit(["monotonic"], due=EndOfPause(now + 99, counted - 1))
    engine.submit(["none"], due=EndOfPause(now + 99, counted + 99))
    *over, left = engine.waiting()

    assert [job.sid for job in over] == ["wall", "monotonic"]
    assert [job.pause(now) for job in over] == [0, 0]
    assert 0 < left.pause(now) <= 99
