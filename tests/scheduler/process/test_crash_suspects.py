"""Jobs that may be to blame for the end of a process."""

import threading

import pytest
import shop
from ZODB.POSException import ConflictError

from pyramid_zodb_async.jobs.model import JobState


def test_a_suspect_that_cannot_be_marked_is_tried_again(
    process, other, monkeypatch, caplog
):
    process.schedule(shop.give, "outcome")
    other.take_over()
    (sid,) = other.engine.submitted

    def fail(work, note):
        raise OSError("the storage is away")

    with monkeypatch.context() as patched:
        patched.setattr(other.location, "write", fail)
        assert other.run(sid) > 0
    assert "cannot be begun now" in caplog.text
    assert other.run(sid) is None
    assert other.view(sid).result == "outcome"


def test_a_suspect_that_is_gone_is_not_begun(process, other):
    process.schedule(shop.give, "outcome")
    other.take_over()
    (sid,) = other.engine.submitted
    shop.in_thread(lambda: process.scheduler.remove(sid))

    assert other.run(sid) is None
    assert sid not in other.scheduler.process.assigned_jobs


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
            process.scheduler.process.assigned_jobs.drop(
                process.engine.submitted.pop()
            )
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
    assert first.scheduler.process.assigned_jobs.get(sid) is None
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
    write = process.location.write

    def refuse(work, note):
        if note.endswith("waits"):
            raise OSError
        return write(work, note)

    monkeypatch.setattr(process.location, "write", refuse)

    assert process.run(sid) is not None
    assert process.run(sid) is not None
    assert "is to blame if the process ends" in caplog.text


@pytest.fixture
def running(processes, gate):
    """Give a process and the sid of the suspect that it runs."""
    sid = processes().schedule(shop.wait_at, "gate")
    process = processes()
    process.take_over()
    worker = threading.Thread(target=process.run)
    worker.start()
    assert gate.entered.wait(60)
    assert process.record(sid)["begun"]
    yield process, sid
    gate.open()
    worker.join(60)


def test_a_suspect_whose_process_stops_in_order_is_not_counted(
    processes, running
):
    process, sid = running
    process.scheduler.stop(grace=0)
    processes().take_over()

    assert not {"begun", "crashes"} & set(process.record(sid))


def test_nor_is_one_that_somebody_else_has_taken_over(processes, running):
    process, sid = running
    other = processes()
    other.take_over()
    assert other.scheduler.claim(sid)
    process.scheduler.stop(grace=0)

    assert process.record(sid)["begun"]


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
