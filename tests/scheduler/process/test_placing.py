"""Where new jobs are stored, and what their transaction writes for that."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import shop
import transaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async.database.connections import current_connections
from pyramid_zodb_async.jobs.option_checks import checked
from pyramid_zodb_async.jobs.owners import as_owner
from pyramid_zodb_async.scheduler.maintenance.findings import OpenShard
from pyramid_zodb_async.scheduler.process.assigned_job import AssignedJob
from pyramid_zodb_async.scheduler.process.placing import MOST_PAGES
from pyramid_zodb_async.scheduler.records import Cell, Page
from pyramid_zodb_async.scheduler.sids import split_sid
from pyramid_zodb_async.scheduler.slices import ALL

#: More jobs than have pages of their own.
MANY = MOST_PAGES + 8


def schedule_many(process, number=MANY):
    """Schedule so many jobs in the transaction of this thread."""
    schedule = process.scheduler.schedule
    return [schedule(shop.give, count) for count in range(number)]


def written(process):
    """Commit, and give the classes of the objects that this has written."""
    transaction.commit()
    storage = process.db.storage
    last = storage.lastTransaction()
    oids = [it.oid for txn in storage.iterator(last, last) for it in txn]
    connection = process.db.open(transaction.TransactionManager())
    names = [type(connection.get(oid)).__name__ for oid in oids]
    connection.close()
    return names


def run_all(process):
    while process.engine.submitted:
        process.run()


def results(process, sids):
    return [process.view(sid).result for sid in sids]


def located(process, sids, tell):
    """Tell something of jobs as they are in the database."""
    return process.location.read(
        lambda store: [tell(store.locate(sid)) for sid in sids], []
    )


def test_a_job_writes_its_page_and_nothing_else(process):
    transaction.begin()
    sid = process.scheduler.schedule(shop.nothing)
    assert written(process) == ["Page"]
    process.run()
    transaction.begin()
    process.scheduler.remove(sid)

    assert written(process) == ["Page"]


def test_the_first_jobs_of_a_transaction_have_pages_the_others_a_block(
    process,
):
    transaction.begin()
    sids = schedule_many(process)
    classes = written(process)
    of_block = split_sid(sids[-1]).page
    first, others = sids[:MOST_PAGES], sids[MOST_PAGES:]
    first_pages = {split_sid(sid).page for sid in first}

    assert {split_sid(sid).cell for sid in first} == {None}
    assert len(first_pages | {of_block}) == MOST_PAGES + 1
    # the first of the others may have found the block's own change
    assert {split_sid(sid).page for sid in others} == {of_block}
    assert [split_sid(sid).cell for sid in others] == list(range(len(others)))
    assert sorted(set(classes)) == ["Cell", "IITreeSet", "IOBTree", "Page"]
    assert classes.count("Cell") == len(others)
    run_all(process)
    assert results(process, sids) == list(range(MANY))
    process.take_over()
    assert process.scheduler.unfinished() == []


def test_what_the_jobs_of_a_block_have_in_common_is_stored_once(process):
    transaction.begin()
    sids = schedule_many(process)
    transaction.commit()
    cells = located(process, sids, lambda job: dict(vars(job.record)))[-3:]
    (page,) = located(
        process, sids[-1:], lambda job: (job.block.function, job.block.runner)
    )

    assert {key for cell in cells for key in cell} == {"call"}
    assert page == ("shop:give", process.scheduler.process.incarnation)


def give_another(value):
    return value


def test_a_job_that_differs_tells_so_itself(process):
    transaction.begin()
    schedule_many(process)
    other = process.scheduler.schedule(give_another, "other")
    named = process.scheduler.schedule_call(
        shop.give,
        ("named",),
        {},
        current_connections(),
        owner="ann",
        options={"title": "Title"},
    )
    last = process.scheduler.schedule(shop.give, "last")
    transaction.commit()
    run_all(process)

    assert results(process, [other, named, last]) == [
        "other",
        "named",
        "last",
    ]
    assert process.view(other).function.endswith(":give_another")
    assert process.view(named).function == "shop:give"
    assert process.view(named).owner == "ann"
    assert process.view(named).options.title == "Title"
    assert process.view(last).owner is None
    assert process.view(last).options.title is None


@pytest.mark.parametrize("number", [0, MANY])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"owner": "ann", "base_url": "https://shop.example"},
        {"owner": as_owner(7), "options": {"title": "Title"}},
        {"options": {"delay": 10}},
        {"options": {"delay": 10, "attempts": 2}},
    ],
)
def test_memory_has_of_a_new_job_what_is_stored_of_it(process, number, given):
    transaction.begin()
    schedule_many(process, number)
    sid = process.scheduler.schedule_call(
        shop.give, (1,), {}, current_connections(), **given
    )
    transaction.commit()
    known = process.scheduler.process.assigned_jobs.get(sid)
    (stored,) = located(process, [sid], AssignedJob.of)

    delay = given.get("options", {}).get("delay")
    assert known.is_new == (delay is None)
    assert (known.counted_due is None) == (delay is None)
    assert stored == replace(known, is_new=False, counted_due=None)
    assert type(stored.owner) is type(known.owner)
    assert type(stored.due) is type(known.due)


def test_a_job_of_no_process_is_listed_and_takes_no_page(process):
    free = len(process.scheduler.process.free_pages)
    transaction.begin()
    sid = process.scheduler.schedule_call(
        shop.give, (1,), {}, current_connections(), options={"delay": 1e6}
    )
    transaction.commit()
    # on a storage of one process it is its own even so
    is_own = sid in process.scheduler.process.assigned_jobs
    process.scheduler.process.dispatcher.runs_jobs = False
    left = process.schedule(shop.give, 2)

    assert is_own or isinstance(split_sid(sid).page, bytes)
    assert isinstance(split_sid(left).page, bytes)
    assert len(process.scheduler.process.free_pages) == free - is_own
    assert listed(process) == [(split_sid(left).page, None)]


def listed(process):
    return process.location.read(
        lambda store: list(store.newest()[1].listed()), []
    )


def test_many_jobs_of_no_process_are_a_block_that_is_listed(process, other):
    process.scheduler.process.dispatcher.runs_jobs = False
    transaction.begin()
    sids = schedule_many(process)
    transaction.commit()
    indexes = [index for _, index in listed(process)]
    # what tells who runs them counts among the changes of the transaction
    assert len(indexes) <= MOST_PAGES + 1
    assert indexes.count(ALL) == 1
    other.take_over()
    run_all(other)

    assert results(other, sids) == list(range(MANY))
    other.take_over()
    assert listed(other) == []


def test_without_a_free_page_a_job_is_listed_and_pages_are_asked_for(
    processes,
):
    process = processes(has_pages=False)
    woken = []
    process.scheduler.process.wake_maintenance = lambda: woken.append(True)
    sid = process.schedule(shop.give, "listed")
    assert listed(process) == [(split_sid(sid).page, None)]
    assert woken
    process.takeover.shards.make_pages()
    later = process.schedule(shop.give, "in a page")
    run_all(process)

    assert isinstance(split_sid(later).page, tuple)
    assert results(process, [sid, later]) == ["listed", "in a page"]
    assert listed(process) == []


@pytest.mark.parametrize("number", [1, MANY])
def test_a_page_that_another_process_closes_meanwhile_makes_a_conflict(
    process, other, number
):
    transaction.begin()
    schedule_many(process, number)
    (slice_number,) = process.location.read(
        lambda store: list(store.slices), []
    )
    keeper = process.scheduler.process.incarnation
    shard = OpenShard(slice_number, 0, keeper)
    assert other.takeover.shards.adopt(keeper, [shard])
    with pytest.raises(ConflictError):
        transaction.commit()
    transaction.abort()
    sids = [process.schedule(shop.give, count) for count in range(number)]
    run_all(process)

    assert results(process, sids) == list(range(number))


def test_a_transaction_that_is_older_than_the_pages_lists_its_jobs(
    processes, db
):
    process = processes(has_pages=False)
    transaction.begin()
    current_connections().to(db).root()._p_activate()
    shop.in_thread(process.takeover.shards.make_pages)
    sids = schedule_many(process)
    transaction.commit()
    run_all(process)

    assert {isinstance(split_sid(sid).page, bytes) for sid in sids} == {True}
    assert results(process, sids) == list(range(MANY))
    process.take_over()
    assert listed(process) == []
    assert len(process.scheduler.process.free_pages) > 0


def open_slice(process):
    process.location.write(
        lambda store: store.open_slice(0, 3600), note="another hour"
    )


@pytest.mark.parametrize("number", [1, MANY])
def test_a_slice_that_is_opened_meanwhile_does_no_harm(process, number):
    transaction.begin()
    early = schedule_many(process, number)
    open_slice(process)
    transaction.commit()
    run_all(process)
    process.takeover.shards.make_pages()
    late = [process.schedule(shop.give, count) for count in range(number)]
    run_all(process)
    process.take_over()

    assert results(process, early + late) == 2 * list(range(number))
    assert process.scheduler.unfinished() == []


def test_jobs_after_the_rollback_of_a_block_are_in_another(process):
    transaction.begin()
    first = schedule_many(process, MOST_PAGES + 1)
    savepoint = transaction.savepoint()
    schedule_many(process)
    savepoint.rollback()
    second = schedule_many(process, 2)
    transaction.commit()
    transaction.begin()
    before = transaction.savepoint()
    schedule_many(process)
    before.rollback()
    third = schedule_many(process)
    transaction.commit()
    run_all(process)

    assert results(process, first) == list(range(MOST_PAGES + 1))
    assert results(process, second) == [0, 1]
    assert results(process, third) == list(range(MANY))
    process.take_over()
    assert process.scheduler.unfinished() == []


def test_a_job_of_a_block_is_cancelled_and_removed_by_itself(process):
    transaction.begin()
    sids = schedule_many(process)
    transaction.commit()
    with transaction.manager:
        assert process.scheduler.cancel(sids[-1])
        process.scheduler.remove(sids[-2])
    run_all(process)

    assert results(process, sids[:-2]) == list(range(MANY - 2))
    assert process.view(sids[-1]).state == "cancelled"
    assert process.view(sids[-2]) is None


def test_the_classes_of_records_are_few(process):
    transaction.begin()
    sids = schedule_many(process)
    transaction.commit()
    kinds = located(process, sids, lambda job: type(job.record))

    assert kinds == [Page] * MOST_PAGES + [Cell] * (MANY - MOST_PAGES)


def test_a_forked_child_is_another_process_without_jobs(process):
    process.schedule(shop.give, 1)
    parts = process.scheduler.process
    before, pages = parts.incarnation, len(parts.free_pages)
    assert pages
    assert len(parts.assigned_jobs) == 1
    parts._begin_in_child()

    assert parts.incarnation != before
    assert parts.dispatcher.incarnation == parts.incarnation
    assert len(parts.assigned_jobs) == len(parts.free_pages) == 0


def test_the_jobs_of_a_bulk_follow_the_moment_of_the_first(process):
    begin = datetime.now(UTC) + timedelta(seconds=5)
    transaction.begin()
    sids = process.scheduler.schedule_calls(
        shop.give,
        [((1,), {}), ((2,), {})],
        current_connections(),
        options=checked({"at": begin}),
        spread=4.0,
    )
    transaction.commit()
    first, second = (process.view(sid).due_at for sid in sids)

    assert first == pytest.approx(begin.timestamp())
    assert second - first == pytest.approx(2)


def test_a_job_of_a_bulk_that_its_transaction_cancels_is_not_run(process):
    transaction.begin()
    sids = process.scheduler.many(shop.give, [(1,), (2,), (3,)])
    assert process.scheduler.cancel(sids[0])
    transaction.commit()

    assert sorted(process.engine.submitted) == sorted(sids[1:])
