"""Jobs that nobody runs any more are found, and taken over."""

import threading

import pytest
import shop
import transaction
from process import Process
from ZODB.POSException import ConflictError

from pyramid_zodb_async.job import JobState
from pyramid_zodb_async.scheduler.recovery import (
    FORGOTTEN_AFTER,
    Recovery,
    RunnerWatch,
)

# for how long a runner is silent


def watch(lease=30):
    """Give a watch, and a function that looks after some seconds."""
    made = RunnerWatch(lease)
    now = [0.0]

    def look(beats, after=10):
        now[0] += after
        made.look(beats, now[0])

    return made, look


def test_a_runner_is_dead_after_its_lease_without_a_beat():
    made, look = watch()
    look({"other": 1})
    for _ in range(2):
        look({"other": 1})
        assert not made.is_dead("other")
    look({"other": 1})

    assert made.is_dead("other")
    assert not made.is_dead("unknown")


def test_a_beat_begins_the_lease_anew():
    made, look = watch()
    for beat in (1, 1, 1, 2, 2, 2):
        look({"other": beat})
        assert not made.is_dead("other")
    look({"other": 2})

    assert made.is_dead("other")


def test_a_runner_without_due_jobs_is_not_watched():
    made, look = watch()
    look({"other": 1})
    look({"other": 1})
    look({})
    for _ in range(3):
        look({"other": 1})
        assert not made.is_dead("other")


def test_time_in_which_a_look_failed_does_not_count():
    made, look = watch()
    look({"other": 1})
    for _ in range(10):
        made.missed()
        look({"other": 1}, after=100)

    assert not made.is_dead("other")


def test_a_watcher_that_was_stopped_itself_condemns_nobody():
    made, look = watch()
    look({"other": 1})
    look({"other": 1}, after=10_000)

    assert not made.is_dead("other")


def test_it_takes_three_looks_however_far_apart():
    made, look = watch()
    look({"other": 1})
    look({"other": 1}, after=1000)
    look({"other": 1}, after=1000)
    assert not made.is_dead("other")
    look({"other": 1}, after=1000)

    assert made.is_dead("other")


# processes


@pytest.fixture
def processes(db):
    """Make processes on one database."""
    made = []

    def make(**options):
        made.append(Process(db, **options))
        return made[-1]

    yield make
    transaction.abort()
    for process in made:
        process.stop()


def test_jobs_of_a_process_that_has_gone_run_in_the_next(processes):
    gone = processes()
    sids = [gone.schedule(shop.give, number) for number in range(120)]
    process = processes()
    process.take_over()
    while process.engine.submitted:
        process.run()

    assert [process.view(sid).result for sid in sids] == list(range(120))
    assert process.scheduler.unfinished() == []


def test_jobs_of_ones_own_are_not_taken_over(processes):
    process = processes()
    sid = process.schedule(shop.nothing)
    process.take_over()

    assert process.engine.submitted == [sid]
    assert "run_number" not in process.record(sid)


def test_a_job_that_was_not_handed_over_is_found(processes):
    """Its commit has raised in this process, and succeeded all the same."""
    process = processes()
    sid = process.schedule(shop.give, "found")
    process.scheduler.held.drop(sid)
    process.engine.submitted.clear()
    process.take_over()
    process.run()

    assert process.view(sid).result == "found"
    assert not process.view(sid).failure


def test_a_job_without_a_runner_is_not_suspect(processes):
    script = processes()
    script.stop()
    sid = script.schedule(shop.nothing)
    process = processes()
    process.take_over()

    assert "suspect" not in process.record(sid)


def end_process():
    """Stand for a function that ends its process."""


def test_suspects_run_one_at_a_time_and_the_guilty_one_is_found(processes):
    process = processes()
    innocent = [process.schedule(shop.give, number) for number in range(10)]
    guilty = process.schedule(end_process)
    restarts = 0
    while (process := processes()).take_over() or process.engine.submitted:
        restarts += 1
        while process.engine.submitted:
            (sid,) = process.engine.submitted
            if sid == guilty:
                # as the run begins, and no more is heard of the process
                assert process.scheduler.claim(sid) is not None
                break
            process.run()
    view = process.view(guilty)

    assert view.failure.type == "JobCrashed"
    assert (
        view.failure.message == "The process ended 4 times while the job ran"
    )
    assert restarts == 4
    assert [process.view(sid).result for sid in innocent] == list(range(10))
    value, error = process.scheduler.get_result(guilty)
    assert value is None
    assert str(error) == view.failure.message


def test_the_least_suspect_run_first(processes):
    process = processes()
    sids = [process.schedule(shop.nothing) for _ in range(3)]
    for _ in range(2):
        process = processes()
        process.take_over()
        while process.engine.submitted != [sids[0]]:
            process.scheduler.held.drop(process.engine.submitted.pop())
        process.scheduler.claim(sids[0])
    process = processes()
    process.take_over()
    order = []
    while process.engine.submitted:
        order.extend(process.engine.submitted)
        process.run()

    assert process.record(sids[0])["crashes"] == 2
    assert order[-1] == sids[0]
    assert len(order) == 3


def test_a_suspect_that_was_taken_over_meanwhile_is_not_begun(processes):
    processes().schedule(shop.nothing)
    first, second = processes(), processes()
    first.take_over()
    (sid,) = first.engine.submitted
    second.take_over()

    assert first.run(sid) is None
    assert first.scheduler.held.get(sid) is None
    assert second.run(sid) is None
    assert second.view(sid).state is JobState.SUCCEEDED


def test_a_suspect_whose_run_ends_well_is_not_counted(processes):
    processes().schedule(shop.nothing)
    process = processes()
    process.take_over()
    (sid,) = process.engine.submitted
    process.run()

    assert "crashes" not in process.record(sid)
    assert process.view(sid).attempt == 1


def conflict_always():
    raise ConflictError


def test_a_suspect_that_waits_for_its_next_run_is_not_to_blame(processes):
    sid = processes().schedule(conflict_always)
    for _ in range(6):
        process = processes()
        process.take_over()

        assert process.run(sid) is not None
        assert "crashes" not in process.record(sid)


def test_a_suspect_that_cannot_be_cleared_is_repeated_all_the_same(
    processes, monkeypatch, caplog
):
    sid = processes().schedule(conflict_always)
    process = processes()
    process.take_over()
    write = process.place.write

    def refuse(work, note):
        if note.endswith("waits"):
            raise OSError
        return write(work, note)

    monkeypatch.setattr(process.place, "write", refuse)

    assert process.run(sid) is not None
    assert process.run(sid) is not None
    assert "is to blame if the process ends" in caplog.text


def test_two_processes_do_not_take_the_same_jobs(processes):
    gone = processes()
    for _ in range(130):
        gone.schedule(shop.nothing)
    rivals = [processes() for _ in range(2)]
    together = threading.Barrier(2)

    def take_over(rival):
        together.wait(10)
        rival.take_over()

    threads = [
        threading.Thread(target=take_over, args=[rival]) for rival in rivals
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    # on a storage for one process each takes from the other what it can
    runners = [rival.scheduler.runner for rival in rivals]
    unfinished = rivals[0].scheduler.unfinished()
    owners = [rivals[0].record(sid)["runner"] for sid in unfinished]

    assert len(owners) == 130
    assert set(owners) <= set(runners)


def test_a_look_leaves_alone_what_ends_in_the_meantime(processes, monkeypatch):
    process = processes()
    process.schedule(shop.nothing)
    find = process.recovery._find

    def find_late(store):
        process.run()
        return find(store)

    monkeypatch.setattr(process.recovery, "_find", find_late)
    process.take_over()

    assert process.engine.submitted == []


# with a lease


def leased(process, lease=0.3):
    """Give the recovery of a process as it is on a shared storage."""
    scheduler = process.scheduler
    return Recovery(
        process.place,
        scheduler.held,
        scheduler.runner,
        lease=lease,
        attempts=4,
        timeout=scheduler.timeout_of,
    )


def look_until(recovery, condition, *, between=lambda: None):
    """Look again and again, as the housekeeper does."""
    pause = threading.Event()
    for _ in range(100):
        recovery.look()
        if condition():
            return
        between()
        pause.wait(0.1)
    raise AssertionError("it did not come to pass")


def test_a_silent_runner_loses_its_jobs(processes):
    silent, process = processes(), processes()
    sid = silent.schedule(shop.nothing)
    recovery = leased(process)
    recovery.look()
    assert process.engine.submitted == []
    look_until(recovery, lambda: process.engine.submitted)

    assert process.record(sid)["suspect"]


def test_a_runner_that_gives_signs_keeps_its_jobs(processes):
    alive, process = processes(), processes()
    alive.schedule(shop.nothing)
    signs = leased(alive)
    looks = []
    look_until(
        leased(process),
        lambda: looks.append(1) or len(looks) == 12,
        between=signs.tick,
    )

    assert process.engine.submitted == []


def test_a_runner_without_jobs_gives_no_signs(processes, db):
    process = processes()
    before = db.lastTransaction()
    leased(process).tick()
    assert db.lastTransaction() == before
    process.schedule(shop.nothing)
    before = db.lastTransaction()
    leased(process).tick()

    assert db.lastTransaction() > before


def test_a_look_that_fails_is_told_and_counts_for_nothing(
    processes, monkeypatch
):
    silent, process = processes(), processes()
    silent.schedule(shop.nothing)
    recovery = leased(process, lease=0.2)

    def fail(store, default):
        raise OSError("the storage is away")

    for _ in range(5):
        with monkeypatch.context() as patched:
            patched.setattr(process.place, "read", fail)
            with pytest.raises(OSError, match="away"):
                recovery.look()
        recovery.look()
        threading.Event().wait(0.1)

    assert process.engine.submitted == []


def test_signs_of_life_do_not_pile_up(processes):
    process = processes()
    for _ in range(3):
        ended = processes()
        ended.schedule(shop.nothing)
        leased(ended).tick()
        ended.run()
    unfinished = processes()
    unfinished.schedule(shop.nothing)
    leased(unfinished).tick()
    recovery = leased(process, lease=1000)
    for _ in range(FORGOTTEN_AFTER + 2):
        recovery.look()
    left = process.place.read(lambda store: list(store.runners), [])

    assert left == ["", unfinished.scheduler.runner]


def test_a_look_that_fails_where_there_is_no_lease_is_told_too(
    processes, monkeypatch
):
    process = processes()

    def fail(work, default):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(process.place, "read", fail)
        with pytest.raises(OSError, match="away"):
            process.take_over()


def conflict_when_told():
    """Conflict, after what the test does in between."""
    in_between[0]()
    raise ConflictError


in_between = []


def test_a_suspect_that_was_taken_over_while_it_ran_is_left_alone(processes):
    sid = processes().schedule(conflict_when_told)
    first, second = processes(), processes()
    first.take_over()
    in_between[:] = [second.take_over]
    assert first.run(sid) is not None
    assert first.run(sid) is None

    assert second.engine.submitted == [sid]
    assert "begun" not in second.record(sid)


def test_without_recovery_a_process_finds_what_was_not_handed_over(processes):
    process = processes()
    other = processes().schedule(shop.nothing)
    sid = process.schedule(shop.give, "found")
    process.scheduler.held.drop(sid)
    process.engine.submitted.clear()
    process.recovery.look_for_lost()

    assert process.engine.submitted == [sid]
    assert other not in process.scheduler.held
