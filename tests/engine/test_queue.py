"""Jobs come out of the queue in their order, and at their times."""

import sys
import time

import pytest

from pyramid_zodb_async.concurrency.moments import EndOfPause
from pyramid_zodb_async.engine import queue
from pyramid_zodb_async.engine.queue import Entry, JobQueue


class Clocks:
    """The two clocks, for a test to set."""

    def __init__(self):
        self.wall, self.counted = 1000.0, 50.0

    def time(self):
        return self.wall

    def monotonic(self):
        return self.counted

    def pass_by(self, seconds):
        self.wall += seconds
        self.counted += seconds


@pytest.fixture
def clocks(monkeypatch):
    made = Clocks()
    monkeypatch.setattr(queue, "time", made)
    return made


def take_all(jobs):
    """Take what is due."""
    taken = []
    while entry := jobs.take():
        taken.append(entry.sid)
    return taken


def test_the_most_urgent_comes_first_and_equals_in_their_order():
    jobs = JobQueue()
    for sid, priority in [("b", 0), ("d", -2), ("a", 7), ("c", 0)]:
        jobs.put(Entry(sid, priority))

    assert len(jobs) == 4
    assert take_all(jobs) == ["a", "b", "c", "d"]
    assert jobs.pause() is None


def test_a_job_waits_for_its_moment(clocks):
    jobs = JobQueue()
    jobs.put(Entry("later"), due=1003.0)
    assert take_all(jobs) == []
    assert jobs.pause() == 3.0
    clocks.pass_by(3)

    assert jobs.pause() == 0
    assert take_all(jobs) == ["later"]


def test_an_urgent_job_goes_before_others_once_it_is_due(clocks):
    jobs = JobQueue()
    jobs.put(Entry("urgent", 9), due=1002.0)
    jobs.put(Entry("first"))
    assert jobs.take().sid == "first"
    jobs.put(Entry("second"))
    clocks.pass_by(2)

    assert take_all(jobs) == ["urgent", "second"]


def test_a_job_that_rests_does_not_heed_the_clock_on_the_wall(clocks):
    jobs = JobQueue()
    jobs.rest(Entry("resting"), 2)
    clocks.wall -= 3600
    clocks.pass_by(2)

    assert take_all(jobs) == ["resting"]


def test_a_clock_that_is_put_forward_is_noticed_soon(clocks):
    jobs = JobQueue()
    jobs.put(Entry("later"), due=1000.0 + 3600)
    assert jobs.pause() == queue.CLOCK_TRUST
    clocks.wall += 3600

    assert take_all(jobs) == ["later"]


def test_a_clock_that_is_put_back_delays_a_job(clocks):
    jobs = JobQueue()
    jobs.put(Entry("later"), due=1002.0)
    clocks.wall -= 3600
    clocks.pass_by(10)

    assert take_all(jobs) == []


def test_the_pause_ends_with_whatever_comes_first(clocks):
    jobs = JobQueue()
    jobs.put(Entry("later"), due=1002.0)
    jobs.rest(Entry("resting"), 1)

    assert jobs.pause() == 1


def test_a_job_is_removed_wherever_it_waits():
    jobs = JobQueue()
    jobs.put(Entry("1"))
    jobs.put(Entry("2"), due=time.time() + 60)
    jobs.rest(Entry("3"), 60)
    for sid in ("1", "2", "3", "unknown"):
        jobs.remove(sid)

    assert len(jobs) == 0


def test_a_pause_ends_when_the_monotonic_clock_says_so(clocks):
    """The other clock was ahead when the pause began."""
    jobs = JobQueue()
    jobs.put(Entry("paused"), due=EndOfPause(88_000.0, 53.0))
    assert take_all(jobs) == []
    assert jobs.pause() == 3.0
    clocks.pass_by(3)

    assert take_all(jobs) == ["paused"]
    assert jobs.pause() is None
    assert len(jobs) == 0


def test_a_pause_ends_when_the_wall_clock_says_so(clocks):
    """The machine has slept meanwhile."""
    jobs = JobQueue()
    jobs.put(Entry("paused"), due=EndOfPause(1003.0, 53.0))
    clocks.wall += 3

    assert take_all(jobs) == ["paused"]
    clocks.pass_by(9)
    assert take_all(jobs) == []


def test_a_moment_is_one_of_the_wall_clock_only(clocks):
    jobs = JobQueue()
    jobs.put(Entry("at"), due=1003.0)
    clocks.counted += 9

    assert take_all(jobs) == []


def test_what_was_removed_is_gone_from_each_place(clocks):
    jobs = JobQueue()
    jobs.put(Entry("gone"))
    jobs.put(Entry("gone"), due=1003.0)
    jobs.put(Entry("gone"), due=EndOfPause(1002.0, 52.0))
    jobs.rest(Entry("gone"), 1)
    jobs.put(Entry("left"), due=1004.0)
    jobs.remove("gone")

    assert len(jobs) == 1
    assert jobs.ready() == 0
    assert jobs.pause() == 4.0
    jobs.put(Entry("gone"))
    assert take_all(jobs) == ["gone"]
    clocks.pass_by(9)
    assert take_all(jobs) == ["left"]


def test_what_was_removed_takes_no_room_for_long():
    jobs = JobQueue()
    for number in range(3000):
        jobs.put(Entry(str(number)), due=1e12 + number)
        jobs.rest(Entry(str(number)), 1e6)
        jobs.remove(str(number))

    assert len(jobs._scheduled) + len(jobs._resting) < 300


def test_what_was_removed_from_a_line_takes_no_room_for_long():
    jobs = JobQueue()
    jobs.put(Entry("first"))
    for number in range(3000):
        jobs.put(Entry(str(number)))
        jobs.remove(str(number))
    (line,) = jobs._lines.values()

    assert len(line._sids) < 150
    assert take_all(jobs) == ["first"]
    assert len(line._sids) == 0
    assert jobs._places == {}


def test_a_job_is_removed_from_the_middle_of_its_line():
    jobs = JobQueue()
    for sid in "abacada":
        jobs.put(Entry(sid))
    jobs.put(Entry("a", 3))
    jobs.remove("a")
    jobs.remove("c")
    jobs.put(Entry("a"))

    assert len(jobs) == jobs.ready() == 3
    assert take_all(jobs) == ["b", "d", "a"]
    assert len(jobs) == 0


def test_lines_of_many_priorities_take_no_room_for_long():
    jobs = JobQueue()
    for priority in range(300):
        jobs.put(Entry(str(priority), priority))
    jobs.remove("7")
    others = [str(number) for number in reversed(range(300)) if number != 7]

    assert take_all(jobs) == others
    assert len(jobs._lines) <= queue.MOST_LINES
    assert jobs._priorities == []


def test_a_job_keeps_its_queue_wherever_it_waits(clocks):
    jobs = JobQueue()
    jobs.put(Entry("a", queue="mail"))
    jobs.put(Entry("a", queue="mail"), due=1002.0)
    jobs.rest(Entry("b", queue="mail"), 3)
    jobs.put(Entry("c", queue="gone"))
    jobs.remove("c")
    jobs.put(Entry("c"))

    assert jobs.take() == Entry("a", queue="mail")
    assert jobs.take() == Entry("c")
    clocks.pass_by(3)
    assert jobs.take() == Entry("b", queue="mail")
    assert jobs.take() == Entry("a", queue="mail")
    assert jobs._queues == {}


def test_to_remove_a_job_costs_the_same_beside_many_others():
    """Counted, not timed: a heap of so many is not even looked through."""
    few, many = lines_of_a_removal(10), lines_of_a_removal(10_000)

    assert many == few


def lines_of_a_removal(others):
    """Count the lines of Python that the removal of a job takes."""
    jobs = JobQueue()
    for number in range(others):
        jobs.put(Entry(str(number)), due=1e12 + number)
    lines = []

    def trace(frame, event, _):
        if frame.f_code.co_filename == queue.__file__:
            lines.append(frame.f_lineno)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        jobs.remove("5")
    finally:
        sys.settrace(before)
    return lines


def test_a_job_that_was_added_twice_is_taken_twice():
    jobs = JobQueue()
    for _ in range(2):
        jobs.put(Entry("twice"))
    assert jobs.take().sid == "twice"
    assert len(jobs) == 1
    assert take_all(jobs) == ["twice"]
    jobs.remove("twice")

    assert len(jobs) == 0
