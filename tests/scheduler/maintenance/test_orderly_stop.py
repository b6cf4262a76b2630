"""What a process that stops in order leaves, and how others take it."""

import os
import signal
import threading
import time

import pytest
import shop
import transaction
from exhausted import no_new_threads
from hand_driven import Process, leased, look_until
from undoing import log_of, undo
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import PersistentTransactionalScheduler, job
from pyramid_zodb_async.scheduler import durable
from pyramid_zodb_async.scheduler.maintenance import lost_jobs as module
from pyramid_zodb_async.scheduler.maintenance.heartbeat import FORGOTTEN_AFTER
from pyramid_zodb_async.scheduler.maintenance.takeover import LIVE_INCARNATIONS
from pyramid_zodb_async.scheduler.process import orderly_stop

#: What the history of the database says of the word.
NOTE = "ended in order"


@job(delay=3600)
def later():
    """Do nothing, in an hour."""


@job(delay=20)
def soon():
    """Do nothing, soon."""


def incarnation_of(process):
    return process.scheduler.process.incarnation


def beats(process):
    """Give the incarnations that have a beat."""
    return process.location.read(lambda store: list(store.runners)[1:], [])


def word_of(process):
    """Give the jobs of which a process has said that they still ran."""

    def read(store):
        beat = store.runners.get(incarnation_of(process))
        return beat and beat.ended

    return process.location.read(read, None)


def has(process, sid):
    """Tell whether a job is a process's, by its record."""
    return process.record(sid)["runner"] == incarnation_of(process)


@pytest.fixture
def stopped(processes):
    """Give a process that has stopped in order, and its waiting jobs."""
    made = processes()
    sids = [made.schedule(shop.give, number) for number in range(3)]
    made.scheduler.stop(grace=0)
    return made, sids


@pytest.fixture
def running(processes, gate):
    """Give a process, the job that it runs, and one that waits."""
    made = processes()
    sid = made.schedule(shop.wait_at, "gate")
    waiting = made.schedule(shop.nothing)
    answer = shop.Answer(made.run, sid)
    gate.wait_for_job()
    yield made, sid, waiting
    gate.open()
    answer.join(shop.PATIENCE)


# what becomes of the jobs


def test_what_waited_at_an_orderly_stop_is_no_suspect(stopped, process):
    _, sids = stopped
    process.take_over()
    assert sorted(process.engine.submitted) == sorted(sids)
    assert not any("suspect" in process.record(sid) for sid in sids)
    for _ in sids:
        process.run()

    assert [process.view(sid).result for sid in sids] == [0, 1, 2]


def test_it_needs_no_commit_more_than_jobs_that_were_not_taken_over(
    stopped, process, db
):
    process.take_over()
    before = len(log_of(db))
    process.run()

    assert len(log_of(db)) == before + 1


def test_what_ran_is_a_suspect_and_has_not_crashed(running, other):
    process, sid, waiting = running
    process.scheduler.stop(grace=0)
    assert word_of(process) == (sid,)
    other.take_over()

    assert other.record(sid)["suspect"]
    assert "crashes" not in other.record(sid)
    assert "suspect" not in other.record(waiting)


def test_a_suspect_that_ran_has_not_crashed_nor_needs_it_be_alone(
    processes, gate
):
    killed, process, other = processes(), processes(), processes()
    gates = [killed.schedule(shop.wait_at, "gate") for _ in range(2)]
    process.take_over()
    runs = [process.scheduler.claim(sid) for sid in gates]
    assert all(process.record(sid)["begun"] for sid in gates)
    process.scheduler.stop(grace=0)
    other.take_over()
    for run in runs:
        run.close()

    for sid in gates:
        record = other.record(sid)
        assert has(other, sid)
        assert record["suspect"]
        assert not {"crashes", "alone", "begun"} & set(record)


def test_what_was_a_suspect_before_stays_one(processes):
    sid = processes().schedule(shop.nothing)
    process, other = processes(), processes()
    process.take_over()
    process.scheduler.stop(grace=0)
    other.take_over()

    assert has(other, sid)
    assert other.record(sid)["suspect"]


def test_what_a_killed_process_leaves_is_suspect_as_before(stopped, processes):
    _, sids = stopped
    killed, other = processes(), processes()
    killed.take_over()
    killed.stop()
    other.take_over()

    assert all(other.record(sid)["suspect"] for sid in sids)


def test_a_claimed_job_that_has_not_begun_is_not_to_blame(processes):
    """A worker of Celery claims a job, and is told to stop."""
    script, worker, other = processes(), processes(), processes()
    script.stop()
    sid = script.schedule(shop.nothing)
    assert worker.scheduler.accept_message(sid, begun=True)
    worker.scheduler.stop(grace=0)
    other.take_over()

    assert has(other, sid)
    assert not {"suspect", "crashes", "begun"} & set(other.record(sid))


def test_a_job_that_is_due_later_is_no_suspect_either(processes):
    process, other = processes(), processes()
    sid = process.schedule(later)
    process.scheduler.stop(grace=0)
    other.take_over()

    assert has(other, sid)
    assert "suspect" not in other.record(sid)


def test_a_commit_that_comes_after_the_stop_is_taken_over_too(processes):
    """Its request was under way."""
    process, other = processes(), processes()
    process.schedule(shop.nothing)
    transaction.begin()
    late = process.scheduler.schedule(shop.nothing)
    process.scheduler.stop(grace=0)
    transaction.commit()
    assert has(process, late)
    other.take_over()

    assert has(other, late)
    assert "suspect" not in other.record(late)


# with a lease


def test_what_waited_is_taken_over_at_the_next_look(stopped, processes):
    _, sids = stopped
    process = processes()
    leased(process, lease=1000).take_over_lost()

    assert sorted(process.engine.submitted) == sorted(sids)
    assert not any("suspect" in process.record(sid) for sid in sids)


def test_what_ran_is_left_to_its_run_for_a_lease(running, other):
    process, sid, waiting = running
    leased(process).heartbeat.beat()
    process.scheduler.stop(grace=0)
    takeover = leased(other)
    takeover.take_over_lost()
    assert other.engine.submitted == [waiting]
    assert has(process, sid)
    look_until(takeover, lambda: has(other, sid))

    assert other.record(sid)["suspect"]


def test_a_run_that_ends_after_the_stop_is_done(running, other, gate):
    process, sid, _ = running
    process.scheduler.stop(grace=0)
    gate.open()
    takeover = leased(other)
    shop.wait_until(lambda: other.view(sid).done)
    takeover.take_over_lost()

    assert other.view(sid).result == "gate"
    assert sid not in other.engine.submitted


def test_what_is_soon_due_is_taken_over_before_that(processes):
    process, other = processes(), processes()
    sid = process.schedule(soon)
    process.scheduler.stop(grace=0)
    leased(other, lease=30).take_over_lost()

    assert has(other, sid)
    assert other.record(sid)["due"] > time.time()
    assert "suspect" not in other.record(sid)


def test_the_word_is_a_sign_that_a_silent_process_has_lived(processes):
    silent, process = processes(), processes()
    sid = processes().schedule(shop.nothing)
    leased(silent, lease=0.03)
    silent.take_over()
    silent.schedule(shop.nothing)
    silent.takeover = leased(silent, lease=0.03)
    silent.takeover.heartbeat.beat()
    assert silent.scheduler.claim(sid)
    look_until(leased(process, lease=0.03), lambda: has(process, sid))
    assert process.record(sid)["crashes"] == 1
    silent.scheduler.stop(grace=0)
    run = process.scheduler.claim(sid)

    assert run.failures == 0


# the word


def test_two_schedulers_of_a_process_are_told_apart(processes):
    stopped, lives, other = processes(), processes(), processes()
    sids = [process.schedule(shop.nothing) for process in (stopped, lives)]
    LIVE_INCARNATIONS.add(incarnation_of(lives))
    stopped.scheduler.stop(grace=0)
    # whatever the database has of it
    note = "a word that does not hold"
    other.location.write(
        lambda store: store.beat_of(incarnation_of(lives)).end(()), note=note
    )
    other.take_over()

    assert has(other, sids[0])
    assert has(lives, sids[1])


def test_a_persistent_scheduler_says_it_too(db, gate):
    with transaction.manager, db.transaction() as connection:
        connection.root()["jobs"] = PersistentTransactionalScheduler()
    connection = db.open()
    scheduler = connection.root()["jobs"]
    scheduler.workers = 1
    transaction.commit()
    sids = []
    for function, arguments in (shop.wait_at, ["gate"]), (shop.nothing, []):
        with transaction.manager:
            sids.append(scheduler.schedule(function, *arguments))
        gate.wait_for_job()
    scheduler.stop(grace=0)
    transaction.begin()
    (name,) = list(scheduler.runners)[1:]
    assert scheduler.runners[name].ended == (sids[0],)
    # the next process has the database open; that of before is gone
    gone = durable._processes[db].pop(scheduler._p_oid)
    scheduler.start()
    shop.wait_until(lambda: name not in incarnations_of(scheduler))
    gate.open()
    assert scheduler.wait(timeout=shop.PATIENCE)
    transaction.begin()
    # which stays when they have ended
    assert [scheduler.find(sid).suspect for sid in sids] == [True, False]
    scheduler.stop(grace=shop.PATIENCE)
    # its run, which is void, may still have a connection
    assert gone.process.dispatcher.engine.idle(shop.PATIENCE)
    transaction.abort()
    connection.close()


def incarnations_of(scheduler):
    transaction.begin()
    return list(scheduler.runners)


def test_a_process_without_jobs_says_nothing(process, db):
    process.schedule(shop.nothing)
    process.run()
    before = db.lastTransaction()
    process.scheduler.stop(grace=0)

    assert db.lastTransaction() == before


def test_it_is_said_once(stopped, db):
    process, _ = stopped
    assert NOTE in log_of(db)[0][0]
    before = db.lastTransaction()
    process.scheduler.stop(grace=0)

    assert db.lastTransaction() == before


def test_a_start_takes_it_back(stopped, processes):
    process, sids = stopped
    process.scheduler.start()
    assert word_of(process) is None
    other = processes()
    other.take_over()
    leased(other, lease=1000).take_over_lost()
    process.stop()
    other.take_over()

    assert all(other.record(sid)["suspect"] for sid in sids)


def test_a_start_that_fails_takes_it_back_when_it_is_tried_again(
    stopped, monkeypatch
):
    process, _ = stopped
    with monkeypatch.context() as patched:
        patched.setattr(process.location, "write", refuse)
        with pytest.raises(OSError, match="away"):
            process.scheduler.start()
    assert word_of(process) == ()
    process.scheduler.start()

    assert word_of(process) is None


def refuse(work, note):
    raise OSError("the storage is away")


def test_any_sign_of_life_takes_it_back(stopped):
    process, _ = stopped
    leased(process).heartbeat.beat()

    assert word_of(process) is None


def test_a_takeover_leaves_a_process_that_has_just_taken_it_back(
    stopped, other, monkeypatch
):
    process, sids = stopped
    takeover = leased(other, lease=1000)
    look = takeover._look

    def be_late():
        found = look()
        leased(process).heartbeat.beat()
        return found

    monkeypatch.setattr(takeover, "_look", be_late)
    takeover.take_over_lost()

    assert all(has(process, sid) for sid in sids)


def test_after_its_undo_all_is_as_after_a_kill(stopped, other, db):
    process, sids = stopped
    undo(db, NOTE)
    assert word_of(process) is None
    other.take_over()

    assert all(other.record(sid)["suspect"] for sid in sids)


def test_the_undo_of_a_takeover_brings_it_back(stopped, processes, db):
    process, sids = stopped
    other = processes()
    other.take_over()
    other.stop()
    assert word_of(process) is None
    undo(db, "takes jobs over")
    assert word_of(process) == ()
    last = processes()
    last.take_over()

    assert all(has(last, sid) for sid in sids)
    assert not any("suspect" in last.record(sid) for sid in sids)


# its end


def test_where_nobody_watches_it_goes_with_the_last_job(
    stopped, other, monkeypatch
):
    process, sids = stopped
    monkeypatch.setattr(module, "BATCH", 2)
    write = other.location.write
    done = []

    def end_between(work, note):
        if "takes jobs over" in note:
            done.append(note)
        if len(done) > 1:
            raise OSError("the process is gone")
        return write(work, note)

    with monkeypatch.context() as patched:
        patched.setattr(other.location, "write", end_between)
        with pytest.raises(OSError, match="gone"):
            other.take_over()
    (left,) = (sid for sid in sids if not has(other, sid))
    assert word_of(process) == ()
    other.take_over()
    assert has(other, left)
    assert "suspect" not in other.record(left)
    assert beats(other) == []


def test_there_it_goes_too_if_its_jobs_have_ended_otherwise(
    running, other, gate
):
    process, sid, waiting = running
    process.scheduler.stop(grace=0)
    gate.open()
    shop.wait_until(lambda: other.view(sid).done)
    with transaction.manager:
        other.scheduler.cancel(waiting)
    assert beats(other) == [incarnation_of(process)]
    other.take_over()

    assert beats(other) == []


def test_elsewhere_it_stays_for_a_while(stopped, processes):
    """A crash that was counted for its silence can be taken back by it."""
    process, _ = stopped
    other = processes()
    takeover = leased(other, lease=1000)
    takeover.take_over_lost()
    assert incarnation_of(process) in beats(other)
    for _ in range(FORGOTTEN_AFTER + 2):
        takeover.take_over_lost()

    assert incarnation_of(process) not in beats(other)


# a storage that does not take it


def test_a_stop_goes_on_though_nothing_can_be_written(
    processes, monkeypatch, caplog
):
    process, other = processes(), processes()
    sid = process.schedule(shop.nothing)
    with monkeypatch.context() as patched:
        patched.setattr(process.location, "write", refuse)
        process.scheduler.stop(grace=0)
    other.take_over()

    assert [record.action for record in caplog.records] == ["end_not_told"]
    assert other.record(sid)["suspect"]


def test_it_is_told_also_when_no_thread_can_be_started(processes, caplog):
    process = processes()
    process.schedule(shop.nothing)
    with no_new_threads():
        process.scheduler.stop(grace=0)

    assert word_of(process) == ()
    assert [record.action for record in caplog.records] == [
        "end_not_told_by_thread"
    ]


class Late:
    """A storage that does not answer until it is told to."""

    def __init__(self, location):
        self._write = location.write
        self.is_asked = threading.Event()
        self.answers = threading.Event()
        self.has_answered = threading.Event()

    def __call__(self, work, note):
        if NOTE not in note:
            return self._write(work, note)
        self.is_asked.set()
        assert self.answers.wait(shop.PATIENCE)
        try:
            return self._write(work, note)
        finally:
            self.has_answered.set()


def test_it_does_not_wait_for_a_storage_that_does_not_answer(
    processes, monkeypatch, caplog
):
    process = processes()
    process.schedule(shop.nothing)
    late = Late(process.location)
    monkeypatch.setattr(orderly_stop, "PATIENCE", 0.01)
    monkeypatch.setattr(process.location, "write", late)
    process.scheduler.stop(grace=0)
    assert "has not answered" in caplog.text
    assert word_of(process) is None
    late.answers.set()
    shop.wait_until(lambda: word_of(process) == ())


def test_an_answer_that_comes_after_the_next_start_says_nothing(
    processes, monkeypatch
):
    process = processes()
    process.schedule(shop.nothing)
    late = Late(process.location)
    monkeypatch.setattr(orderly_stop, "PATIENCE", 0.01)
    monkeypatch.setattr(process.location, "write", late)
    process.scheduler.stop(grace=0)
    process.scheduler.start()
    late.answers.set()
    assert late.has_answered.wait(shop.PATIENCE)

    assert word_of(process) is None


def test_one_that_comes_just_before_its_commit_says_nothing_either(
    processes, monkeypatch
):
    """It has been decided by then that there is something to say."""
    process = processes()
    process.schedule(shop.nothing)
    scheduler = process.scheduler
    tell = scheduler._orderly_stop._write

    def be_overtaken(store):
        tell(store)
        scheduler.start()  # the second time there is nothing to start

    monkeypatch.setattr(scheduler._orderly_stop, "_write", be_overtaken)
    scheduler.stop(grace=0)

    assert word_of(process) is None


def test_whoever_presses_ctrl_c_meanwhile_does_not_wait(
    processes, monkeypatch
):
    process = processes()
    process.schedule(shop.nothing)
    late = Late(process.location)
    monkeypatch.setattr(process.location, "write", late)

    def press():
        late.is_asked.wait(shop.PATIENCE)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    process.scheduler.stop(grace=0)
    presser.join()
    late.answers.set()
    assert late.has_answered.wait(shop.PATIENCE)


def test_a_database_that_is_closed_already_is_named(tmp_path, caplog):
    db = DB(FileStorage(str(tmp_path / "Closed.fs")))
    process = Process(db)
    process.schedule(shop.nothing)
    transaction.abort()
    db.close()
    process.scheduler.stop(grace=0)
    (record,) = caplog.records

    assert record.action == "end_not_told"
    assert record.exc_info is None
    assert "The database was closed before" in record.message


def test_a_scheduler_that_was_removed_is_not_told_of(db, gate, caplog):
    with transaction.manager, db.transaction() as connection:
        root = connection.root()
        root["jobs"] = PersistentTransactionalScheduler()
    connection = db.open()
    scheduler = connection.root()["jobs"]
    with transaction.manager:
        scheduler.schedule(shop.wait_at, "gate")
    gate.wait_for_job()
    with transaction.manager:
        del connection.root()["jobs"]
    db.pack(time.time() + 1)
    process = scheduler._process()
    process.stop(grace=0)
    gate.open()
    process.stop(grace=shop.PATIENCE)
    transaction.abort()
    connection.close()

    assert "end_not_told" not in [
        getattr(record, "action", None) for record in caplog.records
    ]


def test_a_child_says_nothing_for_its_parent(stopped, monkeypatch, db):
    """It was forked, has a copy of what its parent knows, and calls stop()."""
    process, _ = stopped
    process.scheduler.start()
    before = db.lastTransaction()
    child = os.getpid() + 1
    monkeypatch.setattr(os, "getpid", lambda: child)
    process.scheduler.stop(grace=0)
    monkeypatch.undo()

    assert db.lastTransaction() == before
    assert word_of(process) is None
