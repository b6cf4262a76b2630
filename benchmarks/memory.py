"""Compare the memory scheduler with the one of dm.zodb.asynchronous.

A job goes the whole way: schedule, commit, run, completed. That is measured
while the schedulers keep 1 000, 10 000 and 100 000 results that nobody has
fetched, in rounds of both by turns, so that both meet the same noise.
README.rst beside this file tells how to run it and how to read it.
"""

# ruff: noqa: SLF001 - to count threads, and to keep results, it looks inside

import _thread
import datetime
import gc
import os
import platform
import statistics
import time
from importlib.metadata import version

import transaction
from dm.zodb.asynchronous.scheduler import TransactionalScheduler as Theirs

from pyramid_zodb_async import TransactionalScheduler as Ours
from pyramid_zodb_async.database.connections import ThreadConnections
from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import bare_thread
from pyramid_zodb_async.scheduler.in_memory.job import Job
from pyramid_zodb_async.scheduler.memory import MemoryScheduler
from pyramid_zodb_async.transfer.envelopes import dump, resolved

#: How many results are kept, and how often a round measures with that: less
#: where it takes long, for the peer scans all results at each job.
LEVELS = {1_000: 5, 10_000: 3, 100_000: 1}

#: Each goes through all levels, so that levels can be compared as well.
ROUNDS = 7

#: Jobs of a measurement. While it lasts they come on top of the kept results,
#: so they are few enough not to change their number much.
JOBS = 200

#: Jobs before that, to start threads and to fill caches.
WARM_UP = 20


class Threads:
    """The largest number of threads seen since the last :meth:`forget`."""

    most = 0

    @classmethod
    def look(cls):
        """Count them now."""
        # the peer's come from this module, and threading knows nothing of
        # them; the main thread does not count
        cls.most = max(cls.most, _thread._count())

    @classmethod
    def forget(cls):
        """Begin anew."""
        cls.most = 0


def nothing():
    """Be the job: what is measured is the way there and back."""
    Threads.look()


def take_a_while():
    """Be a job that waits for something, as jobs do."""
    time.sleep(0.005)
    Threads.look()


# To let the peer run 100 000 jobs takes a quarter of an hour, for each of them
# scans the results of all before. So results are put where the schedulers
# themselves put them, in the same form: into our job table, through the states
# of a run; into the peer's two mappings. Each is made of objects of its own.


def keep_in_ours(scheduler, kept):
    """Give *scheduler* results to keep."""
    for _ in range(kept):
        job = Job(function="memory:nothing", owner=None, base_url=None)
        scheduler.jobs.table.accept(job)
        scheduler.jobs.table.claim(job.sid)
        value = resolved(dump(None, ThreadConnections()))
        scheduler.jobs.table.succeed(job, job.run_number, value)
    return scheduler


def keep_in_theirs(scheduler, kept):
    """Give *scheduler* results to keep."""
    for _ in range(kept):
        schedule = scheduler.SCHEDULE_FACTORY((nothing, (), {}))
        schedule.run()
        scheduler._schedules[schedule.id] = schedule
        scheduler._completed[schedule.id] = time.time()
    return scheduler


def run_jobs(scheduler, jobs, function=nothing):
    """Bring jobs the whole way; give the rate per second."""
    start = time.perf_counter()
    sids = []
    for _ in range(jobs):
        sids.append(scheduler.schedule(function))
        transaction.commit()
        Threads.look()
    for sid in sids:
        while not scheduler.completed(sid):
            time.sleep(0.0002)
    rate = jobs / (time.perf_counter() - start)
    for sid in sids:
        scheduler.remove(sid)
    return rate


class Figures:
    """What was measured of one scheduler at one level."""

    def __init__(self):
        self.rates = []
        self.threads = 0

    @property
    def rate(self):
        """The median of jobs per second."""
        return statistics.median(self.rates)

    def __str__(self):
        return (
            f"{self.rate:.0f} ({min(self.rates):.0f} to {max(self.rates):.0f})"
        )


def compare(kept, times, our_figures, their_figures):
    """Let both run jobs by turns."""
    ours = keep_in_ours(Ours(), kept)
    theirs = keep_in_theirs(Theirs(), kept)
    own_threads = ours.engine._threads
    for scheduler in (ours, theirs):
        run_jobs(scheduler, WARM_UP)
    turns = [(ours, our_figures), (theirs, their_figures)]
    for _ in range(times):
        for scheduler, figures in turns:
            while _thread._count() > len(own_threads):
                time.sleep(0.001)  # the peer's last threads are ending
            gc.collect()
            Threads.forget()
            figures.rates.append(run_jobs(scheduler, JOBS))
            of_others = len(own_threads) if scheduler is theirs else 0
            figures.threads = max(figures.threads, Threads.most - of_others)
        turns.reverse()
    ours.engine.stop()


class TheirsWithoutThreads(Theirs):
    """The peer's scheduler, whose jobs are run by hand."""

    def _start(self, status, schedule):
        pass


def take_steps(scheduler, run):
    """Do the halves of a job's way one by one; give each one's seconds."""
    start = time.perf_counter()
    sids = []
    for _ in range(JOBS):
        sids.append(scheduler.schedule(nothing))
        transaction.commit()
    middle = time.perf_counter()
    for sid in sids:
        run(sid)
    end = time.perf_counter()
    for sid in sids:
        scheduler.remove(sid)
    return (middle - start) / JOBS, (end - middle) / JOBS


def compare_steps(kept, times, our_steps, their_steps):
    """Take the steps of both by turns."""
    ours = keep_in_ours(MemoryScheduler(), kept)
    theirs = keep_in_theirs(TheirsWithoutThreads(), kept)
    our_run = Runner(ours, bare_thread).run

    def their_run(sid):
        theirs._run_thread(theirs._schedules[sid])

    gc.collect()
    for _ in range(times):
        our_steps.append(take_steps(ours, our_run))
        their_steps.append(take_steps(theirs, their_run))


def medians(rows):
    """Give the median of each column."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]


def bare_commit():
    """Give the seconds that an empty transaction takes."""
    start = time.perf_counter()
    for _ in range(JOBS):
        transaction.begin()
        transaction.commit()
    return (time.perf_counter() - start) / JOBS


def print_machine():
    """Tell where and with what this was measured."""
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d},"
        f" {platform.python_implementation()} {platform.python_version()},"
        f" {platform.system()} {platform.machine()}, {os.cpu_count()} cores,"
        f" load {os.getloadavg()[0]:.1f}, transaction {version('transaction')}"
    )
    print(
        f"pyramid_zodb_async {version('pyramid_zodb_async')}, against"
        f" dm.zodb.asynchronous {version('dm.zodb.asynchronous')};"
        f" {JOBS} jobs at a time\n"
    )


def print_rates():
    """Measure jobs the whole way; print the table."""
    table = {kept: (Figures(), Figures()) for kept in LEVELS}
    for _ in range(ROUNDS):
        for kept, times in LEVELS.items():
            compare(kept, times, *table[kept])
    print("Whole way: jobs/s, median of the rounds (lowest to highest)")
    print(
        f"{'kept':>8} {'ours':>22} {'theirs':>22} {'ratio':>6}"
        f" {'threads: ours':>14} {'theirs':>6}"
    )
    for kept, (ours, theirs) in table.items():
        print(
            f"{kept:>8} {ours!s:>22} {theirs!s:>22}"
            f" {ours.rate / theirs.rate:>6.2f}"
            f" {ours.threads:>14} {theirs.threads:>6}"
        )
    first, *_, last = LEVELS
    print(
        f"Our rate with {last} kept is"
        f" {table[last][0].rate / table[first][0].rate:.2f} of that with"
        f" {first}. We may have {Ours().engine.workers} workers.\n"
    )


def print_threads():
    """Run jobs that take a while; print how many threads that takes."""
    print(f"Threads for {JOBS} jobs that take 5 ms each, scheduled at once:")
    for name, scheduler in (("ours", Ours()), ("theirs", Theirs())):
        before = _thread._count()
        Threads.forget()
        run_jobs(scheduler, JOBS, take_a_while)
        print(f"{name:>8} {Threads.most - before:>4}")
    print()


def print_steps():
    """Measure the steps on one thread; print the table."""
    table = {kept: {"ours": [], "theirs": []} for kept in LEVELS}
    empty = []
    for _ in range(ROUNDS):
        for kept, times in LEVELS.items():
            compare_steps(kept, times, *table[kept].values())
        empty.append(bare_commit())
    print("Steps, one by one on one thread: µs a job, median of the rounds")
    print(
        f"{'kept':>8} {'':>6} {'schedule + commit':>18} {'run':>10}"
        f" {'both':>10}"
    )
    for kept, sides in table.items():
        for name, steps in sides.items():
            made, ran = (1e6 * seconds for seconds in medians(steps))
            print(
                f"{kept:>8} {name:>6} {made:>18.1f} {ran:>10.1f}"
                f" {made + ran:>10.1f}"
            )
    empty_commit = 1e6 * statistics.median(empty)
    print(f"An empty transaction, begun and committed: {empty_commit:.1f} µs")


if __name__ == "__main__":
    print_machine()
    print_rates()
    print_threads()
    print_steps()
