"""The jobs of bulks that nobody has claimed, and what becomes of bulks."""

import sys
import threading
import time

import pytest
import shop
import transaction
import undoing
from hand_driven import leased
from interleaved import Begun

from pyramid_zodb_async.events import JobExpired
from pyramid_zodb_async.execution.subscribers import Announcer
from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.maintenance.expiry import SPAN, SliceExpiry
from pyramid_zodb_async.scheduler.process import bulk_intake
from pyramid_zodb_async.scheduler.sids import split_sid


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    """Have jobs claimed by fives."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 5)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 5)


@pytest.fixture
def process(processes):
    made = processes(timeout=100)
    made.takeover.shards.make_pages()
    return made


@pytest.fixture
def shared(process, monkeypatch):
    """Have the process be as it is on a storage that others have open."""
    monkeypatch.setattr(bulk_intake, "is_for_one_process", lambda _: False)
    process.takeover = leased(process, lease=10)


def schedule(process, count, **options):
    """Schedule a bulk; give its sids."""
    transaction.begin()
    calls = [(number,) for number in range(count)]
    sids = process.scheduler.many(shop.give, calls, **options)
    transaction.commit()
    return list(sids)


def tend(process, times=10):
    """Take jobs in, and run them."""
    for _ in range(times):
        process.takeover.bulks.take_in()
        while process.engine.submitted:
            process.run()


def claimed(process, sid):
    """Give the windows of a bulk that are claimed, and by whom."""
    number, key, *_ = split_sid(sid)
    return process.location.read(
        lambda store: dict(store.page_at(number, key).page.windows), {}
    )


def test_no_more_is_taken_in_than_can_be_run_soon(process):
    sids = schedule(process, 32)
    for _ in range(3):
        process.takeover.bulks.take_in()
    me = process.scheduler.process.incarnation

    # the first at once, and then as many as are enough
    assert claimed(process, sids[0]) == {0: me, 1: me}
    assert len(process.engine.submitted) == 10
    tend(process)
    assert [process.view(sid).result for sid in sids] == list(range(32))
    assert process.scheduler.unfinished() == []


def test_who_stops_takes_nothing_in(process):
    sids = schedule(process, 12)
    process.scheduler.process.dispatcher.runs_jobs = False
    process.takeover.bulks.take_in()

    assert claimed(process, sids[0]).keys() == {0}


def test_what_has_ended_unclaimed_is_not_taken_in(process):
    sids = schedule(process, 17)
    transaction.begin()
    for sid in (sids[6], *sids[10:]):
        assert process.scheduler.cancel(sid)
    transaction.commit()
    tend(process)
    process.take_over()
    tend(process)

    assert process.scheduler.unfinished() == []
    states = [process.view(sid).state.value for sid in sids]
    assert (
        states
        == ["succeeded"] * 6
        + ["cancelled"]
        + ["succeeded"] * 3
        + ["cancelled"] * 7
    )


def test_an_unclaimed_job_whose_cancel_is_undone_is_not_run(process, db):
    sids = schedule(process, 17)
    with transaction.manager:
        assert process.scheduler.cancel(sids[12])
        transaction.get().note("cancel")
    undoing.undo(db, "cancel")
    tend(process)
    process.take_over()

    assert process.scheduler.unfinished() == []
    ended = process.view(sids[12])
    assert (ended.state.value, ended.failure.type) == (
        "cancelled",
        "JobUndone",
    )
    assert [process.view(sid).result for sid in sids[:12] + sids[13:]] == [
        *range(12),
        *range(13, 17),
    ]


def test_a_bulk_that_is_gone_is_forgotten(process):
    schedule(process, 12)
    bulks = process.takeover.bulks
    process.scheduler.process.bulks.new.append((7, b"\1" * 16))
    for _ in range(3):
        tend(process)

    assert not bulks.are_wanted()


@pytest.mark.usefixtures("shared")
def test_what_is_due_later_is_taken_in_at_its_time(process, monkeypatch):
    real, ahead = time.time, 0
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    sids = schedule(process, 12, spread=1200)
    tend(process)
    # one each 100 s, and so a window has one
    before = len(claimed(process, sids[0]))
    bulks = process.takeover.bulks
    assert not bulks.are_wanted()
    ahead = 1000
    process.take_over()
    tend(process, 20)

    assert before == 1
    assert len(claimed(process, sids[0])) == 11


def test_the_outcomes_of_a_bulk_expire_together_and_each_is_told(
    process, monkeypatch
):
    real, ahead = time.time, 0
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    told = []

    class Listener(Announcer):
        def has_subscribers(self, kind):
            return kind is JobExpired

        def announce(self, kind, job):
            told.append(job.sid)

    monkeypatch.setattr(
        process.scheduler.process.commit_queue, "announcer", Listener()
    )
    sids = schedule(process, 12)
    transaction.begin()
    tend(process)
    process.scheduler.remove(sids[3])
    transaction.commit()
    process.forget()
    process.take_over()
    expiry = SliceExpiry(process.scheduler.process)
    for _ in range(4):
        ahead += SPAN
        expiry.open_and_drop()

    assert sorted(told) == sorted(set(sids) - {sids[3]})
    assert [process.view(sid) for sid in sids] == [None] * 12


def test_a_bulk_of_which_one_job_waits_keeps_all_its_outcomes(
    process, monkeypatch
):
    real, ahead = time.time, 0
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    sids = schedule(process, 12)
    tend(process, 1)
    expiry = SliceExpiry(process.scheduler.process)
    for _ in range(4):
        ahead += SPAN
        expiry.open_and_drop()
    number = split_sid(sids[0]).number
    assert number in process.location.read(lambda s: list(s.slices), [])
    tend(process)
    assert process.view(sids[-1]).result == 11
    process.take_over()
    for _ in range(3):
        ahead += 101
        expiry.open_and_drop()

    assert number not in process.location.read(lambda s: list(s.slices), [])


# -- Claims in doubt ----------------------------------------------------------


def key_of(sid):
    number, key, *_ = split_sid(sid)
    return number, key


def test_a_claim_in_doubt_that_comes_late_is_looked_after(process):
    sids = schedule(process, 17)
    bulks = process.takeover.bulks
    late = Begun(
        process.location, lambda store: bulks._claim(store, key_of(sids[0]))
    )
    bulks.note([])  # it may come still
    to_settle = process.scheduler.process.to_settle
    assert list(to_settle) == []
    assert late.commits()
    bulks.note([])
    assert list(to_settle) == sids[5:10]
    process.take_over()
    tend(process)

    assert [process.view(sid).result for sid in sids] == list(range(17))
    assert process.scheduler.unfinished() == []


def test_a_claim_in_doubt_that_never_comes_is_made_again(process):
    sids = schedule(process, 17)
    bulks = process.takeover.bulks
    Begun(
        process.location, lambda store: bulks._claim(store, key_of(sids[0]))
    ).abort()
    tend(process)
    process.take_over()

    assert list(process.scheduler.process.to_settle) == []
    assert [process.view(sid).result for sid in sids] == list(range(17))
    assert process.scheduler.unfinished() == []


def test_what_another_process_has_claimed_instead_is_left_to_it(
    process, other
):
    sids = schedule(process, 17)
    bulks = process.takeover.bulks
    late = Begun(
        process.location, lambda store: bulks._claim(store, key_of(sids[0]))
    )
    other.scheduler.process.bulks.new.append(key_of(sids[0]))
    other.takeover.bulks.take_in()
    assert not late.commits()
    bulks.note([])
    assert list(process.scheduler.process.to_settle) == []
    tend(process)
    tend(other)

    assert [process.view(sid).result for sid in sids] == list(range(17))


def test_a_bulk_in_doubt_that_is_undone_is_forgotten(process, db):
    transaction.begin()
    transaction.get().note("start")
    sids = list(process.scheduler.many(shop.give, [(1,)] * 17))
    transaction.commit()
    bulks = process.takeover.bulks
    Begun(
        process.location, lambda store: bulks._claim(store, key_of(sids[0]))
    ).abort()
    undoing.undo(db, "start")
    bulks.note([])
    tend(process)
    process.take_over()

    assert not bulks.are_wanted()
    assert process.scheduler.unfinished() == []
    assert [process.view(sid) for sid in sids] == [None] * 17


def test_a_process_that_runs_no_jobs_notes_no_bulks(process):
    process.scheduler.process.dispatcher.runs_jobs = False
    bulks = process.scheduler.process.bulks
    sids = schedule(process, 6)
    schedule(process, 6, spread=60)

    transaction.begin()
    process.scheduler.many(shop.give, [(1,)])
    for change in process.scheduler.process.changes.known(transaction.manager):
        change.leave_in_doubt()
    transaction.abort()

    assert (len(bulks.new), bulks.claimed, bulks.pauses) == (0, set(), {})
    process.scheduler.process.dispatcher.runs_jobs = True
    process.take_over()
    tend(process)
    assert [process.view(sid).result for sid in sids] == list(range(6))


def test_threads_may_schedule_bulks_while_others_are_forgotten(process):
    """They add what they have claimed."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        forget_while_threads_add(process)
    finally:
        sys.setswitchinterval(interval)


def forget_while_threads_add(process):
    process.take_over()
    claimed = process.scheduler.process.bulks.claimed
    claimed.update((number, (0, number), 0) for number in range(10_000))
    bulks, over = process.takeover.bulks, threading.Event()

    def add():
        number = 10_000
        while not over.is_set():
            number += 1
            claimed.add((number, (0, number), 0))

    adding = threading.Thread(target=add)
    adding.start()
    try:
        for _ in range(50):
            bulks.forget_all_but(set())
    finally:
        over.set()
        adding.join()
    bulks.forget_all_but(set())

    assert claimed == set()


# -- Clocks -------------------------------------------------------------------


@pytest.mark.usefixtures("shared")
@pytest.mark.parametrize("ahead", [0, -3600])
def test_the_pauses_of_a_bulk_end_though_the_clock_is_put_back(
    process, monkeypatch, ahead
):
    clock, counted, passed = time.time, time.monotonic, 0
    monkeypatch.setattr(time, "time", lambda: clock() + passed + ahead)
    monkeypatch.setattr(time, "monotonic", lambda: counted() + passed)
    put_back, ahead = ahead, 0
    sids = schedule(process, 17, spread=170)
    ahead, passed = put_back, 51
    process.take_over()
    tend(process, 10)

    # one each 10 s, and those that are due within a lease
    assert claimed(process, sids[0]).keys() == set(range(7))
    # it is forgotten when all are claimed
    assert len(process.scheduler.process.bulks.pauses) == 1
    passed = 200
    process.take_over()
    tend(process, 20)
    assert process.scheduler.process.bulks.pauses == {}


def test_a_claim_hands_its_jobs_over_though_another_stays_in_doubt(
    process, monkeypatch
):
    sids = schedule(process, 17)
    bulks = process.takeover.bulks

    def fail():
        raise OSError("the storage is away")

    monkeypatch.setattr(bulks, "_look_after_doubt", fail)
    with pytest.raises(OSError, match="away"):
        bulks.take_in()

    assert process.engine.submitted == sids[:10]


def test_a_process_that_waits_for_a_bulk_that_is_due_later_keeps_its_shard(
    process, shared, other
):
    sids = schedule(process, 12, spread=1200)
    tend(process)
    assert claimed(process, sids[0]).keys() == {0}
    number, (shard_number, _), *_ = split_sid(sids[0])
    takeover = leased(other, lease=0.1)
    for _ in range(8):
        process.takeover.heartbeat.beat()
        process.take_over()
        takeover.take_over_lost()
        shop.over.wait(0.1)
    keeper = process.location.read(
        lambda store: store.slices[number].shards[shard_number].keeper, None
    )

    assert keeper == process.scheduler.process.incarnation
    process.scheduler.process.lease = other.scheduler.process.lease = 1e6
    for rival in process, other:
        rival.takeover.bulks.note([])
    tend(process)
    assert process.scheduler.unfinished() == []
