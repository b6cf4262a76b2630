"""Processes that were silent, and what becomes of their jobs."""

import pytest
import shop
import transaction
from hand_driven import leased, look_until

from pyramid_zodb_async.scheduler.maintenance import heartbeat, takeover
from pyramid_zodb_async.scheduler.maintenance.findings import Findings
from pyramid_zodb_async.scheduler.maintenance.heartbeat import FORGOTTEN_AFTER
from pyramid_zodb_async.scheduler.maintenance.job_search import JobSearch
from pyramid_zodb_async.scheduler.maintenance.lost_jobs import LostJob
from pyramid_zodb_async.scheduler.store.crash_counts import (
    MOST_SURVIVALS,
    Death,
)


class Clock:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now

    def time(self):
        return 1e9 + self.now


@pytest.fixture
def clock(monkeypatch):
    """Give the clock by which takeovers are done, and silence is measured."""
    made = Clock()
    for module in (heartbeat, takeover):
        monkeypatch.setattr(module, "time", made)
    return made


def take_over_at_once(process, sid):
    """Have a process take a job over from one that it takes for dead."""
    process.take_over()
    assert process.record(sid)["runner"] == incarnation_of(process)


def incarnation_of(process):
    return process.scheduler.process.incarnation


def beat_of(process, name="count"):
    """Give what others see of the beat of a process."""

    def read(store):
        beat = store.runners.get(incarnation_of(process))
        return beat and getattr(beat, name)

    return process.location.read(read, None)


# what a process has in memory and others have taken over


def test_a_job_that_runs_and_was_taken_over_is_let_go_at_the_next_check(
    processes, gate
):
    first, second = processes(), processes()
    sid = first.schedule(shop.wait_at, "gate")
    run = shop.Answer(first.run, sid)
    gate.wait_for_job()
    take_over_at_once(second, sid)
    first.take_over()
    record = first.record(sid)
    jobs = first.scheduler.process.assigned_jobs
    gate.open()
    run.join(shop.PATIENCE)

    # it has it again, for on this storage the other one is gone
    assert record["runner"] == incarnation_of(first)
    assert jobs.get(sid).fence.run_number == record["run_number"]
    assert first.engine.submitted == [sid, sid]


def test_a_process_without_takeovers_lets_it_go_as_well(processes, gate):
    first, second = processes(), processes()
    sid = first.schedule(shop.wait_at, "gate")
    run = shop.Answer(first.run, sid)
    gate.wait_for_job()
    take_over_at_once(second, sid)
    first.takeover.find_unassigned()
    jobs = first.scheduler.process.assigned_jobs
    gate.open()
    run.join(shop.PATIENCE)

    assert sid not in jobs
    assert jobs.running() == []


def test_a_job_that_runs_and_was_removed_elsewhere_is_let_go(processes, gate):
    first, second = processes(), processes()
    sid = first.schedule(shop.wait_at, "gate")
    run = shop.Answer(first.run, sid)
    gate.wait_for_job()
    with transaction.manager:
        second.scheduler.remove(sid)
    first.take_over()
    jobs = first.scheduler.process.assigned_jobs
    gate.open()
    run.join(shop.PATIENCE)

    assert sid not in jobs


def test_a_check_reads_no_records_of_jobs_that_only_wait(
    processes, monkeypatch
):
    process = processes()
    for _ in range(5):
        process.schedule(shop.nothing)
    read = []

    def look(store):
        locate = store.locate
        store.__dict__["locate"] = lambda sid: read.append(sid) or locate(sid)
        try:
            return JobSearch._find(process.takeover.search, store)
        finally:
            del store.__dict__["locate"]

    monkeypatch.setattr(process.takeover.search, "_find", look)
    process.take_over()
    assert read == []
    run = process.scheduler.claim(process.engine.submitted[0])
    process.take_over()
    run.close()

    assert read == [run.sid]


def test_after_a_silence_those_that_wait_are_let_go_too(processes, clock):
    first, second = processes(), processes()
    takeover = leased(first, lease=30)
    sid = first.schedule(shop.nothing)
    takeover.heartbeat.beat()
    take_over_at_once(second, sid)
    takeover.take_over_lost()
    jobs = first.scheduler.process.assigned_jobs
    assert sid in jobs
    clock.now += 30
    takeover.heartbeat.beat()
    takeover.take_over_lost()

    assert sid not in jobs
    assert second.scheduler.process.assigned_jobs.get(sid)


# leases


def test_a_process_tells_its_lease_with_its_first_sign(processes):
    process = processes()
    takeover = leased(process, lease=30)
    process.schedule(shop.nothing)
    takeover.heartbeat.beat()

    assert beat_of(process, "lease") == 30


def test_the_first_job_has_a_process_give_a_sign_at_once(processes):
    process = processes()
    woken = []
    jobs = process.scheduler.process.assigned_jobs
    jobs.wake_maintenance = lambda: woken.append(len(jobs))
    process.schedule(shop.nothing)
    assert woken == []
    jobs.needs_sign = True
    process.schedule(shop.nothing)
    assert woken == [2]
    leased(process).heartbeat.beat()
    process.schedule(shop.nothing)

    assert woken == [2]


def test_after_a_long_time_without_jobs_it_does_so_again(processes, clock):
    """Others may have removed its beat."""
    process = processes()
    takeover = leased(process, lease=30)
    jobs = process.scheduler.process.assigned_jobs
    takeover.heartbeat.beat()
    clock.now += 10
    takeover.heartbeat.beat()
    assert not jobs.needs_sign
    clock.now += heartbeat.LONG_IDLE
    takeover.heartbeat.beat()

    assert jobs.needs_sign


def test_reports_of_progress_tell_the_lease_as_well(processes):
    process = processes()
    process.scheduler.process.lease = 20
    process.schedule(shop.nothing)
    process.scheduler._maintenance._write_reports()

    assert beat_of(process, "lease") == 20


# silence that is no end


def test_a_process_that_was_silent_says_so_though_its_job_has_ended(
    processes, clock, db
):
    process = processes()
    takeover = leased(process, lease=30)
    sid = process.schedule(shop.nothing)
    takeover.heartbeat.beat()
    before = beat_of(process)
    clock.now += 30
    process.run(sid)
    takeover.heartbeat.beat()
    assert beat_of(process) == before + 1
    last = db.lastTransaction()
    clock.now += 30
    takeover.heartbeat.beat()

    # no job was there in that time
    assert db.lastTransaction() == last


def test_a_process_that_gives_a_sign_just_now_keeps_its_jobs(processes):
    alive, process = processes(), processes()
    sid = alive.schedule(shop.nothing)
    signs = leased(alive)
    signs.heartbeat.beat()
    takeover = leased(process)
    lost = LostJob(sid, alive.scheduler.process.assigned_jobs.get(sid).fence)
    name, beat = incarnation_of(alive), beat_of(alive)
    takeover._take_over(Death(name, beat - 1), [lost], Findings())
    assert process.engine.submitted == []
    takeover._take_over(Death(name, beat), [lost], Findings())

    assert process.engine.submitted == [sid]


def run_silently(process, other, sid):
    """Have one process run a suspect, and another one take it for dead.

    Gives what the other one takes it over by.
    """
    assert process.scheduler.claim(sid)
    takeover = leased(other, lease=0.03)
    look_until(
        takeover,
        lambda: other.record(sid).get("runner") == incarnation_of(other),
    )
    return takeover


def test_the_silence_of_a_process_that_lives_is_no_crash(processes):
    first, second, third = processes(), processes(), processes()
    sid = processes().schedule(shop.nothing)
    leased(first, lease=0.03)
    take_over_at_once(first, sid)
    run_silently(first, second, sid)
    assert second.record(sid)["crashes"] == 1
    # as it does when it goes on
    signs = leased(first)
    first.schedule(shop.nothing)
    signs.heartbeat.beat()
    run = second.scheduler.claim(sid)

    assert run.failures == 0
    assert second.record(sid)["survivals"] == 1
    assert "crashes" not in second.record(sid)
    run_silently_again = leased(third, lease=0.03)
    look_until(
        run_silently_again,
        lambda: third.record(sid)["runner"] == incarnation_of(third),
    )
    assert third.record(sid)["crashes"] == 1


def test_a_job_that_keeps_many_processes_silent_fails_and_says_why(
    processes, caplog
):
    first, second = processes(), processes()
    sid = processes().schedule(shop.nothing)
    take_over_at_once(first, sid)
    assert first.scheduler.claim(sid)
    fence = first.scheduler.process.assigned_jobs.get(sid).fence
    first.location.write(
        lambda store: store.change(sid, fence, survivals=MOST_SURVIVALS),
        note="it was taken over that often",
    )
    second.take_over()
    view = second.view(sid)

    assert view.failure.type == "JobCrashed"
    assert view.failure.message == (
        "8 processes gave no sign of life for too long while the job ran,"
        " though they had not ended"
    )
    assert view.failure.message in caplog.text


def test_a_retry_lets_a_job_begin_without_its_past(processes):
    first, second = processes(), processes()
    sid = processes().schedule(shop.nothing)
    take_over_at_once(first, sid)
    assert first.scheduler.claim(sid)
    fence = first.scheduler.process.assigned_jobs.get(sid).fence
    first.location.write(
        lambda store: store.change(
            sid, fence, survivals=MOST_SURVIVALS, silences=(("gone", 1),)
        ),
        note="it was taken over that often",
    )
    second.take_over()
    with transaction.manager:
        assert second.scheduler.retry(sid)

    assert not {"survivals", "silences", "crashes"} & set(second.record(sid))


def test_a_suspect_that_runs_is_taken_over_also_by_a_clock_that_is_behind(
    processes,
):
    """By that, its time to run has not come."""
    process, ahead = processes(), processes()
    sid = processes().schedule(shop.nothing)
    take_over_at_once(ahead, sid)
    assert ahead.scheduler.claim(sid)
    fence = ahead.scheduler.process.assigned_jobs.get(sid).fence
    takeover = leased(process, lease=0.03)
    soon = shop.time.time() + 20
    ahead.location.write(
        lambda store: store.change(sid, fence, due=soon), note="soon"
    )
    takeover.search._lease = 30
    look_until(
        takeover,
        lambda: process.record(sid)["runner"] == incarnation_of(process),
    )

    assert process.record(sid)["suspect"]
    assert process.record(sid)["crashes"] == 1


def test_the_beat_of_a_process_with_jobs_of_other_queues_stays(
    processes, monkeypatch
):
    """A worker of Celery leaves some queues to processes that serve."""
    busy, worker = processes(), processes()
    busy.schedule(shop.nothing)
    beat = leased(busy, lease=1000).heartbeat.beat
    takeover = leased(worker, lease=1000)
    dispatcher = worker.scheduler.process.dispatcher
    monkeypatch.setattr(dispatcher, "leaves", lambda queue: True)
    beats = 2 * FORGOTTEN_AFTER
    for _ in range(beats):
        beat()
        takeover.take_over_lost()

    assert beat_of(busy) == beats
