"""Looks for what other processes have done."""

import dataclasses

import pytest
import shop
import transaction

from pyramid_zodb_async import JobCancelled, JobState, Progress, current_job
from pyramid_zodb_async.scheduler.maintenance.observing import Observer
from pyramid_zodb_async.scheduler.process.progress_reports import (
    report_of,
    write_reports,
)


@pytest.fixture
def here(processes):
    return processes()


@pytest.fixture
def there(processes):
    return processes()


def observer_of(process, *, is_shared=True):
    """Give one that looks when the test says so, and what it asked for."""
    this_process, woken = process.scheduler.process, []
    this_process.wake_maintenance = lambda: woken.append("woken")
    this_process.is_shared = is_shared
    return Observer(this_process), woken


def cancel(process, sid):
    transaction.begin()
    assert process.scheduler.cancel(sid)
    transaction.commit()


def test_nothing_is_looked_for_unless_somebody_asks(here):
    observer, woken = observer_of(here)
    assert not observer.is_wanted()
    observer.observe()
    here.scheduler.process.check_soon("sid")
    here.scheduler.process.check_soon("sid")
    assert observer.is_wanted()
    observer.observe()

    assert woken == ["woken"]
    assert not observer.is_wanted()


def test_where_nobody_else_is_nobody_can_have_done_anything(here):
    observer, woken = observer_of(here, is_shared=False)
    here.scheduler.process.check_soon("sid")

    assert woken == []
    assert not observer.is_wanted()


def test_a_job_that_was_cancelled_elsewhere_is_let_go(here, there):
    observer, _ = observer_of(here)
    sid, other = here.schedule(shop.nothing), here.schedule(shop.nothing)
    cancel(there, sid)
    here.scheduler.process.check_soon(sid)
    here.scheduler.process.check_soon(other)
    observer.observe()

    assert sid not in here.scheduler.process.assigned_jobs
    assert other in here.scheduler.process.assigned_jobs


def test_a_job_that_was_removed_elsewhere_is_let_go(here, there):
    observer, _ = observer_of(here)
    sid = here.schedule(shop.nothing)
    transaction.begin()
    there.scheduler.remove(sid)
    transaction.commit()
    here.scheduler.process.check_soon(sid)
    observer.observe()

    assert sid not in here.scheduler.process.assigned_jobs


def test_a_job_that_came_back_during_the_look_is_kept(here, there):
    """What was seen is older than what this process knows by now."""
    observer, _ = observer_of(here)
    sid = here.schedule(shop.nothing)
    cancel(there, sid)
    read = here.location.read

    def read_slowly(work, default):
        found = read(work, default)
        held = here.scheduler.process.assigned_jobs.get(sid)
        here.scheduler.process.assigned_jobs.drop(sid)
        held.fence = held.fence._replace(run_number=5)
        here.scheduler.process.assigned_jobs.assign([assigned_again(held)])
        return found

    here.location.read = read_slowly
    here.scheduler.process.check_soon(sid)
    observer.observe()

    assert here.scheduler.process.assigned_jobs.get(sid).fence.run_number == 5


def assigned_again(held):
    """Give a copy, as a retry makes another one."""
    return dataclasses.replace(held)


def test_the_end_of_a_job_elsewhere_wakes_who_waits_here(here, there):
    observer, _ = observer_of(here)
    sid = there.schedule(shop.nothing)
    watch = here.scheduler.watch([sid])
    watch.seen = {sid: here.view(sid).version}
    observer.observe()
    assert not watch.wait(0)
    there.run(sid)
    observer.observe()

    assert watch.wait(0)


def report_progress(gate):
    current_job().progress(1, 2, "half")
    shop.wait_at(gate)


def test_what_a_process_tells_of_a_job_counts_for_that_run_only(
    here, there, gate
):
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    write_all_reports(there)
    view = here.view(sid)
    assert view.state is JobState.RUNNING
    assert view.progress == Progress(done=1, total=2, message="half")
    assert view.attempt == 1
    here.take_over()
    # what the other process has told is told no more
    with transaction.manager:
        connection = here.db.open()
        store = here.location.find(connection)
        assert report_of(store.locate(sid)) is None
        connection.close()
    gate.open()
    run.join(60)

    assert here.view(sid).state is JobState.PENDING


def write_all_reports(process):
    jobs = process.scheduler.process.assigned_jobs.take_begun()
    runner = process.scheduler.process.incarnation
    process.location.write(
        lambda store: write_reports(store, runner, jobs), note="progress"
    )


def test_a_job_that_waits_again_is_told_of_as_such(here, there, gate):
    """Else its version would be less than before."""
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    write_all_reports(there)
    before = here.view(sid)
    assert before.state is JobState.RUNNING
    held = there.scheduler.process.assigned_jobs.get(sid)
    there.scheduler.process.assigned_jobs.release(held)
    write_all_reports(there)
    after = here.view(sid)
    own = there.view(sid)
    gate.open()
    run.join(60)

    assert after.state is JobState.PENDING
    assert (after.attempt, after.started, after.progress) == (0, None, None)
    assert before.version < after.version == own.version


def test_a_process_of_the_former_build_takes_no_wait_for_a_run(
    here, there, gate
):
    """It takes each report with the number of the record for one of a run."""
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    write_all_reports(there)
    (of_run,) = reports_of(there)
    held = there.scheduler.process.assigned_jobs.get(sid)
    there.scheduler.process.assigned_jobs.release(held)
    write_all_reports(there)
    (of_wait,) = reports_of(there)
    gate.open()
    run.join(60)

    assert of_run[0] == held.fence.run_number
    assert of_wait[0] != held.fence.run_number


def reports_of(process):
    runner = process.scheduler.process.incarnation
    return process.location.read(
        lambda store: list(store.beat_of(runner).reports.values()), []
    )


class Overtaken(Progress):
    """Progress that is followed by more while it is being written."""

    def as_tuple(self):
        there, sid = writing
        jobs = there.scheduler.process.assigned_jobs
        jobs.report(jobs.get(sid), Progress(done=2, message="whole"))
        return super().as_tuple()


#: In which process progress of what job is being written.
writing = []


def test_progress_that_comes_while_other_is_written_has_another_version(
    here, there, gate
):
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    writing[:] = there, sid
    jobs = there.scheduler.process.assigned_jobs
    jobs.report(jobs.get(sid), Overtaken(done=1, message="half"))
    write_all_reports(there)
    before = here.view(sid)
    write_all_reports(there)
    after = here.view(sid)
    gate.open()
    run.join(60)

    assert (before.progress.done, after.progress.done) == (1, 2)
    assert before.version < after.version


def test_a_cancel_tells_nothing_of_a_run_that_is_to_be_repeated(
    here, there, gate
):
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    held = there.scheduler.process.assigned_jobs.get(sid)
    there.scheduler.process.assigned_jobs.release(held)
    write_all_reports(there)
    cancel(here, sid)
    view = here.view(sid)
    gate.open()
    run.join(60)

    assert view.state is JobState.CANCELLED
    assert (view.attempt, view.started, view.progress) == (0, None, None)


def test_what_a_process_of_the_former_build_tells_counts_as_much(
    here, there, gate
):
    """It counts beginnings apart, and this build knows as many fields."""
    sid = there.schedule(report_progress, "gate")
    run = shop.Answer(there.run, sid)
    gate.wait_for_job()
    write_all_reports(there)
    now = here.view(sid)

    def write_as_before(store):
        beat = store.beat_of(there.scheduler.process.incarnation)
        (parts,) = beat.reports.values()
        assert parts[4:] == (2, 0)
        beat.reports = {sid: (*parts[:4], 1, 1)}

    there.location.write(write_as_before, note="progress")
    then = here.view(sid)
    gate.open()
    run.join(60)

    assert now.version == then.version == 2


def ask_whether_to_go_on(gate):
    shop.wait_at(gate)
    current_job().check()


def test_a_job_that_asks_has_somebody_look(here, there, gate, caplog):
    caplog.set_level("INFO")
    sid = here.schedule(ask_whether_to_go_on, "gate")
    run = shop.Answer(here.run, sid)
    gate.wait_for_job()
    cancel(there, sid)
    observer, _ = observer_of(here)
    here.scheduler.process.check_soon(sid)
    observer.observe()
    gate.open()
    run.join(60)

    actions = [getattr(record, "action", "") for record in caplog.records]
    assert "job_given_up" in actions
    with transaction.manager:
        _, error = here.scheduler.get_result(sid)
    assert isinstance(error, JobCancelled)
