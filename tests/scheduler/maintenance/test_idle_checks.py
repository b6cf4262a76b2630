"""What a process checks while it is idle does not grow with what is kept."""

import functools
import time

import pytest
import transaction
from hand_driven import Process
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import job
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover
from pyramid_zodb_async.scheduler.slices import TREES

MONTH = 30 * 86400.0


class Loads:
    """Counts the objects that connections load, when they are closed."""

    def __init__(self):
        self.count = 0

    def closedConnection(self, connection):  # noqa: N802 - ZODB's name
        loads, _ = connection.getTransferCounts(True)
        self.count += loads


@pytest.fixture
def db(tmp_path):
    """Give a database whose connections keep few objects in memory."""
    database = DB(FileStorage(str(tmp_path / "Test.fs")), cache_size=10)
    yield database
    transaction.abort()
    database.close()


@pytest.fixture
def pass_time(monkeypatch):
    """Let the clock go on by some seconds."""
    ahead, real = [0.0], time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead[0])

    def go_on(seconds):
        ahead[0] += seconds

    return go_on


@pytest.fixture
def pass_an_hour(pass_time):
    """Let the clock go on by the time of a slice."""
    return functools.partial(pass_time, SPAN)


class Idle:
    """A process on a storage that others can have open, without a job."""

    def __init__(self, db):
        process = Process(db, lease=30)
        self.process = process
        this_process = process.scheduler.process
        this_process.is_shared = True
        self.takeover = Takeover(this_process)
        self.expiry = SliceExpiry(this_process)

    def check(self):
        """Do what is done three times in a lease."""
        self.takeover.take_over_lost()
        self.expiry.open_and_drop()


@job(delay=MONTH)
def remind():
    """Be due in a month."""


@pytest.fixture
def script(db):
    """Give a process that schedules jobs, and runs none."""
    made = Process(db, lease=30)
    made.stop()
    return made


def schedule_each_hour(script, pass_an_hour, number, function=remind):
    """Schedule a job in each of some hours, and so in as many slices."""
    expiry = SliceExpiry(script.scheduler.process)
    sids = []
    for _ in range(number):
        sids.append(script.schedule(function))
        pass_an_hour()
        expiry.open_and_drop()
    return sids


def loads_of_a_check(db, idle):
    """Count what an idle process loads each time."""
    loads = Loads()
    db.setActivityMonitor(loads)
    for _ in range(3):  # until all is known
        loads.count = 0
        idle.check()
    db.setActivityMonitor(None)
    return loads.count


def test_a_check_loads_no_more_because_of_jobs_that_are_due_in_a_month(
    db, script, pass_an_hour
):
    schedule_each_hour(script, pass_an_hour, 3)
    few = loads_of_a_check(db, Idle(db))
    schedule_each_hour(script, pass_an_hour, 27)
    many = loads_of_a_check(db, Idle(db))

    assert many < few + TREES / 2
