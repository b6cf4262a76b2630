"""The scheduler that keeps jobs in memory, outside of Pyramid."""

import collections
import gc
import threading

import pytest
import shop
import transaction
from exhausted import no_new_threads
from zope.interface.verify import verifyObject

from pyramid_zodb_async import (
    BulkTooLarge,
    IScheduler,
    JobCancelled,
    JobState,
    QueueFull,
    TransactionalScheduler,
    transactional,
)
from pyramid_zodb_async.contracts import IRun, ISchedulerCore, ITransactionJob
from pyramid_zodb_async.database.connections import (
    OpenedConnections,
    ThreadConnections,
)
from pyramid_zodb_async.engine.inline import InlineEngine
from pyramid_zodb_async.jobs.owners import as_owner
from pyramid_zodb_async.scheduler.in_memory.run import MemoryRun
from pyramid_zodb_async.scheduler.memory import MemoryScheduler


def run(scheduler, function, *args, **named):
    """Run a job to its end, and fetch its outcome."""
    sid = scheduler.schedule(function, *args, **named)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    return scheduler.get_result(sid)


def test_it_keeps_the_contract(scheduler):
    assert verifyObject(IScheduler, scheduler)
    assert verifyObject(ISchedulerCore, MemoryScheduler())


def test_a_job_of_a_transaction_keeps_the_contract():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.nothing)

    assert verifyObject(
        ITransactionJob, scheduler.find(sid, ThreadConnections())
    )


def test_waiting_jobs_share_what_they_have_in_common():
    scheduler = MemoryScheduler()
    sids = [
        scheduler.schedule_call(
            shop.nothing,
            (),
            {},
            ThreadConnections(),
            owner=as_owner("ann"),
            base_url=b"https://shop.example".decode(),
        )
        for _ in range(2)
    ]
    transaction.commit()
    jobs = [scheduler.jobs.table.get(sid) for sid in sids]

    assert jobs[0].owner.kind == "str"
    for name in ("function", "owner", "base_url", "options"):
        first, second = (getattr(job, name) for job in jobs)
        assert first is second


def test_a_job_is_seen_before_there_is_an_engine():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.nothing)
    assert scheduler.glance(sid) is None
    transaction.commit()

    assert scheduler.glance(sid).state is JobState.PENDING
    assert scheduler.completed(sid) is False


def test_a_run_of_a_job_that_was_cancelled_when_it_began_does_nothing():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()
    job = scheduler.jobs.table.claim(sid)
    assert scheduler.cancel(sid)
    run = MemoryRun(scheduler.jobs, job)

    assert run.has_ended()
    with pytest.raises(JobCancelled, match="not to be run any more"):
        run.load(ThreadConnections())


def test_a_run_keeps_the_contract():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()

    assert verifyObject(IRun, scheduler.claim(sid))


def test_a_job_goes_through_its_states(scheduler, gate):
    sid = scheduler.schedule(shop.wait_at, "gate")
    assert scheduler.get(sid).state is JobState.PENDING
    assert scheduler.unfinished() == []
    transaction.commit()
    gate.wait_for_job()
    view = scheduler.get(sid)
    assert view.state is JobState.RUNNING
    assert view.started >= view.scheduled
    assert view.finished is view.expires is None
    assert scheduler.completed(sid) is False
    assert scheduler.unfinished() == [sid]
    gate.open()
    assert scheduler.wait(sid, 60)
    view = scheduler.get(sid)
    assert view.state is JobState.SUCCEEDED
    assert view.done
    assert view.result == "gate"
    assert view.finished >= view.started
    assert scheduler.completed(sid) is True
    assert scheduler.unfinished() == []


def test_a_view_does_not_change(scheduler, gate):
    sid = scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()
    gate.wait_for_job()
    view = scheduler.get(sid)
    gate.open()
    assert scheduler.wait(sid, 60)

    assert view.state is JobState.RUNNING
    with pytest.raises(AttributeError):
        view.state = JobState.FAILED


def test_asking_changes_nothing(scheduler):
    sid = scheduler.schedule(shop.give, 1)
    transaction.commit()
    assert scheduler.wait(sid, 60)
    for _ in range(3):
        assert scheduler.get(sid).result == 1
        transaction.commit()


def test_waiting_has_an_end(scheduler, gate):
    sid = scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()

    assert not scheduler.wait(sid, 0.01)
    assert not scheduler.wait(timeout=0.01)
    gate.open()
    assert scheduler.wait(timeout=60)


def test_a_removed_job_is_not_waited_for(scheduler, gate):
    sid = scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()
    gate.wait_for_job()
    removing = threading.Timer(0.01, scheduler.remove, (sid,))
    removing.start()

    assert scheduler.wait(sid, 60)
    removing.join()


def test_a_waiting_job_that_is_removed_does_not_run(scheduler, gate):
    blockers = [scheduler.schedule(shop.wait_at, "gate") for _ in range(2)]
    sid = scheduler.schedule(note_that_it_ran)
    transaction.commit()
    gate.wait_for_job()
    scheduler.remove(sid)
    gate.open()
    for blocker in blockers:
        assert scheduler.wait(blocker, 10)
    assert scheduler.wait(timeout=60)

    assert "ran" not in shop.gates


def note_that_it_ran():
    """Leave a trace outside of the database."""
    shop.gates["ran"] = True


def test_jobs_wait_until_there_is_an_engine():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.give, 1)
    transaction.commit()
    assert scheduler.get(sid).state is JobState.PENDING
    ran = []
    scheduler.use(InlineEngine(ran.append))

    assert ran == [sid]


def test_a_job_is_claimed_once():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.give, 1)
    transaction.commit()

    assert scheduler.claim(sid).attempt == 1
    assert scheduler.claim(sid) is None
    assert scheduler.claim("unknown") is None


def test_a_run_that_was_given_up_records_nothing():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.give, 1)
    transaction.commit()
    first = scheduler.claim(sid)
    first.release()
    first.release()
    second = scheduler.claim(sid)

    assert second.conflicts == 1
    assert first.fail(None, b"") is False
    first.has_succeeded(None)
    assert scheduler.get(sid).state is JobState.RUNNING


def test_a_job_that_is_removed_at_the_moment_of_its_commit_stays_removed():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.give, 1)
    transaction.commit()
    run = scheduler.claim(sid)
    scheduler.remove(sid)
    run.has_succeeded(None)

    assert scheduler.get(sid) is None


def test_a_transaction_that_is_forgotten_gives_its_room_back():
    scheduler = MemoryScheduler(max_pending=1)

    def leave_without_an_end():
        scheduler.schedule(shop.nothing)

    thread = threading.Thread(target=leave_without_an_end)
    thread.start()
    thread.join()
    del thread
    gc.collect()

    scheduler.schedule(shop.nothing)
    with pytest.raises(QueueFull, match="1 jobs are waiting"):
        scheduler.schedule(shop.nothing)


def test_a_script_schedules_many_calls(scheduler):
    sids = scheduler.many(shop.give, ((word,) for word in "abc"))
    assert scheduler.get(sids[0]).state is JobState.PENDING
    transaction.commit()
    assert scheduler.wait(timeout=60)

    assert [scheduler.get_result(sid) for sid in sids] == [
        ("a", None),
        ("b", None),
        ("c", None),
    ]


def test_a_script_spreads_beginnings(scheduler):
    sids = scheduler.many(shop.nothing, [()] * 3, spread=0.2)
    dues = [scheduler.get(sid).due for sid in sids]
    transaction.commit()
    assert scheduler.wait(timeout=60)

    assert dues[0] is None
    assert dues[1] < dues[2]


def test_a_script_may_bound_its_bulks():
    scheduler = TransactionalScheduler(max_bulk=2)
    scheduler.many(shop.nothing, [()] * 2)
    with pytest.raises(BulkTooLarge, match="more than 2 calls"):
        scheduler.many(shop.nothing, [()] * 3)
    with pytest.raises(TypeError, match=r"^call 1: shop:nothing"):
        scheduler.many(shop.nothing, [(), (1,)])
    with pytest.raises(ValueError, match="'spread' takes seconds"):
        scheduler.many(shop.nothing, [()], spread=-1)
    transaction.commit()
    assert scheduler.wait(timeout=60)
    scheduler.engine.stop()


def test_a_job_of_a_bulk_that_is_not_wanted_any_more_gives_its_room_back():
    scheduler = MemoryScheduler(max_pending=3)
    sids = scheduler.many(shop.nothing, [()] * 3)
    scheduler.remove(sids[1])
    scheduler.schedule(shop.nothing)
    with pytest.raises(QueueFull, match="3 jobs are waiting"):
        scheduler.schedule(shop.nothing)
    transaction.commit()

    assert len(scheduler.unfinished()) == 3
    assert {sids[0], sids[2]} < set(scheduler.unfinished())
    assert scheduler.get(sids[1]) is None


def rename(product, name="new"):
    """Change an object, and leave it at that."""
    product.name = name


@transactional
def rename_for_good(product, name):
    """Change an object, and commit."""
    product.name = name
    return product


def test_an_undecorated_function_changes_nothing(scheduler, connection):
    product = connection.root()["product"] = shop.Product("old")
    transaction.commit()
    assert run(scheduler, rename, product) == (None, None)
    transaction.begin()

    assert product.name == "old"


def test_a_transactional_function_changes_its_objects(scheduler, connection):
    product = connection.root()["product"] = shop.Product("old")
    transaction.commit()
    value, error = run(scheduler, rename_for_good, product, "new")
    transaction.begin()

    assert error is None
    assert product.name == value.name == "new"


def test_a_persistent_result_comes_from_the_transaction_of_who_asks(
    scheduler, connection
):
    product = connection.root()["product"] = shop.Product("old")
    transaction.commit()
    value, _ = run(scheduler, rename_for_good, product, "new")

    assert value is not product
    assert value._p_oid == product._p_oid
    jar = value._p_jar
    transaction.commit()
    assert jar.opened is None


def test_builtins_and_classes_can_be_jobs(scheduler):
    assert run(scheduler, dict, a=1) == ({"a": 1}, None)
    assert run(scheduler, max, 1, 2) == (2, None)
    assert run(scheduler, "text".upper) == ("TEXT", None)


class Counter:
    """A callable with a state."""

    def __init__(self, start):
        self.value = start

    def __call__(self, step):
        self.value += step
        return self.value

    def __len__(self):
        return 0


def test_a_callable_with_a_state_can_be_a_job_and_keeps_its_own(scheduler):
    counter = Counter(5)

    assert run(scheduler, counter, 2) == (7, None)
    assert counter.value == 5


its_scheduler = []


def compare(product, sid):
    return its_scheduler[0].get(sid).result is product


def test_a_job_gets_the_results_of_others_through_its_own_connection(
    scheduler, connection
):
    its_scheduler[:] = [scheduler]
    product = connection.root()["product"] = shop.Product("name")
    first = scheduler.schedule(shop.give, product)
    transaction.commit()
    assert scheduler.wait(first, 10)
    second = scheduler.schedule(compare, product, first)
    transaction.commit()
    assert scheduler.wait(second, 10)

    assert scheduler.get(second).result is True


class NotingEngine:
    """An engine that only notes what it is given."""

    def __init__(self):
        self.submitted = []

    def submit(self, sids, *, due=None, priority=0):
        self.submitted.extend(sids)

    def withdraw(self, sid):
        """It has run nothing yet."""


class Interrupted(collections.deque):
    """A queue that another thread adds to at the worst moment."""

    interrupt = None

    def popleft(self):
        sid = super().popleft()
        if interrupt := self.interrupt:
            self.interrupt = None
            interrupt()
        return sid

    def clear(self):
        if interrupt := self.interrupt:
            self.interrupt = None
            interrupt()
        super().clear()


def test_a_job_that_commits_during_a_hand_over_is_not_lost():
    scheduler, engine = MemoryScheduler(), NotingEngine()
    scheduler._to_submit = Interrupted()
    scheduler.use(engine)
    late = []

    def commit_another():
        manager = transaction.TransactionManager(explicit=True)
        connections = OpenedConnections(manager)
        with manager:
            late.append(
                scheduler.schedule_call(shop.nothing, (), {}, connections)
            )

    scheduler._to_submit.interrupt = commit_another
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()

    assert sorted(engine.submitted) == sorted([sid, *late])


@pytest.mark.parametrize("timeout", [float("inf"), 1e12, 0])
def test_any_time_to_keep_outcomes_lets_a_job_end(timeout):
    scheduler = TransactionalScheduler(timeout)
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()

    # not for the sid, which may be forgotten by now
    assert scheduler.wait(timeout=60)
    assert scheduler.unfinished() == []
    view = scheduler.get(sid)
    assert view is None if timeout == 0 else view.expires is None
    scheduler.engine.stop()


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_time_that_cannot_be_is_refused(timeout):
    with pytest.raises(ValueError, match="timeout takes seconds"):
        TransactionalScheduler(timeout)


def test_only_jobs_that_wait_count_as_waiting():
    scheduler = TransactionalScheduler(max_pending=2)
    for _ in range(2):
        sids = [scheduler.schedule(shop.nothing) for _ in range(2)]
        transaction.commit()
        assert scheduler.wait(timeout=60)
    for sid in sids:
        assert scheduler.get_result(sid) == (None, None)
    for _ in range(2):
        scheduler.schedule(shop.nothing)
    with pytest.raises(QueueFull):
        scheduler.schedule(shop.nothing)
    scheduler.engine.stop()


def test_removed_jobs_leave_nothing_in_the_queue_of_the_engine(
    scheduler, gate
):
    for _ in range(2):
        scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()
    gate.wait_for_job()
    for _ in range(20):
        sid = scheduler.schedule(shop.nothing)
        transaction.commit()
        scheduler.remove(sid)

    assert sid not in str(scheduler.engine._queue)
    assert len(scheduler.engine._queue) <= 1


def test_a_scheduler_without_an_engine_has_nothing_to_start_or_stop():
    scheduler = MemoryScheduler()
    scheduler.start()

    assert scheduler.stop() == []


def test_a_job_can_be_cancelled_before_there_is_an_engine():
    scheduler = MemoryScheduler()
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()

    assert scheduler.cancel(sid)
    assert not scheduler.cancel(sid)
    assert scheduler.get(sid).state is JobState.CANCELLED


def test_a_run_whose_job_was_cancelled_is_not_tried_again():
    scheduler, engine = MemoryScheduler(), NotingEngine()
    scheduler.use(engine)
    sid = scheduler.schedule(shop.nothing)
    transaction.commit()
    run = scheduler.claim(sid)
    assert scheduler.cancel(sid)

    assert not run.retry(0.0)
    assert engine.submitted == [sid]
    assert scheduler.get(sid).state is JobState.CANCELLED


@pytest.mark.kept_in("memory")
@pytest.mark.parametrize("engine", ["threads", "inline"])
def test_a_job_without_a_thread_runs_when_somebody_asks_for_it(
    make_app, engine
):
    app = make_app({"/start": shop.start}, zodb_async__engine=engine)
    scheduler = shop.scheduler_of(app)
    with no_new_threads():
        asked_for = shop.begin(app, "give", "asked for")
        assert app.get(asked_for).json["state"] == "pending"
    shop.wait_until(lambda: app.get(asked_for).json["done"])
    scheduler.stop()
    scheduler.start()
    with no_new_threads():
        waited_for = shop.begin(app, "give", "waited for")
    assert scheduler.wait(shop.sid_of(waited_for), shop.PATIENCE)

    assert app.get(asked_for).json["result"] == "asked for"
    assert app.get(waited_for).json["result"] == "waited for"
