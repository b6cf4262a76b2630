"""A process that runs jobs, as far as the database can tell."""

import threading

import shop
import transaction

from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import thread_transaction
from pyramid_zodb_async.scheduler.maintenance.takeover import (
    LIVE_INCARNATIONS,
    Takeover,
)
from pyramid_zodb_async.scheduler.process.assigned_jobs import AssignedJob
from pyramid_zodb_async.scheduler.records import Fence
from pyramid_zodb_async.scheduler.store.location import RootLocation
from pyramid_zodb_async.scheduler.zodb import ZODBScheduler


class HandDriven:
    """An engine that runs a job when a test says so."""

    workers = None

    def __init__(self):
        self.submitted = []

    def submit(self, sids, *, due=None, priority=0):
        self.submitted.extend(sids)

    def start(self):
        pass

    def stop(self, grace=None):
        return []


class Process:
    """A scheduler with an identity of its own, and an engine by hand."""

    def __init__(self, db, **options):
        self.db = db
        timeout = options.get("timeout", 3600)
        self.location = RootLocation(lambda: db, timeout=timeout)
        self.scheduler = ZODBScheduler(self.location, **options)
        self.engine = HandDriven()
        self.scheduler.use(self.engine)
        self.location.write(
            lambda store: store.expect(timeout),
            note="a store for tests",
        )
        self.scheduler.start(recover=False)
        # a test does the chores itself, and is alone in doing them
        self.scheduler._maintenance._housekeeper.stop()
        # as if it were not the process of the test
        LIVE_INCARNATIONS.discard(self.scheduler.process.incarnation)
        self.runner = Runner(self.scheduler, thread_transaction)
        self.takeover = Takeover(self.scheduler.process)

    def schedule(self, function, *args, **named_args):
        """Schedule a job in a transaction of its own."""
        transaction.begin()
        sid = self.scheduler.schedule(function, *args, **named_args)
        transaction.commit()
        return sid

    def run(self, sid=None):
        """Run a job, by default the next, as a worker thread does.

        Returns the seconds after which it wants to run again.
        """
        if sid is None:
            sid = self.engine.submitted.pop(0)
        outcome = []
        worker = threading.Thread(
            target=lambda: outcome.append(self.runner.run(sid))
        )
        worker.start()
        worker.join(shop.PATIENCE)
        (delay,) = outcome
        return delay

    def view(self, sid):
        """Tell what is known of a job now."""
        transaction.begin()
        return self.scheduler.get(sid)

    def record(self, sid):
        """Give the record of a job as plain data."""
        return self.location.read(
            lambda store: dict(vars(store.find(sid))), {}
        )

    def take_over(self):
        """Take over what any other process was to run."""
        self.takeover.take_over_lost()

    def stop(self):
        """End without a trace, as a process that is killed does."""
        self.scheduler._maintenance.stop()


def leased(process, lease=0.3):
    """Give the takeover of a process as it is on a shared storage."""
    this_process = process.scheduler.process
    this_process.lease, this_process.is_shared = lease, True
    return Takeover(this_process)


def look_until(takeover, condition, *, between=lambda: None):
    """Look again and again, as the housekeeper does."""
    pause = threading.Event()
    for _ in range(100):
        takeover.take_over_lost()
        if condition():
            return
        between()
        pause.wait(0.1)
    raise AssertionError("it did not come to pass")


def assigned_job(sid, **values):
    """Make a job as a process has it, of no record."""
    return AssignedJob(
        sid=sid,
        function="shop:nothing",
        owner=None,
        base_url=None,
        attempt=1,
        scheduled=0.0,
        place=(0, b""),
        fence=Fence("pending", "runner", 0),
        **values,
    )
