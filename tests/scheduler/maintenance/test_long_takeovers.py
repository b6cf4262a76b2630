"""A look goes on quickly, however many jobs others have or have left."""

import pytest
import shop
import transaction
from hand_driven import leased, look_until

from pyramid_zodb_async.scheduler.job_records import Cell
from pyramid_zodb_async.scheduler.maintenance import bulk_claims, job_search
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
)
from pyramid_zodb_async.scheduler.process import bulk_intake
from pyramid_zodb_async.scheduler.sids import split_sid

#: How many jobs a request schedules.
JOBS = 60


@pytest.fixture
def read(db, monkeypatch):
    """Give a function that tells how many jobs of blocks a look reads."""
    loaded, load = [], Cell.__setstate__

    def note(cell, state):
        loaded.append(cell)
        load(cell, state)

    monkeypatch.setattr(Cell, "__setstate__", note)

    def count(look):
        db.cacheMinimize()
        loaded.clear()
        look()
        return len(loaded)

    return count


@pytest.fixture(autouse=True)
def _few_at_a_time(monkeypatch):
    """Have a look read seven jobs at most, and windows have ten."""
    monkeypatch.setattr(job_search, "MOST_READ", 7)
    monkeypatch.setattr(bulk_intake, "WINDOW", 10)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 1000)


def shared(process):
    """Have a process be as on a storage that others have open too."""
    process.takeover = leased(process)
    return process


def name_of(process):
    return process.scheduler.process.incarnation


def held(process):
    """Give the sids of the jobs that a process is to run."""
    return {job.sid for job in process.scheduler.process.assigned_jobs.all()}


def look_until_held(process, number):
    look_until(process.takeover, lambda: len(held(process)) == number)


def one_by_one(process):
    """Schedule jobs in one transaction; the most of them are in a block."""
    transaction.begin()
    sids = [process.scheduler.schedule(shop.give, n) for n in range(JOBS)]
    transaction.commit()
    return sids


def in_a_bulk(process, function=shop.give):
    """Schedule a bulk, of which the process has claimed all windows."""
    process.scheduler.process.is_shared = True
    transaction.begin()
    calls = [(number,) for number in range(JOBS)]
    sids = list(process.scheduler.many(function, calls))
    transaction.commit()
    process.takeover.bulks.take_in()
    _, windows = windows_of(process, sids)
    assert windows == dict.fromkeys(range(JOBS // 10), name_of(process))
    return sids


def windows_of(process, sids):
    """Tell whether the block of a bulk is listed, and who has its windows."""
    number, key, *_ = split_sid(sids[0])

    def read(store):
        page = store.page_at(number, key).page
        return page.listed, dict(page.windows)

    return process.location.read(read, None)


@pytest.fixture(params=[one_by_one, in_a_bulk])
def schedule(request, monkeypatch):
    """Give a way to schedule many jobs."""
    monkeypatch.setattr(bulk_intake, "is_for_one_process", lambda _: False)
    return request.param


def test_what_is_only_silent_is_not_read(processes, schedule, read):
    silent, process = processes(), shared(processes())
    schedule(silent)
    process.take_over()

    assert read(process.take_over) <= 1
    assert held(process) == set()


def test_all_is_taken_over_a_few_at_a_time(processes, schedule):
    gone, process = processes(), processes()
    sids = schedule(gone)
    gone.stop()
    process = shared(process)
    look_until_held(process, JOBS)

    assert held(process) == set(sids)
    while process.engine.submitted:
        process.run()
    assert [process.view(sid).result for sid in sids] == list(range(JOBS))
    assert process.scheduler.unfinished() == []


def test_nobody_reads_again_what_is_taken_over(processes, schedule, read):
    gone, process, other = processes(), shared(processes()), processes()
    schedule(gone)
    gone.stop()
    look_until_held(process, JOBS)
    process.take_over()
    shared(other).take_over()
    for _ in range(3):
        process.takeover.heartbeat.beat()
        assert read(process.take_over) == 0
        assert read(other.take_over) <= 1

    assert held(other) == set()


def test_a_window_is_kept_by_who_has_taken_all_of_its_jobs(
    processes, monkeypatch
):
    monkeypatch.setattr(bulk_intake, "is_for_one_process", lambda _: False)
    gone, process = processes(), processes()
    sids = in_a_bulk(gone)
    for sid in sids[:3]:
        gone.run(sid)
    gone.stop()
    shared(process)
    look_until_held(process, JOBS - 3)
    _, windows = windows_of(process, sids)

    assert windows == dict.fromkeys(range(JOBS // 10), name_of(process))


#: Which numbers are refused.
refused = []


def give_if_allowed(number):
    """Return a number, unless it is refused."""
    if number in refused:
        raise ValueError(number)
    return number


def test_a_job_of_a_window_that_is_tried_again_runs_once_more(
    processes, monkeypatch
):
    monkeypatch.setattr(bulk_intake, "is_for_one_process", lambda _: False)
    gone, process = processes(), shared(processes())
    refused[:] = [5]
    sids = in_a_bulk(gone, give_if_allowed)
    gone.run(sids[5])
    refused.clear()
    transaction.begin()
    assert gone.scheduler.retry(sids[5])
    transaction.commit()
    gone.stop()
    look_until_held(process, JOBS)
    while process.engine.submitted:
        process.run()

    assert process.scheduler.unfinished() == []
    assert process.view(sids[5]).result == 5


def test_jobs_begin_before_the_last_one_is_read(processes, monkeypatch):
    gone, process = processes(), processes()
    one_by_one(gone)
    gone.stop()
    waiting = []
    beat_if_due = process.takeover.heartbeat.beat_if_due

    def note():
        waiting.append(len(held(process)))
        beat_if_due()

    monkeypatch.setattr(process.takeover.heartbeat, "beat_if_due", note)
    process.take_over()

    assert len(held(process)) == JOBS
    assert set(range(7, JOBS, 7)) <= set(waiting)


def test_a_look_that_takes_long_gives_signs_of_life(processes, monkeypatch):
    monkeypatch.setattr(job_search, "BETWEEN_BEATS", 5)
    script = processes(has_pages=False)
    for number in range(20):
        script.schedule(shop.give, number)
    process = shared(processes())
    signs = []
    monkeypatch.setattr(
        process.takeover.heartbeat, "beat_if_due", lambda: signs.append(1)
    )
    process.take_over()

    assert len(signs) >= 4


def test_what_cannot_be_taken_over_keeps_nobody_from_the_rest(
    processes, monkeypatch
):
    gone, process = processes(), processes()
    sids = one_by_one(gone)
    gone.stop()
    LIVE_INCARNATIONS.add(name_of(process))
    lost = process.takeover._lost

    def all_but_the_first(death, jobs, found):
        return [
            job
            for job in lost(death, jobs, found)
            if sids.index(job.sid) >= 20
        ]

    monkeypatch.setattr(process.takeover, "_lost", all_but_the_first)
    for _ in range(12):
        process.take_over()
    LIVE_INCARNATIONS.discard(name_of(process))

    assert held(process) == set(sids[20:])


def test_a_takeover_lets_other_chores_have_their_turn(processes):
    gone, process = processes(), processes()
    one_by_one(gone)
    gone.stop()
    process.scheduler.process.lease = 1e-6
    process.take_over()
    taken = len(held(process))
    for _ in range(20):
        process.take_over()

    assert taken < JOBS
    assert len(held(process)) == JOBS


def test_a_process_that_is_to_end_takes_over_no_more(processes, monkeypatch):
    gone, process = processes(), processes()
    one_by_one(gone)
    gone.stop()
    settle = process.takeover.shards.settle

    def wind_down():
        if held(process):
            process.scheduler.process.dispatcher.runs_jobs = False
        return settle()

    monkeypatch.setattr(process.takeover.shards, "settle", wind_down)
    process.take_over()

    assert 0 < len(held(process)) < JOBS / 2


def test_an_outage_in_a_takeover_is_no_silence_of_others(
    processes, monkeypatch
):
    gone, process = processes(), shared(processes())
    one_by_one(gone)
    gone.stop()
    find = process.takeover.search.find

    def fail_when_it_goes_on(*args):
        if held(process):
            raise OSError("away")
        return find(*args)

    monkeypatch.setattr(process.takeover.search, "find", fail_when_it_goes_on)
    with pytest.raises(OSError, match="away"):
        look_until_held(process, JOBS)

    assert process.takeover._liveness._last_look is None


def test_of_two_that_wait_for_a_job_of_a_third_one_takes_it_over(processes):
    first, gone = processes(), processes()
    sid = first.schedule(shop.nothing)
    first.stop()
    gone.take_over()
    assert gone.scheduler.claim(sid)
    # it must be silent for longer than any keeper that does nothing else
    gone.location.write(
        lambda store: store.locate(sid).record.change(crashes=2), note="two"
    )
    gone.stop()
    rivals = [shared(processes()) for _ in range(2)]
    keepers = []

    def beat_and_look():
        for rival in rivals:
            rival.takeover.heartbeat.beat()
            rival.take_over()
        keepers.append(keeper_of(gone, sid))

    look_until(
        rivals[0].takeover,
        lambda: any(sid in held(rival) for rival in rivals),
        between=beat_and_look,
    )

    assert len(set(keepers) - {name_of(gone)}) == 1


def keeper_of(process, sid):
    """Tell who keeps the shard of a job."""
    number, (shard_number, _), *_ = split_sid(sid)
    return process.location.read(
        lambda store: store.slices[number].shards[shard_number].keeper, None
    )


@pytest.mark.parametrize("is_old", [False, True])
def test_a_process_takes_back_what_another_has_taken_from_it(
    processes, is_old
):
    silent, other = shared(processes()), shared(processes())
    sids = one_by_one(silent)
    if is_old:
        silent.location.write(
            lambda store: store.open_slice(0, 3600), note="another hour"
        )
    silent.take_over()
    look_until_held(other, JOBS)
    silent.takeover.heartbeat.was_silent = True
    for _ in range(3):
        other.takeover.heartbeat.beat()
        silent.take_over()
    assert held(silent) == set()
    other.stop()
    look_until_held(silent, JOBS)
    while silent.engine.submitted:
        silent.run()

    assert silent.scheduler.unfinished() == []
    assert [silent.view(sid).result for sid in sids] == list(range(JOBS))


def test_a_window_that_another_has_taken_over_is_looked_at_again(
    processes, monkeypatch
):
    monkeypatch.setattr(bulk_intake, "is_for_one_process", lambda _: False)
    silent, other = shared(processes()), shared(processes())
    in_a_bulk(silent)
    look_until_held(other, JOBS)
    other.takeover.heartbeat.beat()
    silent.take_over()

    assert silent.scheduler.process.bulks.claimed == set()
