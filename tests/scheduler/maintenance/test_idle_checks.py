"""What a process checks while it is idle does not grow with what is kept."""

import functools
import threading
import time

import pytest
import shop
import transaction
from hand_driven import Process
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import job
from pyramid_zodb_async.scheduler.maintenance import job_search, slice_checks
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover
from pyramid_zodb_async.scheduler.process import dispatch
from pyramid_zodb_async.scheduler.process.waiting import unfinished
from pyramid_zodb_async.scheduler.records import REMOVED
from pyramid_zodb_async.scheduler.slices import TREES

MONTH = 30 * 86400.0


class Loads:
    """Counts the objects that connections load, when they are closed."""

    def __init__(self):
        self.count = 0

    def closedConnection(self, connection):
        loads, _ = connection.getTransferCounts(clear=True)
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

    def __init__(self, db, lease=30):
        self.process = Process(db, lease=lease)
        this_process = self.process.scheduler.process
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
    made = Process(db, has_pages=False, lease=30)
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
    idle = Idle(db)
    schedule_each_hour(script, pass_an_hour, 3)
    few = loads_of_a_check(db, idle)
    schedule_each_hour(script, pass_an_hour, 27)
    many = loads_of_a_check(db, idle)

    assert many < few + TREES / 2


def test_a_job_of_an_old_slice_is_taken_when_it_is_due(
    db, script, pass_an_hour, pass_time
):
    first, *_ = schedule_each_hour(script, pass_an_hour, 3)
    idle = Idle(db)
    idle.check()
    assert idle.process.engine.submitted == []
    pass_time(MONTH - 3 * SPAN + 10)
    idle.check()

    assert idle.process.engine.submitted == [first]


def test_a_slice_that_another_process_opens_is_noticed(
    db, script, pass_an_hour
):
    schedule_each_hour(script, pass_an_hour, 2)
    idle = Idle(db)
    idle.check()
    schedule_each_hour(script, pass_an_hour, 2)
    at_once = script.schedule(shop.nothing)
    pass_an_hour()
    SliceExpiry(script.scheduler.process).open_and_drop()
    idle.check()

    assert idle.process.engine.submitted == [at_once]


def test_jobs_of_old_slices_are_taken_over_from_a_process_that_has_died(
    db, script, pass_an_hour
):
    dead = Process(db, lease=30)
    sids = schedule_each_hour(dead, pass_an_hour, 3, shop.nothing)
    idle = Idle(db, lease=0.3)
    pause = threading.Event()
    for _ in range(300):
        idle.check()
        if len(idle.process.engine.submitted) == 1:  # of suspects one a time
            break
        pause.wait(0.1)
    taken = [idle.process.record(sid)["runner"] for sid in sids]

    assert set(taken) == {idle.process.scheduler.process.incarnation}


def fail_first():
    """Fail, as long as the test has it fail."""
    if shop.luck and not shop.luck.pop():
        raise ValueError


@pytest.fixture
def retried_in_an_old_slice(request, db, script, pass_an_hour):
    """Give an idle process, and a job that another one has retried.

    That job has failed in a slice that is old by now, and is kept because a
    job in it is due in a month. The parameter is the lease.
    """
    other = Process(db, lease=30, timeout=9 * SPAN)
    script.schedule(remind)
    shop.luck[:] = [False]
    sid = other.schedule(fail_first)
    other.run()
    pass_an_hour()
    SliceExpiry(other.scheduler.process).open_and_drop()
    idle = Idle(db, lease=request.param)
    for _ in range(3):
        idle.check()
    transaction.begin()
    assert other.scheduler.retry(sid)
    transaction.commit()
    return idle, sid, other


@pytest.mark.parametrize("retried_in_an_old_slice", [0.3], indirect=True)
def test_a_job_that_a_dead_process_has_retried_in_an_old_slice_is_found(
    retried_in_an_old_slice,
):
    idle, sid, _ = retried_in_an_old_slice
    pause = threading.Event()
    for _ in range(300):
        idle.check()
        if idle.process.engine.submitted:
            break
        pause.wait(0.1)

    assert idle.process.engine.submitted == [sid]


# however slow the machine is, the process that has the job is not gone
@pytest.mark.parametrize("retried_in_an_old_slice", [1000], indirect=True)
def test_a_note_of_a_revival_is_read_once(retried_in_an_old_slice):
    idle, sid, other = retried_in_an_old_slice
    idle.check()
    other.run()
    assert other.view(sid).done
    idle.check()
    unfinished = idle.takeover.search._unfinished
    sids = idle.process.location.read(
        lambda store: list(unfinished.sids(store, 0.0)), []
    )

    assert sids == []


def test_a_job_that_fails_and_is_due_much_later_is_taken_at_its_time(
    db, script, pass_an_hour, pass_time, monkeypatch
):
    """The process that has run it gives it up, and may be gone by then."""
    # as it is on a storage that others can have open
    monkeypatch.setattr(dispatch, "is_for_one_process", lambda storage: False)
    shop.luck[:] = [False]
    function = job(retry_on=ValueError, backoff=MONTH)(fail_first)
    other = Process(db, lease=30)
    sid = other.schedule(function)
    pass_an_hour()
    SliceExpiry(other.scheduler.process).open_and_drop()
    idle = Idle(db, lease=1000)
    idle.check()
    other.run()
    idle.check()
    assert idle.process.record(sid)["attempt"] == 1
    assert idle.process.engine.submitted == []
    pass_time(MONTH)
    idle.check()

    assert idle.process.engine.submitted == [sid]


def test_a_slice_with_very_many_unfinished_jobs_is_followed_by_another(
    db, script, monkeypatch
):
    monkeypatch.setattr(job_search, "FULL", 20)
    idle = Idle(db)
    sids = [script.schedule(remind) for _ in range(21)]
    idle.check()
    sids.append(script.schedule(remind))
    idle.check()
    numbers = {sid.partition("-")[0] for sid in sids}

    assert len(numbers) == 2
    assert set(script.scheduler.unfinished()) == set(sids)


def test_an_old_slice_whose_last_job_is_cancelled_elsewhere_goes_in_the_end(
    db, script, pass_an_hour
):
    (sid,) = schedule_each_hour(script, pass_an_hour, 1)
    idle = Idle(db)
    for _ in range(32):
        pass_an_hour()
        idle.check()
    transaction.begin()
    assert script.scheduler.cancel(sid)
    transaction.commit()
    for _ in range(6):
        pass_an_hour()
        idle.check()
    numbers = idle.process.location.read(lambda store: list(store.slices), [])

    assert int(sid.partition("-")[0], 16) not in numbers


def test_all_slices_are_checked_at_the_start_in_several_transactions(
    db, script, pass_an_hour, monkeypatch
):
    monkeypatch.setattr(slice_checks, "PORTION", 2)
    sids = schedule_each_hour(script, pass_an_hour, 7, shop.nothing)
    idle = Idle(db)
    idle.check()

    assert set(idle.process.engine.submitted) == set(sids)


def test_a_slice_of_an_earlier_version_has_no_room_for_notes_of_revivals(
    db, script, pass_an_hour
):
    def make_old(store):
        _, newest = store.newest()
        del newest.revivals

    script.location.write(make_old, note="as an earlier version made it")
    old, *_ = schedule_each_hour(script, pass_an_hour, 1)
    script.location.write(make_old, note="as an earlier version made it")
    idle = Idle(db)
    idle.check()
    script.location.write(
        lambda store: store.newest()[1].note_revival(old, 1), note="a retry"
    )
    idle.check()

    assert idle.process.engine.submitted == []


def test_a_clock_that_is_set_back_has_all_slices_checked_again(
    db, script, pass_an_hour, pass_time
):
    (sid,) = schedule_each_hour(script, pass_an_hour, 1)
    idle = Idle(db)
    for _ in range(40):
        pass_an_hour()
    idle.check()
    transaction.begin()
    assert script.scheduler.cancel(sid)
    transaction.commit()
    pass_time(-40 * SPAN)
    idle.check()  # sets its end
    number = int(sid.partition("-")[0], 16)
    end = idle.process.location.read(
        lambda store: store.slices[number].keep_until, None
    )

    assert end is not None


def test_a_job_whose_slice_another_process_has_dropped_is_left(
    db, script, pass_an_hour
):
    other = Process(db, lease=30)
    (sid,) = schedule_each_hour(other, pass_an_hour, 1, shop.nothing)
    idle = Idle(db, lease=1000)
    idle.check()
    other.run()
    expiry = SliceExpiry(other.scheduler.process)
    for _ in range(3):
        expiry.open_and_drop()
        pass_an_hour()
    assert other.view(sid) is None
    for _ in range(2):
        idle.takeover.take_over_lost()

    assert idle.process.engine.submitted == []


def test_a_job_that_is_due_in_a_month_is_read_once_in_the_newest_slice_too(
    db, script
):
    sid = script.schedule(remind)
    idle = Idle(db)
    unfinished = idle.takeover.search._unfinished

    def sids():
        return idle.process.location.read(
            lambda store: list(unfinished.sids(store, 0.0)), []
        )

    assert sids() == [sid]
    idle.check()
    assert sids() == []


def test_of_two_processes_that_drop_a_slice_one_finds_it_gone(
    db, script, pass_an_hour, monkeypatch
):
    script.schedule(shop.nothing)
    script.scheduler.process.location.write(end_all, note="all have ended")
    one = SliceExpiry(script.scheduler.process)
    two = SliceExpiry(script.scheduler.process)
    pass_an_hour()
    for _ in range(2):
        one.open_and_drop()
    pass_an_hour()
    pass_an_hour()
    write = script.location.write
    monkeypatch.setattr(
        script.location,
        "write",
        lambda work, note: (one_drops(), write(work, note))[1],
    )

    def one_drops():
        monkeypatch.setattr(script.location, "write", write)
        one.open_and_drop()

    two.open_and_drop()

    assert (
        script.location.read(lambda store: len(store.slices), default=0) == 1
    )


def end_all(store):
    """Have all jobs removed."""
    for sid in list(store.unfinished()):
        store.change(sid, store.locate(sid).fence, state=REMOVED)


def one_by_one(process):
    process.scheduler.process.free_pages.wanted = 300
    process.takeover.shards.make_pages()
    for _ in range(300):
        process.schedule(shop.nothing)


def in_a_bulk(process):
    with transaction.manager:
        process.scheduler.many(shop.nothing, [()] * 300)


@pytest.mark.parametrize("schedule", [one_by_one, in_a_bulk])
def test_successes_are_noted_and_waited_for_without_their_records(
    db, schedule
):
    loads = Loads()
    db.setActivityMonitor(loads)
    process = Process(db)
    schedule(process)
    while process.engine.submitted:
        process.run()
    loads.count = 0
    has_ended = process.scheduler.wait(timeout=0)
    waited, loads.count = loads.count, 0
    process.takeover.shards.settle()
    noted = loads.count

    assert has_ended
    assert list(unfinished(process.scheduler.process)) == []
    assert waited < TREES + 100  # the listed jobs, and free pages
    assert noted < 20


def test_a_job_of_the_newest_slice_is_taken_once_when_it_is_due(
    db, script, pass_time
):
    sid = script.schedule(remind)
    idle = Idle(db)
    idle.check()
    pass_time(MONTH)
    idle.takeover.take_over_lost()

    assert idle.process.engine.submitted == [sid]


def test_the_end_of_a_job_leaves_the_others_of_its_slice_known(
    db, script, pass_an_hour
):
    other = Process(db, lease=30)
    for _ in range(2):
        other.schedule(shop.nothing)
    (left,) = schedule_each_hour(other, pass_an_hour, 1, shop.nothing)
    idle = Idle(db, lease=0.3)
    idle.check()
    for _ in range(2):
        other.run()
    pause = threading.Event()
    for _ in range(300):
        idle.takeover.take_over_lost()
        if idle.process.engine.submitted:
            break
        pause.wait(0.1)

    assert idle.process.engine.submitted == [left]
