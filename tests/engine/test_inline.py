"""The engine that runs each job right after the commit."""

import contextvars
import threading
import time

from exhausted import no_new_threads
from zope.interface.verify import verifyObject

from pyramid_zodb_async import IEngine
from pyramid_zodb_async.engine.inline import InlineEngine


def test_it_keeps_the_contract():
    assert verifyObject(IEngine, InlineEngine(lambda sid: None))


def test_a_job_has_ended_when_it_is_submitted_but_on_another_thread():
    ran = []
    engine = InlineEngine(lambda sid: ran.append((sid, threading.get_ident())))
    engine.submit(["a", "b"])

    assert [sid for sid, _ in ran] == ["a", "b"]
    assert threading.get_ident() not in [ident for _, ident in ran]
    assert engine.idle()


def test_it_is_idle_when_the_jobs_of_other_threads_have_ended():
    entered, leave = threading.Event(), threading.Event()
    idle_in_job = []

    def run(sid):
        idle_in_job.append(engine.idle(0))
        entered.set()
        leave.wait(60)

    engine = InlineEngine(run)
    other = threading.Thread(target=engine.submit, args=(["a"],))
    other.start()
    assert entered.wait(60)
    idle_before = engine.idle(0)
    leave.set()

    assert not idle_before
    assert idle_in_job == [True]
    assert engine.idle(60)
    with no_new_threads():
        engine.submit(["b"])
    assert engine.idle(0)
    other.join(60)


def test_a_job_that_is_to_run_again_does():
    delays = [0.01, 0, None]
    InlineEngine(lambda sid: delays.pop(0)).submit(["a"])

    assert delays == []


def test_a_stopped_engine_runs_nothing_until_it_is_started():
    ran = []
    engine = InlineEngine(ran.append)
    assert engine.stop() == []
    engine.submit(["a"])
    assert ran == []
    engine.start()
    engine.submit(["b"])

    assert ran == ["a", "b"]


def test_stopping_ends_the_wait_for_another_run():
    runs = []

    def run(sid):
        runs.append(sid)
        threading.Thread(target=engine.stop).start()
        return 60

    engine = InlineEngine(run)
    engine.submit(["a"])

    assert runs == ["a"]


def test_what_a_job_schedules_runs_after_it_on_its_thread():
    log = []

    def run(sid):
        log.append((f"{sid} begins", threading.get_ident()))
        if sid < "d":
            engine.submit([chr(ord(sid) + 1)])
        log.append((f"{sid} ends", threading.get_ident()))

    engine = InlineEngine(run)
    engine.submit(["a"])

    assert [event for event, _ in log] == [
        f"{sid} {what}" for sid in "abcd" for what in ("begins", "ends")
    ]
    assert len({ident for _, ident in log}) == 1


def test_a_thread_that_cannot_start_loses_no_job(caplog):
    ran = []
    engine = InlineEngine(ran.append)
    with no_new_threads():
        engine.submit(["a", "b"])
    assert ran == []
    assert "A thread for jobs cannot be started now" in caplog.text
    engine.submit(["c"])

    assert ran == ["a", "b", "c"]


def test_threads_that_submit_at_once_wait_for_their_own_jobs():
    together = threading.Barrier(2)
    ran = set()

    def run(sid):
        together.wait(60)
        ran.add(sid)

    def commit(sid):
        engine.submit([sid])
        assert sid in ran

    engine = InlineEngine(run)
    other = threading.Thread(target=commit, args=("a",))
    other.start()
    commit("b")
    other.join()

    assert ran == {"a", "b"}


variable = contextvars.ContextVar("variable", default="nothing")


def test_no_job_sees_what_another_left_in_a_context_variable():
    seen = []

    def run(sid):
        seen.append(variable.get())
        variable.set(sid)

    engine = InlineEngine(run)
    engine.submit(["a", "b"])

    assert seen == ["nothing", "nothing"]
    engine.withdraw("a")


def test_no_job_waits_for_its_time():
    sids = []
    InlineEngine(sids.append).submit(
        ["later"], due=time.time() + 3600, priority=-1
    )

    assert sids == ["later"]
