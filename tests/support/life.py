"""A simple model of the life of jobs, and the stage on which they live."""

import datetime
import queue
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import transaction
from persistent import Persistent
from ZODB.POSException import ConflictError

from pyramid_zodb_async import JobError, current_job
from pyramid_zodb_async.database.connections import current_connections
from pyramid_zodb_async.engine.queue import Entry, JobQueue
from pyramid_zodb_async.execution.subscribers import Announcer

#: The clock of these tests: it stands still unless it is put forward.
START = 1_800_000_000.0

#: How long outcomes are kept, in seconds, of jobs whose options do not tell.
TIMEOUT = 1000.0

#: How many attempts they have, and how often each is repeated.
ATTEMPTS, MAX_CONFLICTS = 4, 2

#: How long a test waits for a thread, in seconds.
PATIENCE = 20


class Covered(JobError):
    """Jobs may be tried again after it."""


# -- What the jobs do ---------------------------------------------------------


class Counter(Persistent):
    """What a job leaves."""

    effects = 0
    #: Whoever writes it makes a run conflict.
    noise = 0


def counters(db):
    return current_connections().to(db).root()["counters"]


def live(number):
    """Take effect, and end as the test wants it."""
    counters(stage.db)[number].effects += 1
    run = stage.starting
    run.arrived.put("reached")
    while (how := run.orders.get(timeout=PATIENCE)) == "tell":
        run.progress += 1
        # it may be over, and is told so; but it goes on
        with suppress(JobError):
            current_job().progress(run.progress)
        run.arrived.put("told")
    if how == "covered":
        raise Covered
    if how == "uncovered":
        raise ValueError(number)
    if how == "transient":
        raise ConflictError
    return number


class Stage:
    """Where the jobs find what they need."""

    db: Any = None
    #: The run that is about to begin; one at a time does.
    starting: "Run | None" = None


stage = Stage()


class Clock:
    """A clock for all, by which a test lets time pass."""

    def __init__(self):
        self.now = START
        self._real = time.time, time.monotonic
        time.time = time.monotonic = lambda: self.now

    def stop(self):
        time.time, time.monotonic = self._real


# -- What runs them, and who hears of it --------------------------------------


class Listener(Announcer):
    """A subscriber to all events of a process."""

    def __init__(self):
        #: What it has heard: kinds of events, and views.
        self.heard = []

    def has_subscribers(self, kind):
        return True

    def announce(self, kind, job):
        self.heard.append((kind, job))


class Engine:
    """An engine whose queue a test takes jobs from."""

    workers = None

    def __init__(self):
        self.queue = JobQueue()

    def submit(self, sids, *, due=None, priority=0):
        for sid in sids:
            self.queue.put(Entry(sid, priority), due)

    def withdraw(self, sid):
        self.queue.remove(sid)

    def start(self):
        pass

    def stop(self, grace=None):
        return []


class Dog:
    """A watchdog that barks when a test says so."""

    def __init__(self):
        #: The bark of the run that began last.
        self.bark = None

    @contextmanager
    def limit(self, seconds, bark):
        self.bark = None if seconds is None else bark
        yield


@dataclass(eq=False)
class Run:
    """A run of a job, which waits on the stage until it is told to end."""

    number: int
    process: "Runs"
    held: "Held"
    #: Of the job, when it began.
    run: int
    attempt: int
    arrived: queue.Queue = field(default_factory=queue.Queue)
    orders: queue.Queue = field(default_factory=queue.Queue)
    bark: Any = None
    out_of_time: bool = False
    #: When to run it again, in seconds, once it is over.
    again: float | None = None
    #: How far it has told that it has come.
    progress: int = 0

    def begin(self, sid):
        """Begin on a thread; tell whether the job was reached."""
        stage.starting = self
        self.process.dog.bark = None
        self._thread = threading.Thread(target=self._work, args=(sid,))
        self._thread.start()
        is_there = self.arrived.get(timeout=PATIENCE) == "reached"
        self.bark = self.process.dog.bark
        if not is_there:
            self._thread.join(PATIENCE)
        return is_there

    def _work(self, sid):
        self.again = self.process.runner.run(sid)
        transaction.abort()
        self.arrived.put("over")

    def tell(self):
        """Let it tell of its progress."""
        self.orders.put("tell")
        assert self.arrived.get(timeout=PATIENCE) == "told"

    def end(self, how):
        """Let it end; give the seconds after which it is to run again."""
        self.orders.put(how)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.again


@dataclass(eq=False)
class Runs:
    """A process that runs jobs, and what it should know of them."""

    name: int
    scheduler: Any
    runner: Any
    engine: Engine
    dog: Dog
    #: The hand-driven process, if there can be more than one.
    process: Any = None
    held: dict[int, "Held"] = field(default_factory=dict)
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self):
        self.scheduler.announcer = self.listener
        self.scheduler.commit_queue.announcer = self.listener


# -- What should be true of them ----------------------------------------------


@dataclass(eq=False)
class Held:
    """What a process should know of a job that it is to run."""

    run: int
    suspect: bool = False
    #: Whether it takes up a place among the jobs that wait.
    is_new: bool = False
    conflicts: int = 0
    #: Its run that is under way.
    started: Run | None = None
    #: Whether a run of it has begun here.
    has_begun: bool = False


@dataclass(eq=False)
class Job:
    """What should be true of a job."""

    number: int
    sid: str
    options: dict[str, Any]
    due: float | None
    runner: int | None
    state: str = "pending"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    #: Counts takeovers, retries and attempts that are to follow others.
    run: int = 0
    suspect: bool = False
    begun: bool = False
    #: Whether it was one of several suspects that ran when a process ended.
    alone: bool = False
    effects: int = 0
    error: str | None = None
    expires: float | None = None
    removed: bool = False
    #: What its process has told others of a run: the number of the run, and
    #: its attempt if it was under way.
    told: tuple[int, int | None] = (-1, None)
    #: What each process has shown of it last: its version and what it showed.
    shown: dict[int, tuple[int, Any]] = field(default_factory=dict)
    #: The newest version that each process has shown without a look.
    glanced: dict[int, int] = field(default_factory=dict)

    @property
    def timeout(self):
        return self.options.get("result_timeout", TIMEOUT)

    @property
    def attempts(self):
        return self.options["attempts"] or ATTEMPTS

    @property
    def is_pending(self):
        return self.state == "pending" and not self.removed

    def is_known(self, now):
        return not self.removed and (
            self.expires is None or self.expires > now
        )

    def covers(self, kind):
        return kind in self.options.get("retry_on", ())

    def told_attempt(self):
        """Give the attempt that others know to be under way, if they do."""
        run, attempt = self.told
        return attempt if self.is_pending and run == self.run else None

    def counts(self, run):
        """Tell whether what this run does to the job counts."""
        return self.is_pending and self.run == run.run

    def end(self, state, now, *, error=None):
        self.state, self.error, self.due = state, error, None
        self.expires = now + self.timeout

    def succeed(self, run, now):
        self.attempt = run.attempt
        self.effects += 1
        self.end("succeeded", now)

    def settle(self, run, kind, now):
        """Let an attempt fail; tell whether another is to follow."""
        self.attempt = run.attempt
        failed = self.failures + self.crashes + 1
        if not self.covers(kind) or failed >= self.attempts:
            self.end("failed", now, error=kind.__name__)
            return False
        self.failures += 1
        self.run += 1
        self.suspect = self.begun = self.alone = False
        self.due = now
        return True

    def take_over(self, runner, now, *, are_several=False):
        """Let another process have it; tell whether it is to run.

        And whether several suspects ran in the process that had it.
        """
        crashes = self.crashes + (self.begun and not are_several)
        if crashes and crashes + self.failures >= self.attempts:
            self.end("failed", now, error="JobCrashed")
            return False
        self.crashes = crashes
        is_due = self.due is None or self.due <= now
        self.suspect = is_due and (self.suspect or self.runner is not None)
        self.alone = self.alone or (self.begun and are_several)
        self.begun = False
        self.runner = runner
        self.run += 1
        return True

    def revive(self, runner):
        self.state, self.error, self.expires = "pending", None, None
        self.crashes = self.failures = 0
        self.begun = self.alone = False
        self.runner = runner
        self.run += 1


def moment(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
