"""A first message runs its job without a claim, and the record is the fence.

Of a job that runs so, no other process knows until the beat of the worker
tells of it. Whatever messages come twice or late, one run has effects.
"""

import logging
import sys
import threading

import celery_shop
import pytest
import shop
from celery_site import change, header_of, record_of
from hand_driven import look_until, takeover_of
from shop import scheduler_of, sid_of
from undoing import undo

from pyramid_zodb_async import JobState, current_job
from pyramid_zodb_async.engine.remote import worker as worker_module
from pyramid_zodb_async.engine.remote.messages import HEADER, Message
from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.scheduler.maintenance.heartbeat import Heartbeat
from pyramid_zodb_async.scheduler.process import commits_in_doubt
from pyramid_zodb_async.scheduler.process.assigned_job import AssignedJob
from pyramid_zodb_async.scheduler.process.progress_reports import report_of


class Running:
    """Runs of jobs, each on a thread of its own, that wait for the test.

    Args:
        site: the application.
        folder: for the files by which they are told to go on.
    """

    def __init__(self, site, folder):
        self.site = site
        self.here, self.go = folder / "here", folder / "go"
        self._threads = []

    def begin(self, function="count_when", **options):
        """Schedule a job that waits; give its path, and its first message."""
        arguments = [self.here, self.go]
        if function == "count_when":
            arguments.insert(0, "jobs")
        path = self.site.begin(function, *arguments, **options)
        return path, header_of(self.site, path)

    def count(self):
        """Give how many runs have begun."""
        if not self.here.exists():
            return 0
        return len(self.here.read_text().splitlines())

    def start(self, worker, path, header=None, **options):
        """Have a worker run a job, and wait until it does."""
        before = self.count()
        self.start_in_vain(worker, path, header, **options)
        shop.wait_until(lambda: self.count() > before)

    def start_in_vain(self, worker, path, header=None, **options):
        thread = threading.Thread(
            target=worker.run, args=(sid_of(path), header), kwargs=options
        )
        thread.start()
        self._threads.append(thread)

    def end(self):
        """Have all of them go on, and wait for their ends."""
        self.go.touch()
        for thread in self._threads:
            thread.join(shop.PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def running(site, tmp_path):
    made = Running(site, tmp_path)
    yield made
    made.end()


def process_of(worker):
    return worker.load()[0].process


def beat(worker):
    """Have a worker give a sign of life, as its housekeeper does."""
    Heartbeat(process_of(worker)).beat()


def test_a_first_message_runs_its_job_without_a_claim(site, make_worker):
    path = site.begin("count", "jobs")
    assert make_worker().run(sid_of(path), header_of(site, path))
    record = record_of(site, path)

    assert site.end_of(path)["state"] == "succeeded"
    assert site.end_of(path)["attempt"] == 1
    assert site.counts() == {"jobs": 1}
    assert {"runner", "run_number"}.isdisjoint(record)


@pytest.mark.parametrize("is_redelivered", [False, True])
def test_any_other_message_claims_the_job(
    make_worker, running, is_redelivered
):
    """One without word of the serial, or one that was delivered before."""
    worker = make_worker()
    path, header = running.begin()
    given = header if is_redelivered else None
    running.start(worker, path, given, is_redelivered=is_redelivered)
    record = record_of(running.site, path)
    running.end()

    assert record["runner"] == process_of(worker).incarnation
    assert record["run_number"] == 1
    assert running.site.counts() == {"jobs": 1}


def test_a_job_whose_record_was_written_since_is_claimed(
    site, make_worker, running
):
    worker = make_worker()
    path, header = running.begin()
    change(site, path, suspect=True)
    running.start(worker, path, header)
    record = record_of(site, path)
    running.end()

    assert record["runner"] == process_of(worker).incarnation
    assert record["suspect"]
    assert site.counts() == {"jobs": 1}


def test_a_first_message_that_comes_late_runs_nothing(site, make_worker):
    first, second = make_worker(), make_worker()
    path = site.begin("count", "jobs")
    header = header_of(site, path)
    for worker in (first, second, first):
        assert worker.run(sid_of(path), header)

    assert site.counts() == {"jobs": 1}


def test_of_two_first_messages_at_once_one_has_effects(
    site, make_worker, running
):
    path, header = running.begin()
    running.start(make_worker(), path, header)
    running.start(make_worker(), path, header)
    running.end()

    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}
    assert running.count() == 2


def test_a_second_message_in_the_same_process_runs_nothing(
    site, make_worker, running
):
    worker = make_worker()
    path, header = running.begin()
    running.start(worker, path, header)
    assert worker.run(sid_of(path), header)
    assert worker.run(sid_of(path))
    running.end()

    assert running.count() == 1
    assert site.counts() == {"jobs": 1}


def test_two_threads_that_look_at_a_job_at_once_run_it_once(
    site, make_worker, monkeypatch
):
    scheduler, _ = make_worker().load()
    path = site.begin("count", "jobs")
    serial = bytes.fromhex(header_of(site, path)[2][0][1])
    barrier = threading.Barrier(2)
    assign = scheduler.process.assigned_jobs.assign

    def meet(jobs):
        if jobs := list(jobs):  # the housekeeper has none
            barrier.wait(shop.PATIENCE)
        return assign(jobs)

    monkeypatch.setattr(scheduler.process.assigned_jobs, "assign", meet)
    taken = []

    def take():
        taken.append(
            scheduler.accept_message(sid_of(path), begun=False, serial=serial)
        )

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)

    assert sorted(taken) == [False, True]


def test_a_claim_overtakes_a_run_without_one(site, make_worker, running):
    """A message was sent again, since nobody knew of the run."""
    first, second = make_worker(), make_worker()
    jobs = process_of(first).assigned_jobs
    jobs.needs_sign = False  # as it is after the first job
    path, header = running.begin()
    running.start(first, path, header)
    running.start(second, path)
    record = record_of(site, path)
    running.end()

    assert record["runner"] == process_of(second).incarnation
    assert site.end_of(path)["state"] == "succeeded"
    assert record_of(site, path)["run_number"] == 1
    assert site.counts() == {"jobs": 1}


def test_a_job_without_a_claim_that_is_cancelled_stops(
    site, make_worker, running
):
    worker = make_worker()
    path = site.begin("check", running.here)
    running.start(worker, path, header_of(site, path))
    site.app.delete(path, status=202)
    running.end()

    assert site.end_of(path)["state"] == "cancelled"
    assert len(process_of(worker).assigned_jobs) == 0


def test_a_job_without_a_claim_that_takes_too_long_fails(
    site, make_worker, running
):
    path = site.begin("check", running.here, time_limit=1)
    running.start(make_worker(), path, header_of(site, path))
    end = site.end_of(path)
    running.end()

    assert end["error"]["type"] == "JobTimeout"
    assert "run_number" not in record_of(site, path)


def test_a_failure_without_a_claim_is_tried_again_by_another_message(
    site, make_worker, tmp_path
):
    path = site.begin("fail_once", "jobs", tmp_path / "here", retry=0.01)
    header, worker = header_of(site, path), make_worker()
    assert worker.run(sid_of(path), header)
    record = record_of(site, path)
    worker.run(sid_of(path), header)
    shop.wait_until(lambda: worker.run(sid_of(path)) and site.counts())

    assert record["run_number"] == 1
    assert "runner" not in record
    end = site.end_of(path)
    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert site.counts() == {"jobs": 1}


@pytest.mark.parametrize("name", ["fail_once", "end_in_failure"])
def test_of_two_runs_that_fail_at_once_one_counts(
    site, make_worker, tmp_path, monkeypatch, name
):
    """Each of them has the number of the other."""
    monkeypatch.setitem(celery_shop.FUNCTIONS, name, raise_when_both_are_here)
    both.reset()
    options = {"retry": 0.01} if name == "fail_once" else {}
    path = site.begin(name, **options)
    header, workers = header_of(site, path), [make_worker(), make_worker()]
    for worker in workers:
        worker.load()
    threads = [
        threading.Thread(target=worker.run, args=(sid_of(path), header))
        for worker in workers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)
    record = record_of(site, path)

    if options:
        assert (record["run_number"], record["failures"]) == (1, 1)
    else:
        assert record["state"] == JobState.FAILED
        assert "run_number" not in record


both = threading.Barrier(2)


def raise_when_both_are_here():
    both.wait(shop.PATIENCE)
    raise OSError


# what the beat tells


def test_others_leave_a_run_alone_that_the_beat_tells_of(
    site, make_worker, running
):
    worker, other = make_worker(), make_worker()
    path, header = running.begin()
    running.start(worker, path, header)
    beat(worker)
    takeover = takeover_of(other.load()[0])
    takeover._resender._lease = 0.0
    for _ in range(3):
        takeover.take_over_lost()
    assert other.run(sid_of(path))
    unsent = other.load()[1].unsent()
    running.end()

    assert unsent == 0
    assert takeover._resender._seen == {}
    assert running.count() == 1
    assert site.counts() == {"jobs": 1}
    assert "run_number" not in record_of(site, path)


def test_a_run_that_the_beat_tells_of_is_lost_with_its_process(
    site, make_worker, running
):
    worker, other = make_worker(), make_worker()
    path, header = running.begin()
    running.start(worker, path, header)
    beat(worker)
    takeover = takeover_of(other.load()[0])
    process_of(worker).lease = 1e-9
    beat(worker)
    look_until(takeover, lambda: "suspect" in record_of(site, path))
    freed = record_of(site, path)
    unsent = other.load()[1].unsent()
    running.start(other, path)
    running.end()

    assert (freed["run_number"], freed["suspect"]) == (1, True)
    assert {"runner", "crashes"}.isdisjoint(freed)
    assert unsent == 1
    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


def test_a_beat_tells_no_more_of_what_has_ended(site, make_worker, running):
    worker = make_worker()
    heartbeat = Heartbeat(process_of(worker))
    path, header = running.begin()
    running.start(worker, path, header)
    heartbeat.beat()
    told = [sorted(reports_of(worker))]
    running.end()
    running.go.unlink()
    next_path, _ = running.begin()
    running.start(worker, next_path)
    heartbeat.beat()
    told.append(sorted(reports_of(worker)))
    running.end()

    assert told[0] == [sid_of(path)]
    assert sid_of(path) not in told[1]


def test_what_a_beat_tells_of_a_claimed_job_is_no_word_of_another(
    site, make_worker, running
):
    """A process has run the job before, and another one has freed it."""
    path, _ = running.begin()
    sid, other = sid_of(path), make_worker()
    process = process_of(make_worker())

    def tell(store):
        store.beat_of(process.incarnation).reports = {
            sid: (1, 1, 1.0, None, 1, 0),
            "another": (0, 1, 1.0, None, 1, 0),
        }

    process.location.write(tell, note="a beat")
    takeover = takeover_of(other.load()[0])
    takeover.take_over_lost()

    assert set(takeover._resender._seen) == {sid}


def test_a_job_whose_serial_is_not_known_is_claimed(site):
    """Its record has left the memory in the commit."""
    path = site.begin("count", "jobs")

    def note(store):
        job = store.locate(sid_of(path))
        assigned = AssignedJob.of(job)
        job.record._p_deactivate()
        assigned.note_serial(job.record)
        return assigned.serial

    serial = scheduler_of(site.app).process.location.read(note, b"none")

    assert serial is None


def reports_of(worker):
    process = process_of(worker)
    return process.location.read(
        lambda store: dict(store.beat_of(process.incarnation).reports), {}
    )


def test_a_process_does_not_take_its_own_word_for_that_of_another(
    site, make_worker, running
):
    """What it has dropped waits, whatever its last beat has told."""
    worker = make_worker()
    path, header = running.begin()
    running.start(worker, path, header)
    beat(worker)
    process_of(worker).assigned_jobs.drop(sid_of(path))
    takeover = takeover_of(worker.load()[0])
    takeover.take_over_lost()
    running.end()

    assert set(takeover._resender._seen) == {sid_of(path)}


def test_progress_without_a_claim_is_told_by_others(
    site, make_worker, running
):
    worker, other = make_worker(), make_worker()
    path, header = running.begin("report")
    running.start(worker, path, header)
    shop.wait_until(lambda: site.app.get(path).json["progress"])
    seen = site.app.get(path)
    version = version_at(other, path)
    running.end()

    assert seen.json["state"] == "running"
    assert seen.json["progress"]["done"] == 2
    assert 0 < version < make_version(0, done=True)
    assert site.end_of(path)["result"] == "reported"
    assert found_report(worker, path) is None
    assert version_at(site.app, path) == make_version(0, done=True)


def found_report(worker, path):
    return process_of(worker).location.read(
        lambda store: report_of(store.locate(sid_of(path))), None
    )


def version_at(where, path):
    """Give the version of the view that a process makes."""
    scheduler = (
        where.load()[0] if hasattr(where, "load") else scheduler_of(where)
    )
    return scheduler.get(sid_of(path)).version


def test_of_two_runs_that_are_told_of_the_newer_view_is_shown(
    site, make_worker, running
):
    path, header = running.begin("report")
    workers = [make_worker(), make_worker()]
    for worker in workers:
        running.start(worker, path, header)
        beat(worker)
    report = workers[0].load()[0].process.assigned_jobs.get(sid_of(path))
    report.changes += 5
    changes = report.changes
    beat(workers[0])
    found = found_report(workers[1], path)
    running.end()

    assert found.changes == changes


# what was undone


def db_of(site):
    return scheduler_of(site.app).process.location.db


@pytest.mark.parametrize("is_first", [True, False])
def test_a_late_message_does_not_run_what_was_undone(
    site, make_worker, caplog, is_first
):
    caplog.set_level(logging.INFO)
    worker = make_worker()
    path = site.begin("count", "jobs")
    header = header_of(site, path)
    assert worker.run(sid_of(path), header)
    undo(db_of(site), f"job {sid_of(path)},")
    assert site.counts() == {}
    assert worker.run(sid_of(path), header if is_first else None)

    assert site.counts() == {}
    # its last beat may tell of the run
    assert "is not to be run for this message" in caplog.text


def test_a_late_message_does_not_run_a_job_whose_cancel_was_undone(
    site, make_worker
):
    path = site.begin("count", "jobs")
    header = header_of(site, path)
    site.app.delete(path, status=202)
    undo(db_of(site), f"job {sid_of(path)} is cancelled")
    assert make_worker().run(sid_of(path), header)

    assert site.counts() == {}


def test_a_run_goes_on_in_vain_when_the_end_of_its_twin_was_undone(
    site, make_worker, running
):
    """Its fence is that of now, but not the serial of the record."""
    path, header = running.begin()
    running.start(make_worker(), path, header)
    change(site, path, state="succeeded", finished=1.0, expires=9e9)
    undo(db_of(site), "another process")
    running.end()

    assert site.counts() == {}
    assert "finished" not in record_of(site, path)


def test_a_failure_in_vain_changes_nothing_of_what_was_undone(
    site, make_worker, monkeypatch
):
    def end_and_undo(path):
        change(site, path, state="succeeded", finished=1.0, expires=9e9)
        undo(db_of(site), "another process")
        raise OSError

    monkeypatch.setitem(celery_shop.FUNCTIONS, "fail_once", raise_when_told)
    monkeypatch.setattr(sys.modules[__name__], "told", end_and_undo)
    path = site.begin("fail_once", retry=0.01)
    assert make_worker().run(sid_of(path), header_of(site, path))

    assert {"run_number", "failures"}.isdisjoint(record_of(site, path))


def told(path):
    """Do what a test has put here."""


def raise_when_told():
    told(f"/jobs/{current_job().sid}")


# a commit whose success is not known


def test_a_run_in_doubt_does_not_take_its_twins_success_for_its_own(
    site, make_worker, running
):
    path, header = running.begin()
    first, second = make_worker(), make_worker()
    running.start(first, path, header)
    running.start(second, path, header)
    assigned = process_of(first).assigned_jobs.get(sid_of(path))
    fence, started = assigned.fence, assigned.started
    end = {"state": "succeeded", "finished": 1.0, "expires": 9e9}
    change(site, path, started=started, **end)
    found = [
        commits_in_doubt.has_committed(
            process_of(first).location, sid_of(path), fence, moment
        )
        for moment in (started, started + 1, None)
    ]
    running.end()

    assert found == [True, None, True]


def test_a_job_told_to_stop_without_a_claim_is_free_for_others(
    site, make_worker, running
):
    worker = make_worker()
    path, header = running.begin()
    scheduler, _ = worker.load()
    serial = bytes.fromhex(header[2][0][1])
    assert scheduler.accept_message(sid_of(path), begun=True, serial=serial)
    run = scheduler.claim(sid_of(path))
    run.give_back()
    run.close()
    record = record_of(site, path)
    running.go.touch()
    assert make_worker().run(sid_of(path))

    assert record["run_number"] == 1
    assert {"runner", "begun"}.isdisjoint(record)
    assert site.counts() == {"jobs": 1}


# several jobs in a message


def test_a_message_for_several_jobs_runs_one_after_the_other(
    site, make_worker
):
    worker = make_worker()
    paths = [site.begin("count", "jobs") for _ in range(5)]
    assert worker.run(sid_of(paths[0]), header_of(site, *paths))

    assert site.counts() == {"jobs": 5}
    assert worker.load()[1].unsent() == 0
    assert all("run_number" not in record_of(site, path) for path in paths)


def test_of_several_jobs_those_that_have_ended_are_left_out(site, make_worker):
    worker = make_worker()
    paths = [site.begin("count", "jobs") for _ in range(5)]
    header = header_of(site, *paths)
    site.app.delete(paths[0], status=202)
    site.app.delete(paths[2], status=202)
    assert worker.run(sid_of(paths[4]))
    assert worker.run(sid_of(paths[0]), header)

    assert site.counts() == {"jobs": 3}


def test_what_one_job_of_several_keeps_waiting_is_left_to_other_workers(
    site, make_worker, running
):
    first, other = make_worker(), make_worker()
    path, _ = running.begin()
    paths = [path, *(site.begin("count", "jobs") for _ in range(3))]
    header = header_of(site, *paths)
    engine, sent = first.load()[1], []
    engine.publisher._publish = sent.append
    running.start(first, path, header)
    shop.wait_until(lambda: len(sent) == 3)
    for message in sent:
        assert other.run(message.sid, message.headers()[HEADER])
    before = site.counts()
    running.end()

    assert before == {"jobs": 3}
    assert site.counts() == {"jobs": 4}
    # they were the first messages still
    assert all("run_number" not in record_of(site, path) for path in paths)


def test_several_jobs_come_back_together_while_the_storage_is_away(
    site, make_worker, monkeypatch
):
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    worker = make_worker()
    scheduler, engine = worker.load()
    paths = [site.begin("count", "jobs") for _ in range(4)]
    header = header_of(site, *paths)
    accept, seen = scheduler.accept_message, []

    def accept_some(sid, **given):
        seen.append(sid)
        if len(seen) > 2:
            raise OSError("the storage is away")
        return accept(sid, **given)

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "accept_message", accept_some)
        assert not worker.run(sid_of(paths[0]), header)
    before = site.counts()
    unsent = engine.unsent()
    assert worker.run(sid_of(paths[0]), header, is_redelivered=True)

    assert before == {"jobs": 2}
    assert unsent == 0
    assert site.counts() == {"jobs": 4}


def test_a_worker_that_is_told_to_stop_begins_no_other_of_several(
    site, make_worker, running
):
    worker = make_worker()
    scheduler, engine = worker.load()
    sent = []
    engine.publisher._publish = sent.append
    path, _ = running.begin()
    paths = [path, *(site.begin("count", "jobs") for _ in range(3))]
    running.start_in_vain(worker, path, header_of(site, *paths))
    shop.wait_until(running.count)
    engine.offer(Message(sid_of(paths[1])), 0.0)
    assert engine.take_back(sid_of(paths[1]))  # as if it was sent
    scheduler.process.is_told_to_stop = True
    running.end()
    shop.wait_until(lambda: len(sent) == 2)

    assert site.counts() == {"jobs": 1}
    assert {message.sid for message in sent} == set(map(sid_of, paths[2:]))
