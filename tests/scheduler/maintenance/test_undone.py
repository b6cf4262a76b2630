"""A job whose end was undone ends again; any other pending one runs."""

import contextlib
import copy
import threading
import time

import pytest
import shop
import storages
import transaction
import zodburi
from celery_site import record_of
from hand_driven import takeover_of
from pyramid.registry import Registry
from shop import scheduler_of, sid_of
from storages import UNDOING
from undoing import undo
from ZODB.DB import DB

from pyramid_zodb_async import JobState
from pyramid_zodb_async.database import earlier_states
from pyramid_zodb_async.database.internals import revisions
from pyramid_zodb_async.events import JobWasCancelled
from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.scheduler.maintenance.observing import Observer
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover
from pyramid_zodb_async.scheduler.process.crash_suspects import clear_suspicion
from pyramid_zodb_async.scheduler.process.remote_claim import accept_announced
from pyramid_zodb_async.scheduler.sids import split_sid


@pytest.fixture(params=[storage for _, storage in UNDOING])
def db(request, tmp_path):
    """Give a database that can undo."""
    with storages.uri_of(request.param, tmp_path) as uri:
        factory, options = zodburi.resolve_uri(uri)
        with contextlib.closing(DB(factory(), **options)) as opened:
            yield opened


@pytest.fixture
def processes(processes):
    """Make processes that take every other for gone, whatever the storage."""

    def make():
        made = processes()
        made.scheduler.process.is_shared = False
        made.takeover = Takeover(made.scheduler.process)
        return made

    return make


def ended(process, function=shop.nothing, *args):
    """Give the sid of a job that this process has run."""
    sid = process.schedule(function, *args)
    process.run()
    return sid


def change(change_it, sid, note="by a request"):
    """Cancel, retry or remove a job, in a transaction of its own."""
    with transaction.manager as current:
        current.note(note)
        change_it(sid)


def assigned(process, sids):
    """Tell which of some jobs a process is to run."""
    return {
        sid for sid in sids if sid in process.scheduler.process.assigned_jobs
    }


def state_after_a_look(process, sid):
    """Tell what becomes of a job when somebody looks for lost ones."""
    process.take_over()
    while process.engine.submitted:
        process.run()
    return process.view(sid).state


# what had ended


def succeeded(process):
    sid = ended(process)
    return sid, f"job {sid}"


def failed(process):
    sid = ended(process, shop.give_and_raise, "so")
    return sid, f"job {sid} failed"


def cancelled(process):
    sid = process.schedule(shop.nothing)
    change(process.scheduler.cancel, sid)
    return sid, "by a request"


def removed(process):
    sid = process.schedule(shop.nothing)
    change(process.scheduler.remove, sid)
    return sid, "by a request"


def hold_a_poll(process, sid):
    """See to a request that waits, as the housekeeper does."""
    process.scheduler.process.waiters.add([sid])
    Observer(process.scheduler.process).observe()


def wait_in_a_script(process, sid):
    process.scheduler.wait(sid, timeout=0)


@pytest.mark.parametrize("wait", [hold_a_poll, wait_in_a_script])
def test_a_success_that_was_undone_is_ended_while_somebody_waits(
    process, db, wait
):
    sid, note = succeeded(process)
    undo(db, note)
    process.take_over()
    before = process.record(sid).get("state", JobState.PENDING)
    wait(process, sid)
    process.take_over()

    assert before == JobState.PENDING
    assert process.record(sid)["state"] == JobState.CANCELLED


def test_each_end_of_an_undone_success_has_a_version_that_nobody_has_seen(
    process, db
):
    sid, note = succeeded(process)
    versions = [process.view(sid).version]
    for undone in (note, "undone jobs stay so"):
        undo(db, undone)
        process.take_over()
        process.view(sid)  # somebody asks
        process.take_over()
        versions.append(process.view(sid).version)

    assert versions == sorted(set(versions))


def test_a_question_before_the_look_is_not_forgotten(process, db):
    """It is removed from the open ones between the question and the look."""
    sid, note = succeeded(process)
    undo(db, note)
    process.view(sid)
    process.take_over()

    assert process.record(sid)["state"] == JobState.CANCELLED


@pytest.mark.parametrize("end", [succeeded, failed, cancelled, removed])
def test_a_job_whose_end_was_undone_is_ended(process, db, end):
    sid, note = end(process)
    undo(db, note)
    process.engine.submitted.clear()
    before = process.view(sid)
    process.take_over()
    after = process.view(sid)

    assert before.state is JobState.PENDING
    assert after.state is JobState.CANCELLED
    assert after.failure.type == "JobUndone"
    assert after.version > make_version(0, done=True)
    assert process.engine.submitted == []


def test_an_undone_job_of_an_earlier_hour_is_ended_and_its_slice_checked(
    process, db
):
    sid = ended(process)
    number = split_sid(sid).number
    process.location.write(
        lambda store: store.open_slice(time.time(), 3600), note="an hour"
    )
    process.take_over()
    process.scheduler.process.slices_to_check.clear()
    undo(db, f"job {sid}")
    # how often an old slice is checked depends on its age
    shop.wait_until(lambda: state_after_a_look(process, sid).done)

    assert process.view(sid).state is JobState.CANCELLED
    assert process.scheduler.process.slices_to_check == {number}


def test_an_undone_job_of_another_process_is_ended(processes, db):
    sid = ended(gone := processes())
    undo(db, f"job {sid}")
    gone.stop()
    next_process = processes()

    assert state_after_a_look(next_process, sid) is JobState.CANCELLED


def test_undone_jobs_among_many_that_wait_are_ended(processes, db):
    gone = processes()
    sids = [gone.schedule(shop.nothing) for _ in range(60)]
    undone = sids[::6]
    for sid in undone:
        gone.run(sid)
        undo(db, f"job {sid}")
    gone.stop()
    process = processes()
    process.take_over()

    assert {process.view(sid).state for sid in undone} == {JobState.CANCELLED}
    assert assigned(process, sids) == set(sids) - set(undone)


def test_a_removed_job_is_not_brought_back(process, db):
    sid = ended(process)
    change(process.scheduler.remove, sid)

    assert state_after_a_look(process, process.schedule(shop.nothing))
    assert process.view(sid) is None


# what had not


def claim(process, sid, *, begun=False):
    """Claim a job for another process, as for a message."""
    nobody = copy.copy(process.scheduler.process)
    nobody.incarnation = "nobody"
    return accept_announced(nobody, sid, begun=begun, serial=None)


def test_jobs_of_one_transaction_are_asked_for_once(processes, monkeypatch):
    gone = processes()
    with transaction.manager:
        sids = [gone.scheduler.schedule(shop.nothing) for _ in range(40)]
    gone.stop()
    process = processes()
    asked = []

    def ask(connection, oid, most):
        asked.append(oid)
        return revisions(connection, oid, most)

    monkeypatch.setattr(earlier_states, "revisions", ask)
    process.take_over()

    assert assigned(process, sids) == set(sids)
    assert len(asked) == 1


def test_a_job_runs_whose_takeover_was_undone(process, db):
    process.stop()
    sid = process.schedule(shop.nothing)
    assert claim(process, sid)
    undo(db, f"incarnation nobody takes job {sid}")

    assert state_after_a_look(process, sid) is JobState.SUCCEEDED


def test_a_job_runs_whose_takeover_was_undone_and_redone(process, db):
    process.stop()
    sid = process.schedule(shop.nothing)
    assert claim(process, sid)
    undo(db, f"incarnation nobody takes job {sid}")
    undo(db, "undo of incarnation nobody")

    assert state_after_a_look(process, sid) is JobState.SUCCEEDED


def test_a_job_runs_whose_beginning_was_marked_and_unmarked(process):
    """Its number is the same before and after."""
    process.stop()
    sid = process.schedule(shop.nothing)
    claimed = claim(process, sid, begun=True)
    clear_suspicion(process.location, claimed)

    assert state_after_a_look(process, sid) is JobState.SUCCEEDED


def test_a_retry_that_was_undone_and_redone_runs(process, db):
    sid = ended(process, shop.give_and_raise, "so")
    change(process.scheduler.retry, sid, "again")
    undo(db, "again")
    assert process.view(sid).state is JobState.FAILED
    process.run(sid)  # it is no job of this process any more
    undo(db, "undo of again")
    process.engine.submitted.clear()
    process.take_over()

    assert process.engine.submitted == [sid]


def test_a_waiting_job_whose_scheduling_was_undone_and_redone_runs(
    process, db
):
    sid = process.schedule(shop.nothing)
    undo(db, "")
    assert process.view(sid) is None
    process.run(sid)
    undo(db, "undo of")

    assert state_after_a_look(process, sid) is JobState.SUCCEEDED


def test_a_pack_before_the_look_leaves_nothing_to_tell_an_undone_job(
    process, db
):
    """So it runs; that is documented."""
    sid, note = cancelled(process)
    undo(db, note)
    db.pack()

    assert state_after_a_look(process, sid) is JobState.SUCCEEDED


def test_a_success_that_was_undone_stays_so_also_after_a_pack(process, db):
    sid, note = succeeded(process)
    undo(db, note)
    db.pack()
    process.take_over()
    process.view(sid)  # somebody asks

    assert state_after_a_look(process, sid) is JobState.CANCELLED
    assert process.view(sid).failure.type == "JobUndone"


# together with others


def test_two_processes_that_look_end_an_undone_job_once(processes, db):
    registry, told = Registry(), []
    registry.registerHandler(told.append, [JobWasCancelled])
    gone = processes()
    sids = [ended(gone) for _ in range(5)]
    for sid in sids:
        undo(db, f"job {sid}")
    gone.stop()
    rivals = [processes() for _ in range(2)]
    for rival in rivals:
        rival.scheduler.announcer.registry = registry
    together = threading.Barrier(2)

    def look(rival):
        together.wait(shop.PATIENCE)
        rival.take_over()

    threads = [threading.Thread(target=look, args=[it]) for it in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(shop.PATIENCE)

    assert sorted(event.job.sid for event in told) == sorted(sids)
    assert [rival.engine.submitted for rival in rivals] == [[], []]
    assert {rivals[0].view(sid).state for sid in sids} == {JobState.CANCELLED}


def test_an_undo_after_the_look_conflicts_with_the_end(process, db):
    """The look reads before, and writes after it: one of two commits wins."""
    sid = ended(process)
    undo(db, f"job {sid}")

    fence = process.location.read(lambda store: store.locate(sid).fence, None)
    found = []

    def look(store):
        found.append(process.takeover._undone.end_in(store, {sid: fence}))
        if len(found) == 1:
            undo(db, "undo of job")

    process.location.write(look, note="a look")

    assert [len(views) for views in found] == [1, 0]
    assert process.view(sid).state is JobState.SUCCEEDED


# with workers of Celery


def db_of(site):
    return scheduler_of(site.app).process.location.db


def test_a_worker_ends_the_undone_jobs_that_it_has_run(site, make_worker):
    worker = make_worker()
    scheduler, engine = worker.load()
    takeover = takeover_of(scheduler)
    path = site.begin("count", "jobs")
    assert worker.run(sid_of(path))
    undo(db_of(site), f"job {sid_of(path)},")
    assert site.counts() == {}
    takeover.take_over_lost()

    assert record_of(site, path)["state"] == JobState.CANCELLED
    assert engine.unsent() == 0
    worker.run(sid_of(path))  # for a message that comes twice
    assert site.counts() == {}


def test_no_message_is_sent_again_for_an_undone_job(site, monkeypatch):
    scheduler = scheduler_of(site.serve())
    takeover = takeover_of(scheduler)
    undone, waiting = (site.begin("count", "jobs") for _ in range(2))
    site.app.delete(undone)
    undo(db_of(site), f"job {sid_of(undone)} is cancelled")
    takeover.take_over_lost()
    for seen in takeover._resender._seen.values():
        seen.again = 0.0
    sent = []
    dispatcher = scheduler.process.dispatcher
    monkeypatch.setattr(dispatcher.remote, "count", lambda _, tell: tell(0))
    monkeypatch.setattr(dispatcher, "send", lambda job: sent.append(job.sid))
    takeover.take_over_lost()

    assert sent == [sid_of(waiting)]
    assert record_of(site, undone)["state"] == JobState.CANCELLED


def test_a_run_whose_commit_is_in_doubt_learns_that_it_was_undone(
    processes, db
):
    process = processes()
    sid = process.schedule(shop.nothing)
    run = process.scheduler.claim(sid)
    before = run.find_out()
    process.runner._execute(run)
    done = run.find_out()
    undo(db, f"job {sid}, ")

    assert (before, done, run.find_out()) == (False, True, None)
