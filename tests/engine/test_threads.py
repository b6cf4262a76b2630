"""The engine that runs jobs on threads."""

import _thread
import contextvars
import logging
import signal
import subprocess
import sys
import threading
import time

import pytest
from exhausted import no_new_threads
from shop import PATIENCE, at_last
from zope.interface.verify import verifyObject

from pyramid_zodb_async import IEngine
from pyramid_zodb_async.engine.threads import ThreadEngine


@pytest.fixture
def make_engine():
    """Make engines that are stopped when the test is over."""
    made = []

    def make(run, **options):
        made.append(ThreadEngine(run, **options))
        return made[-1]

    yield make
    for engine in made:
        assert engine.stop(grace=10) == []


class Work:
    """Runs that note what was run, and can be held up."""

    def __init__(self, delays=()):
        self.sids = []
        self.delays = list(delays)
        self.open = threading.Event()
        self.open.set()
        self.begun = threading.Semaphore(0)
        self.ended = threading.Semaphore(0)

    def __call__(self, sid):
        self.begun.release()
        assert self.open.wait(PATIENCE)
        self.sids.append(sid)
        self.ended.release()
        return self.delays.pop(0) if self.delays else None

    def wait_for_end(self, count=1):
        for _ in range(count):
            assert self.ended.acquire(timeout=PATIENCE)

    def wait_for_begin(self, count=1):
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)


def test_it_keeps_the_contract(make_engine):
    assert verifyObject(IEngine, make_engine(Work()))


def test_jobs_run_in_the_order_they_came(make_engine):
    work = Work()
    engine = make_engine(work, workers=1)
    engine.submit(["a", "b"])
    engine.submit(["c"])
    work.wait_for_end(3)

    assert work.sids == ["a", "b", "c"]


def test_threads_are_named_daemons_and_started_by_need(make_engine):
    work = Work()
    work.open.clear()
    before = set(threading.enumerate())
    engine = make_engine(work, workers=3)
    assert not set(threading.enumerate()) - before
    engine.submit(["a", "b"])
    work.wait_for_begin(2)
    threads = set(threading.enumerate()) - before

    assert {thread.name for thread in threads} == {
        "zodb_async-1",
        "zodb_async-2",
    }
    assert all(thread.daemon for thread in threads)
    engine.submit(["c", "d", "e"])
    work.wait_for_begin(1)
    assert len(set(threading.enumerate()) - before) == 3
    work.open.set()
    work.wait_for_end(5)


def test_an_idle_thread_is_used_again(make_engine):
    work = Work()
    before = set(threading.enumerate())
    engine = make_engine(work, workers=3)
    for sid in "abc":
        engine.submit([sid])
        work.wait_for_end()
        assert engine.idle(PATIENCE)

    assert len(set(threading.enumerate()) - before) == 1


def test_a_job_that_is_to_run_again_waits_without_a_thread(make_engine):
    work = Work(delays=[0.05])
    engine = make_engine(work, workers=1)
    engine.submit(["again", "other"])
    work.wait_for_end(3)

    assert work.sids == ["again", "other", "again"]


def test_a_later_job_that_is_due_earlier_goes_first(make_engine):
    work = Work(delays=[3600, 0.01])
    engine = make_engine(work, workers=1)
    engine.submit(["late", "early"])
    work.wait_for_end(3)

    assert work.sids == ["late", "early", "early"]


def test_a_runner_that_raises_does_not_cost_a_thread(make_engine, caplog):
    done = threading.Event()

    def run(sid):
        if sid == "bad":
            raise SystemExit
        done.set()

    engine = make_engine(run, workers=1)
    engine.submit(["bad", "good"])

    assert done.wait(PATIENCE)
    assert "The runner raised over job bad" in caplog.text


def test_stopping_waits_for_what_runs_and_keeps_what_waits(make_engine):
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=1)
    engine.submit(["running", "waiting"])
    work.wait_for_begin()
    threading.Timer(0.05, work.open.set).start()

    assert engine.stop(grace=10) == []
    assert work.sids == ["running"]
    engine.submit(["more"])
    assert work.sids == ["running"]
    engine.start()
    work.wait_for_end(3)
    assert work.sids == ["running", "waiting", "more"]


def test_stopping_tells_what_runs_on(make_engine, caplog):
    caplog.set_level(logging.INFO)
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=1, grace=0.01)
    engine.submit(["slow"])
    work.wait_for_begin()

    assert engine.stop() == ["slow"]
    assert not engine.idle(0)
    assert (
        "Waiting up to 0.01 s for 1 running job to end; press Ctrl-C again to"
        " stop now."
    ) in caplog.text
    assert "jobs that have not ended: slow" in caplog.text
    work.open.set()


def begin_two(make_engine):
    """Have two jobs begin that end when they may."""
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=2)
    engine.submit(["slow", "slower"])
    work.wait_for_begin(2)
    return work, engine


class Press(logging.Handler):
    """Somebody who presses Ctrl-C when the log says how long it takes."""

    def emit(self, record):
        if record.action == "engine_stopping":
            signal.raise_signal(signal.SIGINT)


def test_a_ctrl_c_ends_the_wait_for_running_jobs(make_engine, caplog):
    caplog.set_level(logging.INFO)
    work, engine = begin_two(make_engine)
    logger = logging.getLogger("pyramid_zodb_async.engine.threads")
    logger.addHandler(press := Press())
    try:
        left = engine.stop(grace=600)
    finally:
        logger.removeHandler(press)
    work.open.set()

    assert sorted(left) == ["slow", "slower"]
    assert "jobs that have not ended: slow" in caplog.text


def test_only_who_can_press_ctrl_c_is_told_to(make_engine, caplog):
    caplog.set_level(logging.INFO)
    work, engine = begin_two(make_engine)
    stopper = threading.Thread(target=engine.stop, args=(0.01,))
    stopper.start()
    stopper.join(60)
    work.open.set()

    assert "Waiting up to 0.01 s for 2 running jobs to end." in caplog.text


def test_an_engine_that_did_nothing_stops_at_once(make_engine):
    started = time.monotonic()
    make_engine(Work(), grace=60).stop()

    assert time.monotonic() - started < 10


def test_a_thread_that_cannot_start_is_tried_again(make_engine, caplog):
    work = Work()
    engine = make_engine(work, workers=1)
    with no_new_threads():
        engine.submit(["a"])
    assert "A worker thread cannot be started now" in caplog.text
    engine.submit(["b"])
    work.wait_for_end(2)

    assert work.sids == ["a", "b"]


def test_a_job_that_is_due_again_goes_before_those_that_come_later(
    make_engine,
):
    work = Work(delays=[0])
    engine = make_engine(work, workers=1)
    work.open.clear()
    engine.submit(["again"])
    work.wait_for_begin()
    engine.submit(["before"])
    work.open.set()
    work.wait_for_end(2)
    engine.submit(["after"])
    work.wait_for_end(2)

    assert work.sids == ["again", "before", "again", "after"]


def test_steady_work_does_not_starve_a_job_that_is_due_again(make_engine):
    over = threading.Event()
    ran = []

    def run(sid):
        ran.append(sid)
        if sid == "again":
            if ran.count(sid) == 2:
                over.set()
                return None
            return 0.01
        if not over.is_set():
            engine.submit([sid])
        return None

    engine = make_engine(run, workers=1)
    engine.submit(["again", "steady", "steady"])

    assert over.wait(PATIENCE)


def test_a_withdrawn_job_does_not_run(make_engine):
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=1)
    engine.submit(["a", "b", "c"])
    work.wait_for_begin()
    engine.withdraw("b")
    engine.withdraw("unknown")
    work.open.set()
    work.wait_for_end(2)

    assert work.sids == ["a", "c"]


variable = contextvars.ContextVar("variable", default="nothing")


def test_no_job_sees_what_another_left_in_a_context_variable(make_engine):
    seen, done = [], threading.Semaphore(0)

    def run(sid):
        seen.append(variable.get())
        variable.set(sid)
        done.release()

    make_engine(run, workers=1).submit(["a", "b"])
    assert done.acquire(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)

    assert seen == ["nothing", "nothing"]


SCRIPT = """
import sys, threading
from pyramid_zodb_async.engine.threads import ThreadEngine

begun, slow = threading.Event(), float(sys.argv[1])

def run(sid):
    begun.set()
    threading.Event().wait(slow)
    print("ended", flush=True)

engine = ThreadEngine(run, grace=float(sys.argv[2]))
engine.submit(["sid"])
begun.wait(60)
if len(sys.argv) > 3:  # stopped and started again
    engine.stop(0)
    engine.start()
"""


@pytest.mark.parametrize(
    ("args", "output"),
    [
        (["0.3", "30"], "ended\n"),
        (["0.3", "30", "restarted"], "ended\n"),
        (["30", "0"], ""),
    ],
)
def test_the_end_of_the_interpreter_gives_running_jobs_their_grace(
    args, output
):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *args],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == output


def test_a_job_that_is_due_later_waits_for_its_time(make_engine):
    def is_in_time():
        work = Work()
        engine = make_engine(work, workers=1)
        begin = time.time()
        engine.submit(["later"], due=begin + 0.3)
        engine.submit(["now"])
        work.wait_for_end(2)
        seconds = time.time() - begin
        assert seconds >= 0.3
        return work.sids == ["now", "later"] and seconds < 1.3

    at_last(is_in_time)


def test_jobs_that_become_due_together_get_a_thread_each(make_engine):
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=3)
    engine.submit("123", due=time.time() + 0.2)
    work.wait_for_begin(3)
    work.open.set()
    work.wait_for_end(3)

    assert sorted(work.sids) == ["1", "2", "3"]


def test_many_jobs_that_are_due_later_take_one_thread(make_engine):
    engine = make_engine(Work(), workers=10)
    engine.submit([str(number) for number in range(100)], due=time.time() + 60)

    assert len(engine._threads) == 1


def test_the_most_urgent_of_the_waiting_jobs_runs_first(make_engine):
    work = Work()
    work.open.clear()
    engine = make_engine(work, workers=1)
    engine.submit(["first"])
    work.wait_for_begin()
    engine.submit(["common"])
    engine.submit(["urgent"], priority=1)
    work.open.set()
    work.wait_for_end(3)

    assert work.sids == ["first", "urgent", "common"]


def test_a_job_that_waits_for_its_time_can_be_withdrawn(make_engine):
    def is_withdrawn_in_time():
        work = Work()
        engine = make_engine(work, workers=1)
        due = time.time() + 0.2
        engine.submit(["1", "2"], due=due)
        engine.withdraw("1")
        is_in_time = time.time() < due
        work.wait_for_end()
        return is_in_time and work.sids == ["2"]

    at_last(is_withdrawn_in_time)


def test_a_job_that_ends_its_thread_takes_no_worker_away(make_engine, caplog):
    ended = threading.Semaphore(0)

    def run(sid):
        ended.release()
        _thread.exit()

    engine = make_engine(run, workers=1)
    engine.submit("123")
    for _ in range(3):
        assert ended.acquire(timeout=PATIENCE)
    assert engine.idle(PATIENCE)

    assert len(engine._threads) == 1


@pytest.mark.parametrize("waiting", [[], ["2"]])
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)
def test_a_worker_that_something_has_ended_is_replaced(
    make_engine, caplog, monkeypatch, waiting
):
    work = Work()
    engine = make_engine(work, workers=1)
    engine.submit(["1"])
    work.wait_for_end()
    assert engine.idle(PATIENCE)
    (thread,) = engine._threads
    take = engine._queue.take

    def fail_once():
        engine._queue.take = take
        raise MemoryError

    engine._queue.take = fail_once
    engine.submit(waiting)
    with engine._condition:
        engine._condition.notify_all()
    thread.join(PATIENCE)
    engine.submit(["3"])
    work.wait_for_end(len(waiting) + 1)

    assert not thread.is_alive()
    assert work.sids == ["1", *waiting, "3"]
    (record,) = caplog.records
    assert record.action == "worker_replaced"


class Batches:
    """Runs batches of those that begin with a "b"."""

    def __init__(self, again=()):
        self.again = list(again)
        self.sids = []
        self.ended = threading.Semaphore(0)

    def may_batch(self, sid):
        return sid.startswith("b")

    def run(self, sids):
        self.sids.append(list(sids))
        self.ended.release()
        outcome = self.again.pop(0) if self.again else []
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def wait_for_end(self, count=1):
        for _ in range(count):
            assert self.ended.acquire(timeout=PATIENCE)


@pytest.fixture
def with_batches(make_engine):
    """Make an engine of one thread that is busy until the test says so."""

    def make(batches, **options):
        work = Work()
        work.open.clear()
        engine = make_engine(work, workers=1, **options)
        engine.use_batches(batches)
        engine.submit(["first"])
        work.wait_for_begin()
        return engine, work

    return make


def test_it_takes_those_together_that_may_be_in_a_batch(with_batches):
    batches = Batches()
    engine, work = with_batches(batches)
    engine.submit(["b1", "b2", "b3", "c", "b4", "b5"])
    work.open.set()
    batches.wait_for_end(2)

    assert batches.sids == [["b1", "b2", "b3"], ["b4", "b5"]]
    assert work.sids == ["first", "c"]


def test_one_that_waits_alone_is_in_no_batch(with_batches):
    batches = Batches()
    engine, work = with_batches(batches)
    engine.submit(["b1"])
    work.open.set()
    work.wait_for_end(2)

    assert work.sids == ["first", "b1"]


def test_those_that_are_withdrawn_are_in_none(with_batches):
    batches = Batches()
    engine, work = with_batches(batches)
    engine.submit(["b1", "b2", "b3", "b4"])
    engine.withdraw("b2")
    engine.withdraw("b4")
    work.open.set()
    batches.wait_for_end()

    assert batches.sids == [["b1", "b3"]]


def test_what_is_to_run_again_comes_before_what_waits(with_batches):
    batches = Batches([[("b2", 0.0), ("b3", 0.0), ("b1", 0.05)]])
    engine, work = with_batches(batches)
    engine.submit(["b1", "b2", "b3", "c"])
    work.open.set()
    work.wait_for_end(3)

    assert batches.sids == [["b1", "b2", "b3"], ["b2", "b3"]]
    assert work.sids == ["first", "c", "b1"]


def test_a_batch_that_raises_does_not_end_the_thread(with_batches, caplog):
    batches = Batches([SystemExit()])
    engine, work = with_batches(batches)
    engine.submit(["b1", "b2", "c"])
    work.open.set()
    work.wait_for_end(2)

    assert "The runner raised over a batch of 2 jobs" in caplog.text
    assert work.sids == ["first", "c"]
