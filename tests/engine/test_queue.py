"""Jobs come out of the queue in their order, and at their times."""

import time

import pytest

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
