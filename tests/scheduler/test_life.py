"""Whatever happens to jobs, in whatever order: they do as a model does."""

import itertools
import logging
import os
import secrets
from collections import Counter
from unittest import mock

import life
import pytest
import transaction
from BTrees.OOBTree import OOBTree
from hand_driven import Process
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from life import (
    ATTEMPTS,
    MAX_CONFLICTS,
    TIMEOUT,
    Clock,
    Covered,
    Dog,
    Engine,
    Held,
    Job,
    Run,
    Runs,
    live,
    moment,
    stage,
)
from ZODB.DB import DB
from ZODB.DemoStorage import DemoStorage
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobTimeout
from pyramid_zodb_async.database.connections import current_connections
from pyramid_zodb_async.engine.queue import Entry
from pyramid_zodb_async.events import JobStarted
from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import thread_transaction
from pyramid_zodb_async.jobs.option_checks import checked
from pyramid_zodb_async.scheduler import slices
from pyramid_zodb_async.scheduler.maintenance.expiry import SliceExpiry
from pyramid_zodb_async.scheduler.memory import MemoryScheduler
from pyramid_zodb_async.scheduler.process.progress_reports import write_reports

#: How many lives are lived, if somebody says so: they differ each time then.
#: Without it there are some hundreds, which are always the same.
LIVES = int(os.environ.get("LIVES", "0"))

#: How many steps a life has at most.
STEPS = 50

#: How many jobs wait before no more are scheduled.
MOST_JOBS = 4

#: How many runs are under way at a time at most.
WORKERS = 3

OPTIONS = st.fixed_dictionaries(
    {
        "retry_on": st.sampled_from(
            [(Covered, JobTimeout), (Covered,), (JobTimeout,), ()]
        ),
        "backoff": st.sampled_from([0, (30, 60)]),
        "time_limit": st.sampled_from([60, None]),
        "attempts": st.sampled_from([3, 2, None, 1]),
    },
    optional={
        "delay": st.sampled_from([0, 50, 5000]),
        "priority": st.integers(-2, 2),
        "result_timeout": st.sampled_from([0, 50, 100_000]),
    },
)

#: How a run ends.
HOW = st.sampled_from(
    ["covered", "covered", "conflict", "succeed", "uncovered", "transient"]
)

HOWS = st.lists(HOW, min_size=1, max_size=4)

#: How a transaction ends in which something was done to a job.
ENDS = st.sampled_from(["commit", "commit", "abort", "rollback"])


class Life(RuleBasedStateMachine):
    """What happens to jobs wherever they are kept."""

    #: Whether to cancel, remove or retry is part of a transaction.
    is_durable = False
    #: What happened how often, in all lives of a kind.
    tally: Counter

    def __init__(self):
        super().__init__()
        self.tally["steps"] -= 1  # the first start of a process is none
        # as chance is Hypothesis's alone
        numbers = itertools.count(1)
        self.chance = mock.patch.object(
            secrets,
            "token_bytes",
            lambda length: next(numbers).to_bytes(length, "little"),
        )
        # 256 are more than a few jobs need, and take their time to make
        self.trees = mock.patch.object(slices, "TREES", 4)
        self.chance.start()
        self.trees.start()
        logging.disable(logging.CRITICAL)
        self.clock = Clock()
        self.numbers, self.names = itertools.count(), itertools.count()
        self.jobs = []
        #: Whose runs nobody can wait for: their processes have ended.
        self.ghosts = []
        self.runs = []
        self.processes = []
        stage.db = self.db = DB(DemoStorage())
        with self.db.transaction() as connection:
            connection.root()["counters"] = OOBTree()

    @initialize()
    def boot(self):
        """Start a process."""
        self.processes.append(self.make_process(next(self.names)))

    def make_process(self, name):
        raise NotImplementedError

    def teardown(self):
        try:
            if self.processes:
                self.end()
        finally:
            for run in self.runs + self.ghosts:
                run.end("uncovered")
            transaction.abort()
            self.clock.stop()
            self.chance.stop()
            self.trees.stop()
            for process in self.processes:
                if process.process:
                    process.process.stop()
            self.db.close()
            logging.disable(logging.NOTSET)

    def end(self):
        """Let all jobs end: none was lost, and none is stuck."""
        while self.runs:
            self.let_end(self.runs[0], "succeed")
        for _ in range(10 * len(self.jobs) + 10):
            if not any(job.is_pending for job in self.jobs):
                break
            self.clock.now += 10_000
            for process in self.processes:
                self.take_over_all(process)
                while self.let_begin(process):
                    self.let_end(self.runs[0], "succeed")
        assert not any(job.is_pending for job in self.jobs)
        self.agrees()
        # what a process does that was taken for dead
        for run in self.ghosts:
            run.end("succeed")
        self.ghosts = []
        self.agrees()

    def take_over_all(self, process):
        """Give a process what others leave."""

    # -- Rules

    @precondition(lambda self: len(self.those_for("cancel")) < MOST_JOBS)
    @rule(data=st.data(), options=st.lists(OPTIONS, min_size=1, max_size=3))
    def schedule(self, data, options):
        """Schedule jobs in one transaction, which may end in any way."""
        process = self.draw(data, self.processes)
        transaction.begin()
        scheduled = []
        for given in options:
            fate = data.draw(st.sampled_from(["keep", "keep", "rollback"]))
            savepoint = transaction.savepoint()
            job = self.schedule_one(process, given)
            if fate == "rollback":
                savepoint.rollback()
            else:
                scheduled.append(job)
        if (
            data.draw(st.sampled_from(["commit", "commit", "abort"]))
            == "abort"
        ):
            transaction.abort()
            return
        transaction.commit()
        for job in scheduled:
            self.jobs.append(job)
            self.tally["scheduled"] += 1
            process.held[job.number] = Held(job.run, is_new=job.due is None)

    def schedule_one(self, process, options):
        number = next(self.numbers)
        counters = life.counters(self.db)
        counters[number] = life.Counter()
        sid = process.scheduler.schedule_call(
            live,
            (number,),
            {},
            current_connections(),
            options=checked(options),
        )
        delay = options.get("delay")
        return Job(
            number=number,
            sid=sid,
            options=options,
            due=self.clock.now + delay if delay else None,
            runner=process.name,
        )

    @precondition(lambda self: len(self.runs) < WORKERS)
    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def begin(self, data):
        """Begin a run of the job that is next in a process."""
        self.let_begin(self.draw(data, self.ready()))

    def ready(self):
        return [one for one in self.processes if one.engine.queue.ready()]

    def let_begin(self, process):
        """Begin a run; tell whether there was a job to begin."""
        entry = process.engine.queue.take()
        if entry is None:
            return False
        (job,) = [job for job in self.jobs if job.sid == entry.sid]
        held = process.held.get(job.number)
        run = Run(
            number=job.number,
            process=process,
            held=held,
            run=-1 if held is None else held.run,
            attempt=self.next_attempt(job, held),
        )
        is_there = run.begin(entry.sid)
        assert is_there == self.should_begin(job, held)
        if is_there:
            assert job.due is None or job.due <= self.clock.now
            assert entry.priority == job.options.get("priority", 0)
            self.begins(job, held, run)
            self.tally["runs"] += 1
            self.runs.append(run)
        else:
            assert run.again is None
            if held is not None and held.started is None:
                del process.held[job.number]
        return is_there or self.let_begin(process)

    def should_begin(self, job, held):
        return (
            held is not None
            and held.started is None
            and job.is_pending
            and held.run == job.run
        )

    def next_attempt(self, job, held):
        return job.attempt + 1

    def begins(self, job, held, run):
        """Apply to the model that a run begins."""
        held.started, held.is_new, held.has_begun = run, False, True

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), how=HOW)
    def end_run(self, data, how):
        """Let a run return, raise, or conflict."""
        self.let_end(self.draw(data, self.runs), how)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def tell(self, data):
        """Let a run tell of its progress."""
        self.draw(data, self.runs).tell()
        self.tally["progress"] += 1

    @precondition(lambda self: self.ready())
    @rule(data=st.data())
    def begin_all(self, data):
        """Have all worker threads busy."""
        while self.ready() and len(self.runs) < WORKERS:
            self.let_begin(self.draw(data, self.ready()))

    @precondition(lambda self: len(self.runs) < WORKERS)
    @precondition(lambda self: self.ready())
    @rule(data=st.data(), hows=HOWS)
    def run_through(self, data, hows):
        """Have runs begin and end before anything else happens."""
        for how in hows:
            if len(self.runs) == WORKERS:
                return
            ready = self.ready()
            if ready and self.let_begin(self.draw(data, ready)):
                self.let_end(self.runs[-1], how)

    def let_end(self, run, how):
        self.runs.remove(run)
        job = self.job_of(run)
        if how == "conflict" and any(
            other.number == run.number for other in self.runs
        ):
            how = "transient"  # a real one would be met by the other as well
        if how == "conflict":  # a real one, at its commit
            with self.db.transaction() as connection:
                connection.root()["counters"][run.number].noise += 1
        again = run.end(how)
        if run.out_of_time:
            how = "out of time"
        expected = self.ends(job, run, how)
        assert (again is not None) == expected
        if again is not None:
            run.process.engine.queue.rest(
                Entry(job.sid, job.options.get("priority", 0)), again
            )

    def ends(self, job, run, how):
        """Apply to the model that a run ends; tell if it is repeated."""
        is_known = run.process.held.get(job.number) is run.held
        counts = job.counts(run)
        run.held.started = None
        if not is_known:
            assert not counts
            self.tally["runs given up"] += 1
            return False
        if how == "succeed" and counts:
            job.succeed(run, self.clock.now)
        elif how in {"succeed", "conflict", "transient"}:
            if run.held.conflicts < MAX_CONFLICTS:
                run.held.conflicts += 1
                self.tally["repeated"] += 1
                if counts:
                    job.begun = False
                return True
            self.fails(job, run, ConflictError)
        else:
            kind = {
                "covered": Covered,
                "uncovered": ValueError,
                "out of time": JobTimeout,
            }[how]
            self.fails(job, run, kind)
        if run.process.held.get(job.number) is run.held:
            del run.process.held[job.number]
        return False

    def fails(self, job, run, kind):
        """Apply to the model that an attempt fails."""
        if not job.counts(run):
            return
        now = self.clock.now
        self.tally[f"failed by {kind.__name__}"] += 1
        if job.settle(run, kind, now):
            self.tally["tried again"] += 1
            job.runner = run.process.name
            run.process.held[job.number] = Held(job.run)
            # chance has a say in when that is
            view = self.view(run.process, job)
            longest = {0: 0, (30, 60): 60}.get(job.options.get("backoff"), 40)
            assert moment(now) <= view.due <= moment(now + longest)
            job.due = view.due.timestamp()

    @precondition(lambda self: self.barking())
    @rule(data=st.data())
    def time_out(self, data):
        """Let the time of a run be up, though it goes on."""
        run = self.draw(data, self.barking())
        bark, run.bark = run.bark, None
        bark()
        job = self.job_of(run)
        if run.process.held.get(job.number) is not run.held:
            return  # it has ended, as its process knows
        run.out_of_time = True
        if job.counts(run):
            self.fails(job, run, JobTimeout)
            if run.process.held[job.number] is run.held:
                del run.process.held[job.number]

    def barking(self):
        return [run for run in self.runs if run.bark is not None]

    @precondition(lambda self: self.those_for("cancel"))
    @rule(data=st.data(), how=ENDS)
    def cancel(self, data, how):
        self.do("cancel", data, how)

    @precondition(lambda self: self.those_for("retry"))
    @rule(data=st.data(), how=ENDS, hows=HOWS)
    def retry(self, data, how, hows):
        self.do("retry", data, how)
        self.run_through(data, hows)

    @precondition(lambda self: self.those_for("get_result"))
    @rule(data=st.data(), how=ENDS)
    def fetch(self, data, how):
        self.do("get_result", data, how)

    @precondition(lambda self: self.jobs)
    @rule(
        data=st.data(),
        what=st.sampled_from(["remove", "cancel", "retry", "get_result"]),
        how=ENDS,
    )
    def meddle(self, data, what, how):
        """Do what may make no sense, or come too late."""
        self.do(what, data, how, self.jobs)

    def those_for(self, what):
        """Give the jobs to which that can be done."""
        return [job for job in self.jobs if self.expected_answer(job, what)]

    def do(self, what, data, how, jobs=None):
        """Do something to a job, in a transaction that may end in any way."""
        process = self.draw(data, self.processes)
        job = self.draw(data, jobs or self.those_for(what))
        transaction.begin()
        savepoint = transaction.savepoint()
        answer = getattr(process.scheduler, what)(job.sid)
        expected = self.expected_answer(job, what)
        if what == "get_result" and expected:
            value, error = answer
            assert type(error).__name__ == expected
            assert value == (None if error else job.number)
        else:
            assert answer is expected
        if how == "rollback":
            savepoint.rollback()
        transaction.abort() if how == "abort" else transaction.commit()
        if how == "commit" or not (self.is_durable or what == "get_result"):
            self.changes(process, job, what)

    def expected_answer(self, job, what):
        is_known = job.is_known(self.clock.now)
        if what == "cancel":
            return is_known and job.state == "pending"
        if what == "retry":
            return is_known and job.state == "failed"
        if what == "remove" or not is_known:
            return None
        return {
            "pending": False,
            "succeeded": "NoneType",
            "cancelled": "JobCancelled",
            "failed": job.error,
        }[job.state]

    def changes(self, process, job, what):
        """Apply to the model what is done to a job."""
        if not self.expected_answer(job, what) and what != "remove":
            return
        self.tally[what] += 1
        if not job.is_known(self.clock.now):
            return
        if what == "cancel" and job.state == "pending":
            held = process.held.pop(job.number, None)
            if held and held.run == job.run:
                if held.started:
                    job.attempt = held.started.attempt
            elif told := job.told_attempt():
                job.attempt = told
            job.end("cancelled", self.clock.now)
        elif what == "retry" and job.state == "failed":
            job.revive(process.name)
            process.held[job.number] = Held(job.run, suspect=job.suspect)
        elif what == "remove":
            job.removed = True
            process.held.pop(job.number, None)
        elif what == "get_result" and job.state != "pending":
            job.removed = True

    @precondition(lambda self: self.jobs)
    @rule(seconds=st.sampled_from([1, 60, 4000]))
    def let_time_pass(self, seconds):
        self.clock.now += seconds

    # -- What is always true

    @invariant()
    def is_counted(self):
        self.tally["steps"] += 1

    @invariant()
    def agrees(self):
        unfinished = {job.sid for job in self.jobs if job.is_pending}
        for process in self.processes:
            self.listen(process)
            assert set(process.scheduler.unfinished()) == unfinished
            new = sum(held.is_new for held in process.held.values())
            assert process.scheduler.backlog() == new
            for job in self.jobs:
                self.compare(process, job)
        with self.db.transaction() as connection:
            counters = connection.root()["counters"]
            found = {key: it.effects for key, it in counters.items()}
        assert found == {job.number: job.effects for job in self.jobs}
        assert all(job.effects <= 1 for job in self.jobs)

    def compare(self, process, job):
        view = self.view(process, job)
        if not job.is_known(self.clock.now):
            assert view is None
            return
        state, attempt, due = self.expected(process, job)
        assert view.state == state
        assert view.attempt == attempt
        assert view.due == (None if due is None else moment(due))
        assert (view.failure and view.failure.type) == job.error
        assert view.result == (
            job.number if job.state == "succeeded" else None
        )
        assert (view.expires is None) == (job.expires is None)
        if view.expires is not None:
            kept = (view.expires - view.finished).total_seconds()
            assert kept == job.timeout
        self.grows(process, job, view)
        glance = process.scheduler.glance(job.sid)
        if glance is not None:
            # what it is about may have ended, as only a look shows
            assert glance.version <= view.version
            self.glances(process, job, glance)

    def grows(self, process, job, view):
        """Check that a view is newer than the last, or shows the same."""
        shown = (view.state, view.attempt, view.progress, view.due)
        shown += (view.started, view.finished, view.expires, view.failure)
        version, last = job.shown.get(process.name, (-1, None))
        assert version < view.version or (version, last) == (
            view.version,
            shown,
        )
        job.shown[process.name] = view.version, shown

    def glances(self, process, job, view):
        """Check that what a process has in memory is not older than before."""
        assert job.glanced.get(process.name, -1) <= view.version
        job.glanced[process.name] = view.version

    def listen(self, process):
        """Check what subscribers have heard since the last time."""
        heard, process.listener.heard = process.listener.heard, []
        for kind, view in heard:
            for job in self.jobs:
                if job.sid != view.sid:
                    continue
                self.tally[kind.__name__] += 1
                if kind is JobStarted:  # the process may not know of an end
                    self.glances(process, job, view)
                    continue
                version, _ = job.shown.get(process.name, (-1, None))
                assert version <= view.version
                if version < view.version:
                    job.shown[process.name] = view.version - 1, None

    def expected(self, process, job):
        """Give the state, the attempt, and the due time that show."""
        held = process.held.get(job.number)
        if not job.is_pending or not held or held.run != job.run:
            attempt = job.told_attempt()
        else:
            attempt = held.started and held.started.attempt
        if attempt:
            return "running", attempt, None
        return job.state, job.attempt, job.due

    def view(self, process, job):
        transaction.begin()
        return process.scheduler.get(job.sid)

    def job_of(self, run):
        (job,) = [job for job in self.jobs if job.number == run.number]
        return job

    def draw(self, data, things):
        return things[data.draw(st.integers(0, len(things) - 1))]


class LifeInMemory(Life):
    """What happens to jobs in memory, of which one process knows."""

    def make_process(self, name):
        scheduler = MemoryScheduler(TIMEOUT)
        engine, dog = Engine(), Dog()
        scheduler.use(engine)
        return Runs(name, scheduler, make_runner(scheduler, dog), engine, dog)

    def next_attempt(self, job, held):
        # one that is repeated is known by its number already
        return job.attempt + (held is None or not held.conflicts)

    def begins(self, job, held, run):
        super().begins(job, held, run)
        job.attempt, job.due = run.attempt, None

    def compare(self, process, job):
        super().compare(process, job)
        if job.is_pending:
            known = process.scheduler.jobs.table.get(job.sid)
            assert known.failures == job.failures


class LifeInDatabase(Life):
    """What happens to jobs in a database, to which processes come and go."""

    is_durable = True

    def __init__(self):
        super().__init__()
        #: What the database calls each process.
        self.runners = {}

    def make_process(self, name):
        process = Process(self.db, timeout=TIMEOUT)
        self.runners[name] = process.scheduler.process.incarnation
        process.engine, dog = Engine(), Dog()
        process.scheduler.use(process.engine)
        runner = make_runner(process.scheduler, dog)
        return Runs(
            name, process.scheduler, runner, process.engine, dog, process
        )

    def begins(self, job, held, run):
        super().begins(job, held, run)
        if held.suspect:
            job.begun = True

    @precondition(lambda self: len(self.processes) < 3)
    @rule()
    def boot_another(self):
        """Start a process beside the others."""
        self.boot()

    @precondition(lambda self: any(one.held for one in self.processes))
    @rule(data=st.data())
    def crash(self, data):
        """End a process that has jobs; there is always another."""
        busy = [process for process in self.processes if process.held]
        self.let_crash(self.draw(data, busy))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), hows=HOWS)
    def crash_in_run(self, data, hows):
        """End a process in the midst of a job, and let another notice."""
        self.let_crash(self.draw(data, self.runs).process)
        self.take_over_all(self.draw(data, self.processes))
        self.run_through(data, hows)

    def let_crash(self, process):
        """End a process without a trace."""
        self.processes.remove(process)
        process.process.stop()
        gone = [run for run in self.runs if run.process is process]
        self.runs = [run for run in self.runs if run.process is not process]
        self.ghosts += gone
        self.tally["crashes"] += 1
        self.tally["crashes in runs"] += bool(gone)
        if not self.processes:
            self.boot()

    @precondition(lambda self: any(job.is_pending for job in self.jobs))
    @rule(data=st.data())
    def take_over(self, data):
        """Let a process find that all others are silent."""
        self.take_over_all(self.draw(data, self.processes))

    def take_over_all(self, process):
        process.process.take_over()
        for job in self.jobs:
            held = process.held.get(job.number)
            # what runs is compared with its record, and what waits is not
            if held and held.started and not job.counts(held):
                del process.held[job.number]
                self.tally["noticed"] += 1
        lost = [
            job
            for job in self.jobs
            if job.is_pending and job.number not in process.held
        ]
        begun = Counter(job.runner for job in lost if job.begun)
        for job in lost:
            # it should have held its own
            assert job.runner != process.name
            crashes = job.crashes
            are_several = begun[job.runner] > 1
            self.tally["crashes of several"] += job.begun and are_several
            if job.take_over(
                process.name, self.clock.now, are_several=are_several
            ):
                process.held[job.number] = Held(job.run, job.suspect)
                self.tally["taken over"] += 1
                self.tally["crashes counted"] += job.crashes - crashes
            else:
                self.tally["failed by crashes"] += 1

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def tell_others(self, data):
        """Let a process tell the others of its runs."""
        self.let_tell(self.draw(data, self.runs).process)

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), how=HOW)
    def tell_others_before_and_after(self, data, how):
        """Let it do so before a run ends, and after that."""
        run = self.draw(data, self.runs)
        run.tell()
        self.let_tell(run.process)
        self.agrees()
        self.let_end(run, how)
        self.let_tell(run.process)

    def let_tell(self, process):
        """Let a process tell the others how its jobs stand."""
        jobs = process.scheduler.process.assigned_jobs.take_begun()
        process.process.location.write(
            lambda store: write_reports(
                store, process.scheduler.process.incarnation, jobs
            ),
            note="progress",
        )
        for job in self.jobs:
            held = process.held.get(job.number)
            if held and held.has_begun and held.run == job.run:
                started = held.started
                job.told = held.run, started and started.attempt
                self.tally["told to others"] += job.is_pending

    @precondition(lambda self: any(one.held for one in self.processes))
    @rule(data=st.data())
    def look_around(self, data):
        """Let a process see what others have done to its jobs."""
        process = self.draw(data, self.processes)
        observer = process.process.scheduler._maintenance._observer
        process.scheduler.process.is_shared = True
        for job in self.jobs:
            process.scheduler.process.check_soon(job.sid)
        observer.observe()
        for job in self.jobs:
            held = process.held.get(job.number)
            if held and not (job.is_pending and held.run == job.run):
                del process.held[job.number]
                self.tally["noticed"] += 1

    @precondition(lambda self: self.clock.now > life.START + 3600)
    @rule(data=st.data())
    def tidy(self, data):
        """Let a process drop what has expired."""
        process = self.draw(data, self.processes)
        SliceExpiry(process.scheduler.process).open_and_drop()

    def compare(self, process, job):
        super().compare(process, job)
        if job.expires is not None and job.is_known(self.clock.now):
            view = self.view(process, job)
            assert view.expires == moment(job.expires)
        if job.is_pending:
            record = process.process.record(job.sid)
            names = ("failures", "crashes", "suspect", "begun", "alone")
            found = [record.get(name, 0) for name in (*names, "run_number")]
            assert found == [
                job.failures,
                job.crashes,
                job.suspect,
                job.begun,
                job.alone,
                job.run,
            ]
            assert record["runner"] == self.runners[job.runner]


def make_runner(scheduler, dog):
    runner = Runner(
        scheduler,
        thread_transaction,
        max_conflicts=MAX_CONFLICTS,
        attempts=ATTEMPTS,
    )
    runner.watchdog = dog
    return runner


#: What must happen in all lives of a kind, for them to tell anything.
EVENTS = (
    {"scheduled", "runs", "runs given up", "repeated", "tried again"}
    | {"progress", "JobScheduled", "JobStarted", "JobRetried", "JobFailed"}
    | {"JobSucceeded", "JobWasCancelled"}
    | {"cancel", "retry", "remove", "get_result"}
    | {"failed by Covered", "failed by ValueError", "failed by JobTimeout"}
)
EVENTS_BETWEEN_PROCESSES = EVENTS | {
    "crashes",
    "crashes in runs",
    "crashes counted",
    "failed by crashes",
    "noticed",
    "taken over",
    "told to others",
}


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("kind", "lives", "events"),
    [
        (LifeInMemory, 70, EVENTS),
        (LifeInDatabase, 120, EVENTS_BETWEEN_PROCESSES),
    ],
)
def test_jobs_do_as_the_model_does_whatever_happens(kind, lives, events, say):
    kind.tally = Counter()
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=LIVES or lives,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not LIVES,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
    figures = ", ".join(
        f"{kind.tally[name]} {name}" for name in ("steps", *sorted(events))
    )
    say(f"{kind.__name__}: {figures}")
    assert kind.tally["steps"] >= 2000
    assert not events - set(kind.tally)
