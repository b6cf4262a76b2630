"""Which suspects run at the same time."""

import pytest
import shop
import transaction
from hand_driven import Process, assigned_job

from pyramid_zodb_async.engine.threads import ThreadEngine
from pyramid_zodb_async.scheduler.process import suspects
from pyramid_zodb_async.scheduler.process.suspects import (
    HEAD_START,
    LONGEST_AFTER_DROP,
    Suspects,
)

#: How many jobs the engine of these tests runs at a time.
WORKERS = 8


def suspect(sid, **values):
    """Make a job that may have ended its process."""
    return assigned_job(sid, suspect=True, **values)


class Assigned:
    """Suspects as a process has them, at a time that a test sets."""

    def __init__(self, *jobs, workers=WORKERS):
        self.suspects = Suspects()
        self.dropped = set()
        self.now = 1000.0
        self._workers = workers
        self.suspects.add(jobs)

    def take(self):
        """Give the sids of those that are given to the engine now."""
        taken = self.suspects.take(self._holds, self._workers, self.now)
        return [job.sid for job in taken]

    def waits_for_time(self):
        return self.suspects.wait_for_time(self._holds)

    def _holds(self, job):
        return job.sid not in self.dropped

    def begin(self, job):
        job.started = job.begun = self.now

    def end(self, job):
        """Have a run end, and with it the job."""
        job.started = None
        self.dropped.add(job.sid)


def test_the_next_suspect_runs_when_one_has_run_for_a_second():
    jobs = [suspect("1"), suspect("2"), suspect("3")]
    assigned = Assigned(*jobs)
    assert assigned.take() == ["1"]
    # it waits for a thread of the engine
    assigned.now += 100
    assert assigned.take() == []
    assigned.begin(jobs[0])
    assigned.now += HEAD_START / 2
    assert assigned.take() == []
    assert assigned.waits_for_time()
    assigned.now += HEAD_START / 2

    assert assigned.take() == ["2"]
    assert assigned.take() == []


def test_more_and_more_begin_together_as_long_as_none_does_harm():
    jobs = [suspect(str(number)) for number in range(100)]
    assigned = Assigned(*jobs)
    sizes = []
    while taken := assigned.take():
        sizes.append(len(taken))
        for sid in taken:
            assigned.begin(jobs[int(sid)])
        for sid in taken:
            assigned.end(jobs[int(sid)])

    assert sizes[:5] == [1, 2, 4, 8, 8]
    assert max(sizes) == WORKERS
    assert sum(sizes) == 100


def test_then_the_next_process_that_ends_makes_them_begin_one_by_one_again():
    first = suspect("1")
    assigned = Assigned(first)
    assigned.take()
    assigned.begin(first)
    assigned.end(first)
    assert assigned.take() == []
    assigned.suspects.add([suspect("2"), suspect("3")])

    assert assigned.take() == ["2"]


@pytest.mark.parametrize("values", [{"alone": True}, {"crashes": 1}])
def test_one_that_is_very_suspect_runs_last_and_beside_no_other(values):
    jobs = [suspect("1", **values), suspect("2"), suspect("3")]
    assigned = Assigned(*jobs)
    assert assigned.take() == ["2"]
    assigned.begin(jobs[1])
    assigned.now += 100
    assert assigned.take() == ["3"]
    assigned.begin(jobs[2])
    assigned.end(jobs[1])
    assigned.now += 100
    assert assigned.take() == []
    assert not assigned.waits_for_time()
    assigned.end(jobs[2])
    assert assigned.take() == ["1"]
    assigned.begin(jobs[0])
    assigned.suspects.add([suspect("4")])
    assigned.now += 100
    assert assigned.take() == []
    assert not assigned.waits_for_time()
    assigned.end(jobs[0])

    assert assigned.take() == ["4"]


def test_one_that_was_dropped_but_runs_on_lets_others_go_all_the_same():
    jobs = [suspect("1"), suspect("2")]
    assigned = Assigned(*jobs)
    assigned.take()
    assigned.begin(jobs[0])
    assigned.dropped.add("1")
    assert assigned.take() == []
    assigned.now += HEAD_START

    assert assigned.take() == ["2"]


@pytest.mark.parametrize("first_runs_alone", [False, True])
def test_one_that_was_dropped_and_never_ends_does_not_hold_up_others_for_ever(
    first_runs_alone,
):
    hanging = suspect("1", alone=first_runs_alone)
    assigned = Assigned(hanging)
    assigned.take()
    assigned.begin(hanging)
    assigned.suspects.add([suspect("2", alone=not first_runs_alone)])
    assigned.now += LONGEST_AFTER_DROP
    assert assigned.take() == []
    assigned.dropped.add("1")
    assert assigned.waits_for_time()

    assert assigned.take() == ["2"]


def test_one_that_was_dropped_just_now_may_still_do_harm():
    hanging = suspect("1", alone=True)
    assigned = Assigned(hanging, suspect("2", alone=True))
    assigned.take()
    assigned.begin(hanging)
    assert not assigned.waits_for_time()
    assigned.dropped.add("1")
    assigned.now += LONGEST_AFTER_DROP / 2
    assert assigned.take() == []

    assert assigned.waits_for_time()


def test_an_engine_that_does_not_say_how_many_it_runs_gets_one_at_a_time():
    jobs = [suspect(str(number)) for number in range(3)]
    assigned = Assigned(*jobs, workers=0)
    assigned.take()
    assigned.end(jobs[0])
    assert assigned.take() == ["1"]
    assigned.end(jobs[1])

    assert assigned.take() == ["2"]


@pytest.fixture
def threaded(db):
    """Give a process that takes jobs over, and runs them on threads."""
    # the other chores of its maintenance come too late for a test
    process = Process(db, lease=600)
    engine = ThreadEngine(process.runner.run, workers=WORKERS)
    process.scheduler.use(engine)
    process.scheduler._maintenance._housekeeper = None
    yield process
    shop.over.set()
    process.scheduler.stop(grace=shop.PATIENCE)
    shop.over.clear()


def test_one_long_job_of_a_dead_process_does_not_hold_up_all_its_others(
    processes, threaded
):
    gone = processes()
    long = [gone.schedule(shop.hold) for _ in range(3)]
    short = [gone.schedule(shop.nothing) for _ in range(20)]
    threaded.scheduler.start()
    shop.wait_until(lambda: set(threaded.scheduler.unfinished()) == {*long})
    jobs = threaded.scheduler.process.assigned_jobs
    shop.wait_until(lambda: len(jobs.running()) == len(long))

    assert {threaded.view(sid).state.value for sid in short} == {"succeeded"}


def hang():
    """Run until the test is over, whatever becomes of the job."""
    shop.over.wait()


def test_a_job_that_was_cancelled_and_hangs_lets_other_suspects_begin(
    processes, threaded, monkeypatch
):
    monkeypatch.setattr(suspects, "LONGEST_AFTER_DROP", 1.0)
    gone = processes()
    sids = [gone.schedule(hang) for _ in range(2)]

    def suspect_more(store):
        for sid in sids:
            store.change(sid, store.locate(sid).fence, alone=True)

    def begun():
        return [sid for sid in sids if "begun" in threaded.record(sid)]

    gone.location.write(suspect_more, note="several ran at a crash")
    threaded.scheduler.start()
    shop.wait_until(begun)
    (hanging,) = begun()
    with transaction.manager:
        threaded.scheduler.cancel(hanging)
    shop.wait_until(lambda: begun() == sids)


def test_no_suspect_that_runs_when_a_process_stops_is_blamed(
    processes, threaded
):
    gone = processes()
    sids = [gone.schedule(shop.hold) for _ in range(3)]
    threaded.scheduler.start()
    shop.wait_until(
        lambda: all(threaded.record(sid).get("begun") for sid in sids)
    )
    threaded.scheduler.stop(grace=0)
    other = processes()
    other.take_over()

    assert len(other.scheduler.process.assigned_jobs) == len(sids)
    for sid in sids:
        assert not {"crashes", "alone"} & set(other.record(sid))


def test_after_a_crash_with_several_suspects_none_is_blamed(processes):
    gone = processes()
    sids = [gone.schedule(shop.nothing) for _ in range(3)]
    first = processes()
    first.take_over()
    assert first.engine.submitted == [sids_in_order(first)[0]]
    begun = sids_in_order(first)[:2]
    for sid in begun:
        assert first.scheduler.claim(sid)
    second = processes()
    second.take_over()
    records = {sid: second.record(sid) for sid in sids}

    assert not any("crashes" in record for record in records.values())
    alone = {sid for sid, record in records.items() if record.get("alone")}
    assert alone == {*begun}
    # first the one that did not run, and then the others one by one
    (third,) = set(sids) - alone
    order = []
    while second.engine.submitted:
        order.append(list(second.engine.submitted))
        second.run()
    assert order[0] == [third]
    assert all(len(together) == 1 for together in order)
    assert {sid for (sid,) in order[1:]} == alone


def sids_in_order(process):
    """Give the sids of the jobs of a process, as it has got them."""
    jobs = process.scheduler.process.assigned_jobs
    return [assigned.sid for assigned in jobs.all()]


def test_one_that_ran_alone_when_its_process_ended_is_blamed(processes):
    gone = processes()
    sids = [gone.schedule(shop.nothing) for _ in range(2)]
    first = processes()
    first.take_over()
    for sid in sids:
        assert first.scheduler.claim(sid)
    second = processes()
    second.take_over()
    (sid,) = second.engine.submitted
    assert second.scheduler.claim(sid)
    third = processes()
    third.take_over()

    assert third.record(sid)["crashes"] == 1
    (other,) = set(sids) - {sid}
    assert third.engine.submitted == [other]
    assert "crashes" not in third.record(other)


def test_a_job_that_has_failed_in_order_and_is_retried_need_not_run_alone(
    processes,
):
    gone = processes()
    sids = [gone.schedule(shop.fail) for _ in range(2)]
    first = processes()
    first.take_over()
    for sid in sids:
        assert first.scheduler.claim(sid)
    second = processes()
    second.take_over()
    (sid,) = second.engine.submitted
    assert second.record(sid)["alone"]
    second.run()
    with transaction.manager:
        assert second.scheduler.retry(sid)

    assert "alone" not in second.record(sid)
