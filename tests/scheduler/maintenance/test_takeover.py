"""Jobs that nobody runs any more are found, and taken over."""

import threading
import time
import types

import pytest
import shop
from hand_driven import leased, look_until

from pyramid_zodb_async import JobError, job
from pyramid_zodb_async.events import JobFailed
from pyramid_zodb_async.execution.subscribers import Announcer
from pyramid_zodb_async.scheduler.maintenance import (
    heartbeat,
    lost_jobs,
    takeover,
)
from pyramid_zodb_async.scheduler.maintenance.heartbeat import FORGOTTEN_AFTER


def test_jobs_of_a_process_that_has_gone_run_in_the_next(processes):
    gone = processes()
    sids = [gone.schedule(shop.give, number) for number in range(120)]
    process = processes()
    process.take_over()
    while process.engine.submitted:
        process.run()

    assert [process.view(sid).result for sid in sids] == list(range(120))
    assert process.scheduler.unfinished() == []


def test_jobs_of_ones_own_are_not_taken_over(processes):
    process = processes()
    sid = process.schedule(shop.nothing)
    process.take_over()

    assert process.engine.submitted == [sid]
    assert "run_number" not in process.record(sid)


def test_a_job_that_was_not_handed_over_is_found(processes):
    """Its commit has raised in this process, and succeeded all the same."""
    process = processes()
    sid = process.schedule(shop.give, "found")
    process.scheduler.process.assigned_jobs.drop(sid)
    process.engine.submitted.clear()
    process.take_over()
    process.run()

    assert process.view(sid).result == "found"
    assert not process.view(sid).failure


def test_a_job_without_a_runner_is_not_suspect(processes):
    script = processes()
    script.stop()
    sid = script.schedule(shop.nothing)
    process = processes()
    process.take_over()

    assert "suspect" not in process.record(sid)


def test_jobs_of_a_script_run_in_the_order_in_which_they_were_scheduled(
    processes,
):
    script, process = processes(has_pages=False), processes()
    script.scheduler.process.dispatcher.runs_jobs = False
    sids = [script.schedule(shop.nothing) for _ in range(30)]
    process.take_over()

    assert process.engine.submitted == sids


def test_jobs_that_were_not_handed_over_do_so_too(processes):
    process = processes(has_pages=False)
    sids = [process.schedule(shop.nothing) for _ in range(30)]
    for sid in sids:
        process.scheduler.process.assigned_jobs.drop(sid)
    process.engine.submitted.clear()
    process.take_over()

    assert process.engine.submitted == sids


def end_process():
    """Stand for a function that ends its process."""


def test_two_processes_do_not_take_the_same_jobs(processes):
    gone = processes()
    for _ in range(130):
        gone.schedule(shop.nothing)
    rivals = [processes() for _ in range(2)]
    together = threading.Barrier(2)

    def take_over(rival):
        together.wait(60)
        rival.take_over()

    threads = [
        threading.Thread(target=take_over, args=[rival]) for rival in rivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    # on a storage for one process each takes from the other what it can
    runners = [rival.scheduler.process.incarnation for rival in rivals]
    unfinished = rivals[0].scheduler.unfinished()
    owners = [rivals[0].record(sid)["runner"] for sid in unfinished]

    assert len(owners) == 130
    assert set(owners) <= set(runners)


def test_a_look_leaves_alone_what_ends_in_the_meantime(processes, monkeypatch):
    process = processes()
    process.schedule(shop.nothing)
    find = process.takeover.search._find

    def find_late(store):
        process.run()
        return find(store)

    monkeypatch.setattr(process.takeover.search, "_find", find_late)
    process.take_over()

    assert process.engine.submitted == []


# with a lease


def test_a_silent_runner_loses_its_jobs(processes):
    silent, process = processes(), processes()
    sid = silent.schedule(shop.nothing)
    takeover = leased(process)
    takeover.take_over_lost()
    assert process.engine.submitted == []
    look_until(takeover, lambda: process.engine.submitted)

    assert process.record(sid)["suspect"]


def test_a_runner_that_gives_signs_keeps_its_jobs(processes):
    alive, process = processes(), processes()
    alive.schedule(shop.nothing)
    signs = leased(alive)
    looks = []
    look_until(
        leased(process),
        lambda: looks.append(1) or len(looks) == 12,
        between=signs.heartbeat.beat,
    )

    assert process.engine.submitted == []


def test_a_runner_without_jobs_gives_no_signs(processes, db):
    process = processes()
    before = db.lastTransaction()
    leased(process).heartbeat.beat()
    assert db.lastTransaction() == before
    process.schedule(shop.nothing)
    before = db.lastTransaction()
    leased(process).heartbeat.beat()

    assert db.lastTransaction() > before


def test_a_look_that_fails_is_told_and_counts_for_nothing(
    processes, monkeypatch
):
    silent, process = processes(), processes()
    silent.schedule(shop.nothing)
    takeover = leased(process, lease=0.2)

    def fail(store, default):
        raise OSError("the storage is away")

    for _ in range(5):
        with monkeypatch.context() as patched:
            patched.setattr(process.location, "read", fail)
            with pytest.raises(OSError, match="away"):
                takeover.take_over_lost()
        takeover.take_over_lost()
        threading.Event().wait(0.1)

    assert process.engine.submitted == []


def test_signs_of_life_do_not_pile_up(processes):
    process = processes()
    for _ in range(3):
        ended = processes()
        ended.schedule(shop.nothing)
        leased(ended).heartbeat.beat()
        ended.run()
    unfinished = processes()
    unfinished.schedule(shop.nothing)
    leased(unfinished, lease=1000).heartbeat.beat()
    takeover = leased(process, lease=1000)
    for _ in range(FORGOTTEN_AFTER + 2):
        takeover.take_over_lost()
    left = process.location.read(lambda store: list(store.runners), [])

    assert left == ["", unfinished.scheduler.process.incarnation]


def test_a_look_that_fails_where_there_is_no_lease_is_told_too(
    processes, monkeypatch
):
    process = processes()

    def fail(work, default):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(process.location, "read", fail)
        with pytest.raises(OSError, match="away"):
            process.take_over()


def test_a_long_takeover_gives_signs_of_life(processes, monkeypatch):
    script = processes()
    script.stop()
    for _ in range(7):
        script.schedule(shop.nothing)
    process = processes(lease=30)
    process.takeover = leased(process, lease=30)
    now = [1000.0]
    write = process.location.write

    def write_slowly(work, note):
        now[0] += 5 * ("takes jobs over" in note)
        return write(work, note)

    monkeypatch.setattr(lost_jobs, "BATCH", 1)
    clock = types.SimpleNamespace(monotonic=lambda: now[0], time=time.time)
    for module_of_time in (heartbeat, takeover):
        monkeypatch.setattr(module_of_time, "time", clock)
    monkeypatch.setattr(process.location, "write", write_slowly)
    process.takeover.heartbeat.beat()
    process.take_over()
    runner = process.scheduler.process.incarnation
    monkeypatch.undo()

    assert len(process.scheduler.process.assigned_jobs) == 7
    # for the takeover of each took 5 s, and a third of the lease is 10 s
    assert (
        process.location.read(lambda store: store.runners[runner].count, 0)
        == 3
    )


def test_without_takeovers_a_process_finds_what_was_not_handed_over(processes):
    process = processes()
    other = processes().schedule(shop.nothing)
    sid = process.schedule(shop.give, "found")
    process.scheduler.process.assigned_jobs.drop(sid)
    process.engine.submitted.clear()
    process.takeover.find_unassigned()

    assert process.engine.submitted == [sid]
    assert other not in process.scheduler.process.assigned_jobs


class Telling(Announcer):
    """Notes what there is to tell."""

    def __init__(self):
        self.told = []

    def has_subscribers(self, kind):
        return True

    def announce(self, kind, job):
        self.told.append((kind, job))


def test_a_job_that_is_given_up_is_told_as_failed(processes):
    sid = processes().schedule(job(attempts=1)(end_process))
    first = processes()
    first.take_over()
    assert first.scheduler.claim(sid) is not None
    second = processes()
    telling = second.scheduler.commit_queue.announcer = Telling()
    second.take_over()
    ((kind, view),) = telling.told

    assert kind is JobFailed
    assert view.sid == sid
    assert view.failure.type == "JobCrashed"
    assert view.failure.message == "The process ended once while the job ran"


def test_failed_attempts_and_crashes_count_together(processes):
    shop.luck[:] = [False]
    decorated = job(attempts=2, retry_on=JobError, backoff=0)(try_badly)
    sid = processes().schedule(decorated)
    first = processes()
    first.take_over()
    first.run()
    assert first.view(sid).attempt == 1
    second = processes()
    second.take_over()
    assert second.scheduler.claim(sid) is not None
    third = processes()
    third.take_over()

    assert third.view(sid).failure.type == "JobCrashed"


def try_badly():
    """Fail in a way that is tried again."""
    raise JobError("bad luck")
