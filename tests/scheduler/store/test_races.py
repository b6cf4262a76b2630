"""Whoever writes a job, a page or a shard at the same time: no job is lost."""

import contextlib
import os
import re
import threading
import time

import pytest
import shop
import transaction
import undoing
from hand_driven import Process, leased, look_until
from interleaved import Begun, in_order
from persistent.list import PersistentList
from transaction.interfaces import TransientError
from ZODB.DB import DB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError

from pyramid_zodb_async.scheduler.maintenance import (
    bulk_claims,
    shard_keeping,
)
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry
from pyramid_zodb_async.scheduler.maintenance.findings import OpenShard
from pyramid_zodb_async.scheduler.process import bulk_intake, placing
from pyramid_zodb_async.scheduler.sids import sid_of, split_sid
from pyramid_zodb_async.scheduler.store.transitions import revive


class Killed(BaseException):
    """What a process meets when it is no more, to end its threads."""


both_orders = pytest.mark.parametrize("order", ["first", "last"])


@pytest.fixture
def journal(db):
    """Give the list in the database that jobs write to."""
    connection = db.open()
    connection.root()["journal"] = journal = PersistentList()
    transaction.commit()
    yield journal
    transaction.abort()
    connection.close()


def write_down(journal, word):
    """Leave an effect."""
    journal.append(word)


def fail_first(journal, word):
    """Leave an effect, but not the first time."""
    if word not in lucky:
        raise ValueError(word)
    journal.append(word)


#: The words for which `fail_first` does not fail.
lucky = set()


@pytest.fixture(autouse=True)
def _without_luck():
    lucky.clear()


def written(journal):
    """Give what the jobs have left."""
    transaction.begin()
    return sorted(journal)


def with_pages(process):
    """Have a process make pages, if it has none."""
    process.takeover.shards.make_pages()
    return process


def run_all(*processes, times=1000):
    """Run what the engines have, until they have nothing."""
    for _ in range(times):
        for process in processes:
            if process.engine.submitted:
                run_next(process)


def run_next(process):
    """Run a job as a worker thread does, which may be killed."""
    sid, killed = process.engine.submitted.pop(0), []

    def run():
        try:
            process.runner.run(sid)
        except Killed as error:
            killed.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(shop.PATIENCE)
    assert not worker.is_alive()
    if killed:
        raise Killed


def schedule_late(process, function, *args):
    """Schedule a job in a transaction that the test is to commit."""
    transaction.begin()
    return process.scheduler.schedule(function, *args)


def open_pages(process):
    """Give the keepers and the open pages of all shards of all slices."""
    return process.location.read(
        lambda store: {
            (number, shard_number): (shard.keeper, list(shard.open))
            for number, slice_ in store.slices.items()
            for shard_number, shard in slice_.all_shards().items()
        },
        {},
    )


# -- A revival, and what its process notes of the end -------------------------


@both_orders
@pytest.mark.parametrize("is_block", [False, True])
def test_a_job_that_is_revived_while_its_end_is_noted_runs(
    processes, journal, order, is_block
):
    process = with_pages(processes())
    if is_block:
        transaction.begin()
        (sid,) = many(process, ["word"], journal, fail_first)
        transaction.commit()
    else:
        sid = process.schedule(fail_first, journal, "word")
    process.run()
    assert process.view(sid).state == "failed"
    ended = list(process.scheduler.process.to_settle)
    assert ended == [sid]
    lucky.add("word")

    def revive_job(store):
        job = store.locate(sid)
        # nobody is told of it, as if the process ended then
        revive(job, job.fence, process.scheduler.process.incarnation)

    note = Begun(
        process.location,
        lambda store: process.takeover.shards._settle(store, ended),
    )
    revival = Begun(process.location, revive_job)
    assert in_order(order, note, revival) == (True, True)
    process.stop()
    successor = processes()
    successor.take_over()
    run_all(successor)

    assert written(journal) == ["word"]
    assert successor.scheduler.unfinished() == []


# -- A process that is taken for dead, and schedules a job --------------------


def commits():
    """Commit the transaction of this thread, and tell whether that worked."""
    try:
        transaction.commit()
    except ConflictError:
        transaction.abort()
        return False
    return True


@both_orders
def test_a_job_that_is_scheduled_while_its_shard_is_adopted_runs(
    processes, journal, order, monkeypatch
):
    maker, other = with_pages(processes()), processes()
    number, (shard_number, _), *_ = split_sid(
        maker.schedule(write_down, journal, "old")
    )
    schedule_late(maker, write_down, journal, "new")
    close, committed = shard_keeping.close_empty_pages, []

    def close_late(shard):
        close(shard)
        if order == "first" and not committed:
            committed.append(commits())

    monkeypatch.setattr(shard_keeping, "close_empty_pages", close_late)
    keeper = maker.scheduler.process.incarnation
    other.takeover.shards.adopt(
        keeper, [OpenShard(number, shard_number, keeper)]
    )
    if order == "last":
        committed.append(commits())
        # the next try of the request
        maker.schedule(write_down, journal, "new")
    assert committed == [order == "first"]
    other.take_over()
    run_all(other, maker)

    assert written(journal) == ["new", "old"]
    assert other.scheduler.unfinished() == []


def test_who_was_taken_for_dead_makes_pages_of_its_own_again(
    processes, journal
):
    maker, other = with_pages(processes()), processes()
    number, (shard_number, _), *_ = split_sid(
        maker.schedule(write_down, journal, "old")
    )
    keeper = maker.scheduler.process.incarnation
    other.takeover.shards.adopt(
        keeper, [OpenShard(number, shard_number, keeper)]
    )
    # all pages that it has in memory are closed
    sid = maker.schedule(write_down, journal, "listed")
    assert isinstance(split_sid(sid).page, bytes)
    maker.takeover.shards.make_pages()
    sid = maker.schedule(write_down, journal, "new")
    _, of_new = split_sid(sid)[:2]
    found = open_pages(maker)

    assert (
        found[number, shard_number][0] == other.scheduler.process.incarnation
    )
    assert of_new[0] != shard_number
    assert found[number, of_new[0]][0] == keeper
    other.take_over()
    run_all(maker, other)
    assert written(journal) == ["listed", "new", "old"]


# -- A slice that is dropped --------------------------------------------------


class Clock:
    """A clock that can be put forward."""

    def __init__(self, monkeypatch):
        self._real = time.time
        self.ahead = 0
        monkeypatch.setattr(time, "time", lambda: self._real() + self.ahead)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def slices(process):
    """Give the numbers of the slices there are."""
    return process.location.read(lambda store: list(store.slices), [])


@both_orders
@pytest.mark.parametrize("verdict", ["set", "drop"])
def test_a_job_of_a_transaction_that_began_before_its_slice_was_dropped(
    processes, journal, clock, order, verdict
):
    process = with_pages(processes(timeout=100))
    expiry = SliceExpiry(process.scheduler.process)
    process.schedule(write_down, journal, "old")
    process.run()
    (old,) = slices(process)
    sid = schedule_late(process, write_down, journal, "new")
    clock.ahead = SPAN
    expiry.open_and_drop()
    if verdict == "drop":
        expiry.open_and_drop()
        clock.ahead += 101
    change = Begun(
        process.location,
        lambda store: expiry._open_and_drop(store, numbers=[old]),
    )
    if order == "first" and verdict == "set":
        assert (commits(), change.commits()) == (True, False)
    else:
        # a page is closed when the end of its slice is set
        assert (change.commits(), commits()) == (True, False)
    clock.ahead += SPAN + 101
    for _ in range(3):
        expiry.open_and_drop()
    run_all(process)

    is_there = order == "first" and verdict == "set"
    assert written(journal) == (["new", "old"] if is_there else ["old"])
    assert (process.view(sid) is not None) == is_there


@both_orders
@pytest.mark.parametrize("is_block", [False, True])
def test_a_revival_beside_the_drop_of_its_slice(
    processes, journal, clock, order, is_block
):
    process = with_pages(processes(timeout=2 * SPAN))
    expiry = SliceExpiry(process.scheduler.process)
    if is_block:
        transaction.begin()
        sid = process.scheduler.many(fail_first, [(journal, "word")])[0]
        transaction.commit()
    else:
        sid = process.schedule(fail_first, journal, "word")
    process.run()
    lucky.add("word")
    (old,) = slices(process)
    clock.ahead = SPAN
    expiry.open_and_drop()
    expiry.open_and_drop()
    transaction.begin()
    assert process.scheduler.retry(sid)
    clock.ahead += 2 * SPAN + 1
    drop = Begun(
        process.location,
        lambda store: expiry._open_and_drop(store, numbers=[old]),
    )
    if order == "first":
        assert (commits(), drop.commits()) == (True, False)
    else:
        assert (drop.commits(), commits()) == (True, False)
    expiry.open_and_drop()
    process.stop()
    successor = processes()
    successor.take_over()
    run_all(successor)

    assert written(journal) == ["word"] * (order == "first")


# -- Commits that raise, and succeed ------------------------------------------


class ConnectionLost(TransientError):
    """What a client of a storage raises when its server does not answer."""


@pytest.fixture
def lose_answers(monkeypatch):
    """Have commits with this in their note raise, some times.

    Returns the notes of those that did.
    """
    finish, lost = FileStorage.tpc_finish, []

    def lose(note, times=1):
        def tpc_finish(self, transaction, f=None):
            done = finish(self, transaction, f)
            said = transaction.description.decode()
            if re.search(note, said) and len(lost) < times:
                lost.append(said)
                raise ConnectionLost
            return done

        monkeypatch.setattr(FileStorage, "tpc_finish", tpc_finish)
        return lost

    return lose


def in_doubt(work, *args):
    """Have a transaction of this thread whose commit raises."""
    transaction.begin()
    transaction.get().note("a request")
    result = work(*args)
    with pytest.raises(ConnectionLost):
        transaction.commit()
    transaction.abort()
    return result


def many(process, words, journal, function=write_down):
    """Schedule a job for each word, in the transaction of the thread."""
    calls = [(journal, word) for word in words]
    return list(process.scheduler.many(function, calls))


WORDS = [f"word{number:02}" for number in range(12)]


@pytest.fixture
def small_windows(monkeypatch):
    """Have the jobs of bulks claimed by fives."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 5)
    monkeypatch.setattr(placing, "MOST_PAGES", 5)


def tend(process):
    """Do the chores of a process, and run all that it has."""
    for _ in range(10):
        process.take_over()
        process.takeover.bulks.take_in()
        run_all(process)


def test_jobs_of_a_transaction_in_doubt_run_once(
    processes, journal, lose_answers
):
    process = with_pages(processes())

    def schedule_all():
        for word in WORDS + ["more"] * 20:
            process.scheduler.schedule(write_down, journal, word)

    lose_answers("a request")
    in_doubt(schedule_all)
    assert process.engine.submitted == []
    tend(process)

    assert written(journal) == ["more"] * 20 + WORDS
    assert process.scheduler.unfinished() == []


@pytest.mark.parametrize("has_pages", [True, False])
def test_a_bulk_of_a_transaction_in_doubt_runs_once(
    processes, journal, lose_answers, small_windows, has_pages
):
    process = processes(has_pages=False)
    if has_pages:
        with_pages(process)
    lose_answers("a request")
    in_doubt(many, process, WORDS, journal)
    tend(process)

    assert written(journal) == WORDS
    assert process.scheduler.unfinished() == []


def test_what_is_in_doubt_is_looked_for_until_the_storage_answers(
    processes, journal, lose_answers, monkeypatch
):
    process = with_pages(processes())
    lose_answers("a request")
    in_doubt(process.scheduler.schedule, write_down, journal, "word")
    takeover, failures = process.takeover, [ConnectionLost(), OSError()]
    check, really_lost = takeover.search.find, takeover._really_lost

    def fail_at(number, work):
        def fail(*args):
            if len(failures) == number:
                raise failures.pop()
            return work(*args)

        return fail

    monkeypatch.setattr(takeover.search, "find", fail_at(2, check))
    monkeypatch.setattr(takeover, "_really_lost", fail_at(1, really_lost))
    for error in (OSError, ConnectionLost):
        with pytest.raises(error):
            process.take_over()
    tend(process)

    assert written(journal) == ["word"]


@both_orders
@pytest.mark.parametrize("is_block", [False, True])
def test_a_commit_in_doubt_that_comes_after_the_look_is_not_lost(
    processes, journal, order, is_block
):
    """The server may be at it still when another connection looks."""
    process = with_pages(processes())
    transaction.begin()
    if is_block:
        sids = many(process, WORDS, journal)
    else:
        sids = [process.scheduler.schedule(write_down, journal, WORDS[0])]
    look = Begun(
        process.location,
        lambda store: process.takeover.shards._settle(store, sids),
    )
    if order == "first":
        assert (commits(), look.commits()) == (True, False)
    else:
        assert (look.commits(), commits()) == (True, False)
    process.stop()
    successor = processes()
    tend(successor)

    expected = WORDS if is_block else WORDS[:1]
    assert written(journal) == (expected if order == "first" else [])


def test_pages_whose_making_is_in_doubt_hinder_nobody(
    processes, journal, lose_answers
):
    process = processes(has_pages=False)
    pages = process.scheduler.process.free_pages
    lost = lose_answers("pages for jobs", times=2)
    for _ in range(2):
        while len(pages):
            process.schedule(shop.nothing)
        with_pages(process)
        process.schedule(write_down, journal, "word")
    assert len(lost) == 2
    tend(process)
    assert written(journal) == ["word", "word"]
    process.schedule(write_down, journal, "another")
    process.stop()
    successor = processes()
    tend(successor)

    assert written(journal) == ["another", "word", "word"]
    assert successor.scheduler.unfinished() == []


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("is_shared", [False, True])
def test_the_jobs_of_a_window_whose_claim_is_in_doubt_run_once(
    processes, journal, lose_answers, small_windows, times, is_shared
):
    process = with_pages(processes())
    if is_shared:
        process.takeover = leased(process)
    lost = lose_answers("takes jobs$", times=times)
    transaction.begin()
    many(process, WORDS * 2, journal)
    transaction.commit()
    tend(process)

    assert len(lost) == times
    assert written(journal) == sorted(WORDS * 2)
    assert process.scheduler.unfinished() == []


@pytest.mark.parametrize(
    "note", [" keeps the shards of ", " takes jobs over "]
)
def test_jobs_run_once_whose_takeover_is_in_doubt(
    processes, journal, lose_answers, small_windows, note
):
    gone = with_pages(processes())
    transaction.begin()
    many(gone, WORDS, journal)
    gone.scheduler.schedule(write_down, journal, "single")
    transaction.commit()
    gone.stop()
    lost = lose_answers(note)
    process = processes()
    tend(process)

    assert len(lost) == 1
    assert written(journal) == ["single", *WORDS]
    assert process.scheduler.unfinished() == []


# -- A process that is killed between any two of its commits ------------------


#: After how many commits a process is killed first, and how many more it
#: makes each time: all of them, if somebody says so.
FIRST_KILL, KILLS_APART = (1, 1) if os.environ.get("KILLS") else (3, 7)


class Life:
    """The commits of a process that may be killed after some of them.

    Args:
        monkeypatch: that of the test.
        commits: how many it makes; without it, it lives.
    """

    def __init__(self, monkeypatch, commits):
        self.left = commits
        begin, finish = DemoStorage.tpc_begin, DemoStorage.tpc_finish

        def tpc_begin(storage, *args, **named_args):
            if self.left == 0:
                raise Killed
            return begin(storage, *args, **named_args)

        def tpc_finish(storage, *args):
            done = finish(storage, *args)
            if self.left is not None:
                self.left -= 1
            return done

        monkeypatch.setattr(DemoStorage, "tpc_begin", tpc_begin)
        monkeypatch.setattr(DemoStorage, "tpc_finish", tpc_finish)

    def of(self, work):
        """Live until work is done, and tell whether that was so."""
        with contextlib.suppress(Killed):
            work()
        was_killed, self.left = self.left == 0, None
        return not was_killed


def schedule_some(process, journal):
    """Schedule single jobs, bulks, and many jobs in a transaction."""
    transaction.begin()
    process.scheduler.schedule(write_down, journal, "single")
    transaction.commit()
    transaction.begin()
    many(process, WORDS, journal)
    for number in range(8):
        process.scheduler.schedule(write_down, journal, f"one{number:02}")
    transaction.commit()


ALL_WORDS = ["single", *WORDS] + [f"one{number:02}" for number in range(8)]


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_process_may_be_killed_after_each_of_its_commits(
    monkeypatch, small_windows, is_shared
):
    """As it schedules, runs, and takes over what the one before has left."""
    commits, finished = FIRST_KILL, False
    while not finished:
        with (
            contextlib.closing(DB(DemoStorage())) as db,
            monkeypatch.context() as patch,
        ):
            finished = live_after(db, patch, commits, is_shared)
        commits += KILLS_APART
    assert commits > 50


def live_after(db, monkeypatch, commits, is_shared):
    """Kill a process that takes over, after so many commits.

    Returns whether it came to its end before.
    """
    life = Life(monkeypatch, None)
    with db.transaction() as connection:
        connection.root()["journal"] = PersistentList()
    connection = db.open()
    journal = connection.root()["journal"]
    gone = with_pages(Process(db))
    schedule_some(gone, journal)
    for _ in range(3):
        gone.run()
    gone.stop()
    process = Process(db)

    def live():
        life.left = commits
        with_pages(process)
        process.take_over()
        run_all(process, times=5)
        schedule_some(process, journal)
        for _ in range(5):
            process.take_over()
            process.takeover.bulks.take_in()
            run_all(process)

    if is_shared:
        process.takeover = leased(process, lease=0.001)
    finished = life.of(live)
    transaction.abort()
    process.stop()
    successor = Process(db)
    if is_shared:
        successor.takeover = leased(successor, lease=0.001)
    tend(successor)
    words = written(journal)
    assert [word for word in ALL_WORDS if word not in words] == []
    # what each of the two has scheduled ran once
    assert max(words.count(word) for word in set(words)) <= 2
    assert words.count("single") == 2 or not finished
    assert successor.scheduler.unfinished() == []
    successor.stop()
    transaction.abort()
    connection.close()
    return finished


# -- A process that was silent, and lives on ----------------------------------


def shares(process, lease=0.001):
    """Have a process be as it is on a storage that others have open too."""
    process.takeover = leased(process, lease)
    return process


@pytest.mark.parametrize("claims", [0, 1, 2])
def test_jobs_run_whose_second_process_is_killed_while_the_first_one_lives(
    processes, journal, small_windows, claims
):
    first = with_pages(shares(processes()))
    second = shares(processes())
    transaction.begin()
    many(first, WORDS, journal)
    single = first.scheduler.schedule(write_down, journal, "single")
    for _ in range(8):
        first.scheduler.schedule(write_down, journal, "one")
    transaction.commit()
    for _ in range(claims):
        first.takeover.bulks.take_in()
        run_all(first, times=2)
    taken = second.scheduler.process.assigned_jobs
    look_until(second.takeover, lambda: single in taken and len(taken) > 10)
    second.stop()
    tend(first)
    tend(first)

    assert written(journal) == ["one"] * 8 + ["single", *WORDS]
    assert first.scheduler.unfinished() == []


def test_the_last_window_of_a_bulk_is_not_lost_with_who_has_claimed_it(
    processes, journal, small_windows
):
    first = with_pages(shares(processes()))
    second = shares(processes(), lease=30)
    transaction.begin()
    many(first, WORDS[:10], journal)
    transaction.commit()
    second.take_over()
    second.takeover.bulks.take_in()
    assert len(second.scheduler.process.assigned_jobs) == 5
    second.stop()
    tend(first)

    assert written(journal) == WORDS[:10]
    assert first.scheduler.unfinished() == []


# -- What is left when all have ended -----------------------------------------


@pytest.mark.parametrize("has_pages", [True, False])
def test_a_block_that_is_over_does_not_keep_its_slice(
    processes, journal, clock, small_windows, has_pages
):
    """Though a process was killed before it noted the ends of its jobs."""
    first = shares(processes(timeout=100, has_pages=False))
    if has_pages:
        with_pages(first)
    second = shares(processes(timeout=100))
    transaction.begin()
    sids = many(first, WORDS, journal)
    transaction.commit()
    first.takeover.bulks.take_in()
    # some end elsewhere, before anybody has claimed them
    transaction.begin()
    script = processes(timeout=100)
    script.stop()
    for sid in sids[10:]:
        assert script.scheduler.cancel(sid)
    transaction.commit()
    run_all(first, times=3)
    first.stop()
    tend(second)
    assert second.scheduler.unfinished() == []
    assert written(journal) == WORDS[:10]
    expiry = SliceExpiry(second.scheduler.process)
    for _ in range(4):
        clock.ahead += SPAN
        expiry.open_and_drop()
        second.take_over()

    assert split_sid(sids[0]).number not in slices(second)


# -- An undo that a process meets while its storage is away -------------------


def test_what_was_undone_is_looked_for_until_the_storage_answers(
    processes, journal, db, monkeypatch
):
    process = with_pages(processes())
    sid = process.schedule(write_down, journal, "word")
    process.run()
    process.take_over()  # so it is closed
    undoing.undo(db, f"job {sid}, ")
    # somebody looks at it
    process.scheduler.process.to_settle.append(sid)
    failures, end = [ConnectionLost()], process.takeover._undone.end

    def fail_first_time(jobs, **options):
        if jobs and failures:
            raise failures.pop()
        return end(jobs, **options)

    monkeypatch.setattr(process.takeover._undone, "end", fail_first_time)
    with pytest.raises(ConnectionLost):
        process.take_over()
    tend(process)

    assert process.view(sid).state == "cancelled"
    assert written(journal) == []


# -- What is dropped here, and a storage that fails ---------------------------


def test_what_some_batches_have_found_is_kept_when_another_fails(
    processes, journal, lose_answers, monkeypatch
):
    monkeypatch.setattr(shard_keeping, "BATCH", 1)
    process = with_pages(processes())
    lose_answers("a request")

    def schedule_some():
        for word in WORDS[:4]:
            process.scheduler.schedule(write_down, journal, word)

    in_doubt(schedule_some)
    write, failures = process.location.write, [ConnectionLost()]

    def fail_once(work, note):
        if note == "jobs that have ended" and len(written_by) == 2:
            written_by.append(None)
            raise failures.pop()
        written_by.append(note)
        return write(work, note)

    written_by = []
    monkeypatch.setattr(process.location, "write", fail_once)
    with pytest.raises(ConnectionLost):
        process.take_over()
    tend(process)

    assert written(journal) == WORDS[:4]


def test_a_shard_that_is_not_there_any_more_stops_no_look(processes, journal):
    """The database was put back to an older state."""
    process = with_pages(processes())
    sid = process.schedule(write_down, journal, "word")
    number, *_ = split_sid(sid)
    process.scheduler.process.to_settle.append(
        sid_of(number, (99, 7), b"s" * 16)
    )
    process.take_over()
    run_all(process)

    assert list(process.scheduler.process.to_settle) == [split_sid(sid)]
    assert written(journal) == ["word"]
