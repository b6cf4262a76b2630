"""A process that runs jobs, as far as the database can tell."""

import secrets
import threading

import shop
import transaction

from pyramid_zodb_async.execution.runner import Runner
from pyramid_zodb_async.execution.surroundings import thread_transaction
from pyramid_zodb_async.scheduler.maintenance.live_incarnations import (
    LIVE_INCARNATIONS,
)
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover
from pyramid_zodb_async.scheduler.process.assigned_job import AssignedJob
from pyramid_zodb_async.scheduler.records import Fence, Page
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


class NoThread:
    """A housekeeper that does nothing by itself."""

    def start(self, chores):
        return True

    def wake(self):
        pass

    def stop(self):
        pass


class Process:
    """A scheduler with an identity of its own, and an engine by hand."""

    def __init__(self, db, *, has_pages=True, **options):
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
        # a test does the chores itself, and is alone in doing them
        self.scheduler._maintenance._housekeeper = NoThread()
        self.scheduler.start(recover=False)
        # as if it were not the process of the test
        LIVE_INCARNATIONS.discard(self.scheduler.process.incarnation)
        self.runner = Runner(self.scheduler, thread_transaction)
        self.takeover = Takeover(self.scheduler.process)
        if has_pages:
            self.takeover.shards.make_pages()

    def schedule(self, function, *args, **named_args):
        """Schedule a job in a transaction of its own."""
        transaction.begin()
        sid = self.scheduler.schedule(function, *args, **named_args)
        transaction.commit()
        return sid

    def forget(self):
        """Write the removals that were noted, as the housekeeper does."""
        self.scheduler._maintenance._write_removals()

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
        return self.location.read(lambda store: _plain(store.locate(sid)), {})

    def take_over(self):
        """Take over what any other process was to run."""
        self.takeover.take_over_lost()

    def stop(self):
        """End without a trace, as a process that is killed does."""
        self.scheduler.halt()


def _plain(job):
    """Give the attributes of a record, with those of its block."""
    found = dict(vars(job.record))
    if job.block is not None:
        own = {"function", "scheduled", "owner", "owner_kind", "options"}
        of_block = vars(job.block)
        found = {name: of_block[name] for name in own & set(of_block)} | found
        for name, value in (("runner", job.runner), ("due", job.due)):
            found.pop(name, None)
            if value is not None:
                found[name] = value
    return found


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


def page_of(**values):
    """Make the page of a job that nobody has stored."""
    page = Page()
    page.change(
        function="shop:nothing",
        scheduled=1.0,
        call=("shop:nothing", (), ()),
        secret=secrets.token_bytes(16),
        **values,
    )
    return page


def takeover_of(scheduler):
    """Stop what looks for lost jobs, and give it, to be asked by hand."""
    housekeeper = scheduler._maintenance._housekeeper
    housekeeper.stop()
    return look_of(housekeeper).do.__self__


def look_of(housekeeper):
    """Give the chore that looks for lost jobs."""
    return next(
        chore
        for chore in housekeeper._chores
        if isinstance(chore.do.__self__, Takeover)
    )


def assigned_job(sid, **values):
    """Make a job as a process has it, of no record."""
    return AssignedJob(
        sid=sid,
        function="shop:nothing",
        owner=None,
        base_url=None,
        attempt=1,
        scheduled=0.0,
        fence=Fence("pending", "runner", 0),
        **values,
    )
