"""The jobs that a process is to run."""

import dataclasses
import threading
import time
from collections import deque
from dataclasses import replace

import pytest
import shop
from hand_driven import HandDriven, Process, assigned_job

from pyramid_zodb_async import Progress
from pyramid_zodb_async.jobs.options import NO_OPTIONS
from pyramid_zodb_async.scheduler.process.assigned_jobs import (
    AssignedJobs,
)
from pyramid_zodb_async.scheduler.process.job_views import view_of_assigned
from pyramid_zodb_async.scheduler.records import Fence
from pyramid_zodb_async.scheduler.waiters import PROGRESS_PACE, Waiters


def job(sid, **values):
    """Make a job to hold."""
    return assigned_job(sid, options=NO_OPTIONS, **values)


def held_jobs():
    """Give held jobs, and what they submit."""
    jobs = AssignedJobs(Waiters(), deque())
    jobs.engine = HandDriven()
    return jobs, jobs.engine.submitted


def test_a_job_is_submitted_once():
    jobs, submitted = held_jobs()
    jobs.assign([job("1"), job("2")])
    jobs.assign([job("1")])
    jobs.assign([])

    assert submitted == ["1", "2"]
    assert len(jobs) == 2
    assert "1" in jobs


def test_waiting_jobs_are_those_that_were_accepted_and_not_begun():
    jobs, _ = held_jobs()
    jobs.assign([job(sid, is_new=True) for sid in "123"])
    jobs.assign([job("taken over")])
    assert jobs.new == 3
    first = jobs.begin("1")
    assert jobs.begin("1") is None
    assert jobs.new == 2
    jobs.release(first)
    assert first.conflicts == 1
    assert jobs.new == 2
    jobs.drop("1")
    jobs.drop("2")
    jobs.drop("2")

    assert jobs.new == 1
    assert jobs.begin("unknown") is None


def test_a_job_that_has_ended_is_dropped_but_not_its_retry():
    jobs, submitted = held_jobs()
    jobs.assign([job("1")])
    first = jobs.begin("1")
    retry = dataclasses.replace(job("1"), fence=Fence("pending", "runner", 1))
    jobs.assign([retry])
    jobs.drop_ended(first)
    assert jobs.get("1") is retry
    drops = jobs.drops
    jobs.drop_ended(retry)

    assert "1" not in jobs
    assert jobs.drops == drops + 1
    assert submitted == ["1", "1"]


def test_the_next_suspect_runs_when_one_has_ended_without_a_run():
    jobs, submitted = held_jobs()
    jobs.assign([job("1", suspect=True), job("2", suspect=True)])
    jobs.drop_ended(jobs.get("1"))

    assert submitted == ["1", "2"]


def test_a_run_of_a_job_that_was_dropped_is_not_released():
    jobs, _ = held_jobs()
    jobs.assign([job("1")])
    held = jobs.begin("1")
    jobs.drop("1")
    jobs.release(held)

    assert held.conflicts == 0


def test_a_run_that_is_not_under_way_is_not_released_twice():
    jobs, _ = held_jobs()
    jobs.assign([job("1")])
    held = jobs.begin("1")
    jobs.release(held)
    jobs.release(held)

    assert held.conflicts == 1


def test_each_change_that_shows_has_a_version_of_its_own():
    jobs, _ = held_jobs()
    jobs.assign([job("1")])
    held = jobs.get("1")
    versions = [held.version]
    for _ in range(2):
        jobs.begin("1")
        versions.append(held.version)
        jobs.report(held, Progress(done=1))
        versions.append(held.version)
        jobs.release(held)
        versions.append(held.version)
    retry = replace(job("1"), fence=Fence("pending", "runner", 1))
    versions.append(retry.version)

    assert versions == sorted(set(versions))


def test_a_view_that_is_made_during_a_change_is_not_taken_for_a_newer_one():
    """It may show some of the change, but then another one follows."""
    jobs, _ = held_jobs()
    jobs.assign([job("1")])
    held = jobs.begin("1")

    class ChangesMeanwhile:
        """The job, whose progress changes when a view has its version."""

        def __getattr__(self, name):
            value = getattr(held, name)
            if name == "version":
                jobs.report(held, Progress(done=1))
            return value

    early = view_of_assigned(ChangesMeanwhile())
    late = view_of_assigned(held)

    assert early.progress == late.progress
    assert early.version < late.version


@pytest.mark.parametrize("change", ["begin", "report", "release"])
def test_what_shows_of_a_run_wakes_who_waits_for_the_job(change):
    waiters = Waiters()
    jobs = AssignedJobs(waiters, deque())
    jobs.engine = HandDriven()
    jobs.assign([job("1")])
    held = jobs.get("1")
    if change != "begin":
        jobs.begin("1")
    waiter = waiters.add(["1"])
    if change == "begin":
        jobs.begin("1")
    elif change == "report":
        jobs.report(held, Progress(done=1))
    else:
        jobs.release(held)
    begin = time.monotonic()

    assert waiter.wait(60)
    assert PROGRESS_PACE * 0.9 <= time.monotonic() - begin < 30


def test_of_the_suspects_one_is_out_at_a_time():
    jobs, submitted = held_jobs()
    jobs.assign(
        [
            job("worst", suspect=True, crashes=2),
            job("free"),
            job("better", suspect=True),
            job("gone", suspect=True, crashes=1),
        ]
    )
    assert submitted == ["free", "better"]
    jobs.drop("gone")
    jobs.drop("free")
    assert submitted == ["free", "better"]
    jobs.drop("better")

    assert submitted == ["free", "better", "worst"]
    jobs.drop("worst")
    assert len(jobs) == 0


def suspects():
    """Give held jobs, two of them suspects, and the one that runs."""
    jobs, submitted = held_jobs()
    jobs.assign([job(sid, suspect=True) for sid in ("running", "next")])
    running = jobs.begin("running")
    jobs.drop("running")
    return jobs, submitted, running


def test_no_suspect_is_out_beside_one_that_runs_though_it_was_dropped():
    jobs, submitted, running = suspects()
    jobs.drop("running")
    jobs.assign([job("last", suspect=True)])
    assert submitted == ["running"]
    jobs.drop_run(running, None)
    assert submitted == ["running", "next"]
    jobs.drop_run(running, None)
    assert submitted == ["running", "next"]
    jobs.drop("next")

    assert submitted == ["running", "next", "last"]


def test_nor_when_that_run_is_to_be_repeated_which_will_not_happen():
    jobs, submitted, running = suspects()
    assert submitted == ["running"]
    jobs.release(running)

    assert submitted == ["running", "next"]
    assert running.conflicts == 0


def test_nor_when_that_suspect_was_taken_in_anew():
    jobs, submitted, running = suspects()
    again = Fence("pending", "runner", 1)
    jobs.assign([replace(job("running", suspect=True), fence=again)])
    assert submitted == ["running"]
    jobs.drop_run(running, None)
    assert submitted == ["running", "next"]
    jobs.drop("next")

    assert submitted == ["running", "next", "running"]


def test_waiting_for_a_drop_notices_one_that_came_before_the_call():
    jobs, _ = held_jobs()
    jobs.assign([job("1")])
    before = jobs.drops
    jobs.drop("1")
    waiter = threading.Thread(target=jobs.wait_for_drop, args=(before, 60))
    waiter.start()
    waiter.join(60)

    assert not waiter.is_alive()


def test_a_wait_ends_when_the_job_does(db):
    process = Process(db)
    sid = process.schedule(shop.nothing)
    assert not process.scheduler.wait(sid, timeout=0)
    process.run()
    assert process.scheduler.wait(sid, timeout=0)
    assert process.scheduler.wait()
    process.stop()
