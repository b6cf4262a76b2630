"""The jobs of a block are taken over by one write, and none of them twice."""

import contextlib
import itertools
import time

import pytest
import shop
import storages
import transaction
import zodburi
from hand_driven import leased, look_until
from interleaved import Begun, in_order
from storages import LASTING
from undoing import undo
from ZODB.DB import DB

from pyramid_zodb_async import JobState, current_job, job
from pyramid_zodb_async.scheduler.job_records import AS_BLOCK
from pyramid_zodb_async.scheduler.maintenance import block_moves
from pyramid_zodb_async.scheduler.maintenance.findings import OpenShard
from pyramid_zodb_async.scheduler.maintenance.lost_jobs import LostJob
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover
from pyramid_zodb_async.scheduler.records import Cell
from pyramid_zodb_async.scheduler.sids import split_sid
from pyramid_zodb_async.scheduler.store.crash_counts import Death
from pyramid_zodb_async.scheduler.store.transitions import (
    End,
    finish,
    try_again,
)

#: How many jobs a request schedules; the last of them are in a block.
JOBS = 16

both_orders = pytest.mark.parametrize("order", ["first", "last"])


@pytest.fixture
def processes(processes):
    """Make processes that take every other for gone, whatever the storage."""

    def make():
        made = processes()
        made.scheduler.process.is_shared = False
        made.takeover = Takeover(made.scheduler.process)
        return made

    return make


on_lasting_storages = pytest.mark.parametrize(
    "db", [storage for _, storage in LASTING], indirect=True
)


@pytest.fixture
def db(request, tmp_path):
    """Give a database on a storage that keeps what it is told."""
    with storages.uri_of(getattr(request, "param", "file"), tmp_path) as uri:
        factory, options = zodburi.resolve_uri(uri)
        with contextlib.closing(DB(factory(), **options)) as opened:
            yield opened


def schedule(process, function=shop.nothing):
    """Schedule jobs in one transaction; give the sids of those in a block."""
    transaction.begin()
    sids = [process.scheduler.schedule(function) for _ in range(JOBS)]
    transaction.commit()
    return in_block(sids)


@job(delay=20)
def later():
    """Do nothing, but not at once."""


@job(priority=5)
def urgent():
    """Do nothing."""


def in_block(sids):
    """Give those of some sids that are of jobs in a block."""
    found = [sid for sid in sids if split_sid(sid).cell is not None]
    assert found
    return found


def stored(process, sid):
    """Give what is stored of a job itself, and the fence of the job."""

    def read(store):
        job = store.locate(sid)
        cell = job.record
        cell._p_activate()
        own = {name: getattr(cell, name) for name in ("runner", "run_number")}
        return own, cell._p_serial, job.fence, job.suspect

    return process.location.read(read, None)


def name_of(process):
    return process.scheduler.process.incarnation


def lost(process, sids):
    """Give jobs as a look reads them."""
    return process.location.read(
        lambda store: [LostJob.of(store.locate(sid), 3) for sid in sids], None
    )


def move(process, gone, sids):
    """Begin a transaction that takes jobs over."""
    return Begun(
        process.location,
        lambda store: process.takeover._end_or_claim(
            store,
            lost(process, sids),
            Death(name_of(gone), None),
            is_last=False,
            tries=itertools.count(),
        ),
    )


def run_all(process):
    """Run what the engine of a process has, until it has nothing."""
    while process.engine.submitted:
        process.run()


def test_a_takeover_writes_the_block_and_not_its_jobs(processes):
    gone, process = processes(), processes()
    sids = schedule(gone)
    before = [stored(gone, sid) for sid in sids]
    process.take_over()
    after = [stored(process, sid) for sid in sids]

    assert [own for own, *_ in after] == [
        {"runner": AS_BLOCK, "run_number": 0}
    ] * len(sids)
    assert [serial for _, serial, *_ in after] == [
        serial for _, serial, *_ in before
    ]
    assert {fence for *_, fence, _ in after} == {
        ("pending", name_of(process), 1)
    }
    assert all(suspect for *_, suspect in after)
    run_all(process)
    assert {process.view(sid).state for sid in sids} == {JobState.SUCCEEDED}
    assert process.scheduler.unfinished() == []


#: Whom a job of the test has run for, and what is done while it runs.
ran, meanwhile = [], []


@pytest.fixture(autouse=True)
def _nothing_meanwhile():
    ran.clear()
    meanwhile.clear()


def interrupted():
    """Leave an effect, with what the test does meanwhile."""
    transaction.savepoint(optimistic=True).rollback()
    ran.append(current_job().sid)
    while meanwhile:
        meanwhile.pop()()
    transaction.savepoint(optimistic=True).rollback()


@on_lasting_storages
def test_a_run_conflicts_with_a_takeover_meanwhile(processes):
    silent, process = processes(), processes()
    sids = schedule(silent, interrupted)
    meanwhile.append(process.take_over)
    silent.run(sids[0])

    assert ran == [sids[0]]
    assert process.view(sids[0]).state is JobState.PENDING
    assert not silent.scheduler.process.assigned_jobs.running()
    ran.clear()
    run_all(process)
    run_all(silent)
    assert sorted(sid for sid in ran if sid in sids) == sorted(sids)
    assert process.scheduler.unfinished() == []


@on_lasting_storages
def test_a_takeover_conflicts_with_a_run_that_ends_meanwhile(processes):
    silent, process = processes(), processes()
    sids = schedule(silent, interrupted)
    takeover = move(process, silent, sids)
    silent.run(sids[0])
    assert not takeover.commits()
    process.take_over()
    ran.clear()
    run_all(process)

    assert sorted(sid for sid in ran if sid in sids) == sorted(sids[1:])


CHANGES = {
    "cancel": lambda job: finish(
        job, job.fence, JobState.CANCELLED, End.now(60)
    ),
    "mark": lambda job: job.change(job.fence, begun=True),
    "retry": lambda job: try_again(
        job, job.fence, time.time(), job.runner, failures=1
    ),
    "free": lambda job: job.change(
        job.fence, runner=None, run_number=job.run_number + 1
    ),
}


@on_lasting_storages
@both_orders
@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_a_job_conflicts_with_its_takeover(
    processes, change, order
):
    silent, process = processes(), processes()
    sids = schedule(silent)
    other = Begun(
        silent.location,
        lambda store: CHANGES[change](store.locate(sids[0])),
    )
    takeover = move(process, silent, sids)

    committed = in_order(order, other, takeover)
    assert committed == (order == "first", order == "last")


@on_lasting_storages
@both_orders
def test_one_of_two_takeovers_moves_a_block(processes, order):
    silent, one, other = processes(), processes(), processes()
    sids = schedule(silent)
    committed = in_order(
        order, move(one, silent, sids), move(other, silent, sids)
    )

    assert committed == (order == "first", order == "last")


def test_a_job_that_changes_after_the_look_is_left_alone(processes):
    gone, process = processes(), processes()
    sids = schedule(gone)
    read, tried = lost(process, sids), []
    cancelled, *others = sids

    def claim(store):
        if not tried:  # it is committed when this transaction has begun
            transaction.begin()
            gone.scheduler.cancel(cancelled)
            transaction.commit()
        tried.append(store)
        claimed, *_ = process.takeover._end_or_claim(
            store,
            read,
            Death(name_of(gone), None),
            is_last=False,
            tries=tries,
        )
        return [job.sid for job in claimed]

    tries = itertools.count()
    claimed = process.location.write(claim, note="a takeover")

    assert claimed == others
    assert len(tried) == 2
    assert process.view(cancelled).state is JobState.CANCELLED


def test_a_job_that_has_begun_is_blamed_alone(processes):
    gone, second, third = processes(), processes(), processes()
    sids = schedule(gone)
    second.take_over()
    begun, *others = sids
    assert second.scheduler.claim(begun)
    own, *_ = stored(second, begun)
    assert own == {"runner": name_of(second), "run_number": 1}
    third.take_over()

    assert third.record(begun)["crashes"] == 1
    assert third.record(begun)["run_number"] == 2
    for sid in others:
        own, _, fence, suspect = stored(third, sid)
        assert own == {"runner": AS_BLOCK, "run_number": 0}
        assert fence == ("pending", name_of(third), 2)
        assert suspect


def test_jobs_that_are_not_due_stay_with_their_process(processes, db):
    gone, process = processes(), processes()
    transaction.begin()
    sids = [
        gone.scheduler.schedule(later if number >= JOBS else shop.nothing)
        for number in range(JOBS + 4)
    ]
    transaction.commit()
    sids = in_block(sids)
    takeover = leased(process, lease=0.3)
    process.scheduler.process.lease = 30
    takeover.search._lease = 30
    look_until(
        takeover,
        lambda: stored(process, sids[0])[2].runner == name_of(process),
    )
    found = [stored(process, sid) for sid in sids]

    assert {(own["runner"], fence) for own, _, fence, _ in found[-4:]} == {
        (name_of(gone), ("pending", name_of(gone), 0))
    }
    assert found[0][0]["runner"] == AS_BLOCK


def test_what_is_not_due_is_no_suspect(processes):
    gone, process = processes(), processes()
    sids = schedule(gone, later)
    process.take_over()

    for sid in sids:
        own, _, fence, suspect = stored(process, sid)
        assert own["runner"] == AS_BLOCK
        assert fence.runner == name_of(process)
        assert not suspect


def test_of_a_very_large_block_each_job_is_written(processes, monkeypatch):
    monkeypatch.setattr(block_moves, "MOST_JOBS", 5)
    gone, process = processes(), processes()
    sids = schedule(gone)
    process.take_over()

    for sid in sids:
        own, _, fence, _ = stored(process, sid)
        assert own == {"runner": name_of(process), "run_number": 1}
        assert fence.runner == name_of(process)
    run_all(process)
    assert process.scheduler.unfinished() == []


def test_a_takeover_does_not_show_a_job_that_has_ended_anew(processes):
    gone, process = processes(), processes()
    sids = schedule(gone)
    gone.run(sids[0])
    before = process.view(sids[0]).version
    process.take_over()

    assert process.view(sids[0]).version == before


def test_an_end_after_a_takeover_has_a_greater_version(processes):
    gone, process = processes(), processes()
    sids = schedule(gone)
    process.take_over()
    before = process.view(sids[0]).version
    transaction.begin()
    process.scheduler.cancel(sids[0])
    transaction.commit()
    ended = process.view(sids[0]).version
    assert ended > before
    process.stop()
    successor = processes()
    successor.take_over()

    assert successor.view(sids[0]).version == ended


@pytest.mark.parametrize("undone_first", [True, False])
def test_an_undone_job_of_a_block_stays_undone(processes, db, undone_first):
    gone, process = processes(), processes()
    sids = schedule(gone)
    gone.run(sids[0])
    before = process.view(sids[0]).version
    if undone_first:
        undo(db, f"job {sids[0]}")
        process.take_over()
    else:
        process.take_over()
        undo(db, f"job {sids[0]}")
        assert process.view(sids[0]).state is JobState.PENDING
        process.take_over()
    seen = process.view(sids[0])

    assert seen.state is JobState.CANCELLED
    assert seen.version > before
    assert sids[0] not in process.engine.submitted


def test_jobs_with_options_of_their_own_are_moved_along(processes):
    gone, process = processes(), processes()
    transaction.begin()
    sids = in_block(
        [
            gone.scheduler.schedule(urgent if number % 2 else shop.nothing)
            for number in range(JOBS)
        ]
    )
    transaction.commit()
    process.take_over()

    assert {stored(process, sid)[0]["runner"] for sid in sids} == {AS_BLOCK}
    jobs = process.scheduler.process.assigned_jobs
    assert {jobs.get(sid).options.priority for sid in sids} == {0, 5}
    run_all(process)
    assert process.scheduler.unfinished() == []


def test_a_block_that_is_left_to_others_keeps_its_run_number(
    processes, monkeypatch
):
    gone, second, third, fourth = [processes() for _ in range(4)]
    sids = schedule(gone)
    second.take_over()
    shards = third.takeover.shards
    monkeypatch.setattr(shards, "_leaves_some", lambda: True)
    monkeypatch.setattr(shards, "_leaves", lambda definition: True)
    number, (shard_number, _), *_ = split_sid(sids[0])
    shard = OpenShard(number, shard_number, name_of(second))
    assert shards.adopt(name_of(second), [shard])
    found = [stored(third, sid) for sid in sids]
    assert {fence for *_, fence, _ in found} == {
        ("pending", name_of(second), 1)
    }
    assert all(suspect for *_, suspect in found)
    fourth.take_over()

    # the processes that look at it look after each job by itself
    for sid in sids:
        own, _, fence, suspect = stored(fourth, sid)
        assert own == {"runner": name_of(fourth), "run_number": 2}
        assert fence.run_number == 2
        assert suspect
    run_all(fourth)
    assert fourth.scheduler.unfinished() == []


def test_a_new_cell_says_what_its_block_says():
    assert Cell().runner == AS_BLOCK
