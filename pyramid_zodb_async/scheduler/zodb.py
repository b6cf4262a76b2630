"""The scheduler that stores its jobs in a ZODB."""

import atexit
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..concurrency.queues import drained
from ..database.connections import JarConnections, current_connections
from ..database.own_transaction import in_own_transaction
from ..events import JobScheduled
from ..execution.subscribers import Announcer
from ..interfaces import Connections, IEngine, IRun, IScheduler
from ..jobs.given_options import NONE_GIVEN, resolved
from ..jobs.model import JobState, JobView
from ..transfer.callables import check_call, function_name
from .event_queue import EventQueue
from .maintenance.chores import Maintenance
from .process.assigned_jobs import AssignedJob, AssignedJobs
from .process.crash_suspects import clear_suspicion_in_time
from .process.dispatch import Dispatcher
from .process.intake import HandOff, option_values
from .process.job_views import view_of, view_of_assigned
from .process.progress_reports import report_of
from .process.remote_claim import claim_announced
from .process.run import StoredRun
from .process.transaction_job import TransactionJob, refuse_own
from .records import Record, Store
from .store.location import StoreLocation
from .store.stored_values import storable_call
from .store.transitions import outcome_timeout
from .transaction_changes import OpenChanges
from .waiters import Waiter, Waiters

__all__ = ["ZODBScheduler"]

T = TypeVar("T")

#: The seconds between two checks of ``wait()``; they grow from the first to
#: the second number for a job that another process runs.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


@implementer(IScheduler)
class ZODBScheduler:
    """A scheduler whose jobs are in a database, and survive the process.

    A job is a record that is written by the transaction that schedules it;
    its success is written by the transaction of its effects. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        location: where the store is.
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` if the store has a ``timeout`` of its own.
        max_pending: how many jobs of this process may wait to be run.
        attempts: how many attempts at a job may fail, or end their process,
            if its options set no number.
        lease: after how many seconds without a sign of life the jobs of
            another process are taken over.
    """

    def __init__(
        self,
        location: StoreLocation,
        *,
        timeout: float | None = 3600,
        max_pending: int = 10_000,
        attempts: int = 4,
        lease: float = 30,
    ) -> None:
        self.location = location
        self.timeout = timeout
        self.max_pending = max_pending
        #: The identity of this process as one that runs jobs.
        self.incarnation = secrets.token_hex(6)
        self.announcer = Announcer()
        self.event_queue = EventQueue(lambda: self.announcer)
        self.waiters = Waiters()
        self.dispatcher = Dispatcher(
            location, self.incarnation, lease, lambda: self.runs_jobs
        )
        self.assigned_jobs = AssignedJobs(self.dispatcher.submit, self.waiters)
        self.changes = OpenChanges(self._hand_over)
        self._committed: deque[AssignedJob] = deque()
        self._maintenance = Maintenance(
            location,
            self.assigned_jobs,
            self.waiters,
            self.incarnation,
            lease=lease,
            attempts=attempts,
            timeout=self.timeout_of,
            event_queue=self.event_queue,
            dispatcher=self.dispatcher,
        )
        self._is_stopped = False
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with nothing to stop, also in a forked child."""
        self._lock = threading.Lock()
        atexit.unregister(self.stop)

    def use(self, engine: IEngine) -> None:
        """Set the *engine*, which runs jobs or sends messages for them."""
        self.dispatcher.use(engine)

    @property
    def runs_jobs(self) -> bool:
        """Whether this process runs jobs, or leaves them to others."""
        return self._maintenance.is_running

    def start(self, *, recover: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Without *recover*, only jobs that this process schedules are run, and
        a scheduler that was stopped stays so.
        """
        with self._lock:
            if self._is_stopped and not recover:
                return  # scheduling a job does not undo stop()
            if not self._maintenance.does(recover=recover):
                if recover:
                    # makes the store here, so that no request has to
                    self.location.write(
                        lambda store: store.expect(self.timeout_of(store)),
                        note="the store of jobs",
                    )
                # first, as it is this that may fail
                self._maintenance.start(recover=recover)
                try:
                    self.dispatcher.engine.start()
                except BaseException:
                    self._maintenance.stop()
                    raise
                # after the engine's own: the exit calls the last one first
                atexit.unregister(self.stop)
                atexit.register(self.stop)
            self._is_stopped = False

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        atexit.unregister(self.stop)
        with self._lock:
            self._is_stopped = True
            self._maintenance.wind_down()
        # without the lock, and with signs of life until it returns
        left: list[str] = self.dispatcher.engine.stop(grace)
        with self._lock:
            if self._is_stopped:
                self._maintenance.stop()
            else:  # start() was called meanwhile, maybe in vain for the engine
                self.dispatcher.engine.start()
        suspect = self.assigned_jobs.running_suspect()
        if suspect is not None:  # this stop, not the job, ends the process
            clear_suspicion_in_time(self.location, suspect)
        return left

    def timeout_of(self, store: Store) -> float:
        """Return for how many seconds outcomes are stored by default."""
        return store.timeout if self.timeout is None else self.timeout

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.schedule_call(f, args, kw, current_connections())

    def schedule_call(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        check_call(function, args, named_args)
        own_options, due = resolved(function, options)
        db = self.location.db
        call = storable_call(function, args, named_args, connections, db)
        incarnation = self.dispatcher.incarnation_for(due, own_options)
        hand_off = None
        if self.dispatcher.needs_handing_over(incarnation, due, own_options):
            # a job that waits until it is due does not count as pending
            hand_off = HandOff(self, is_new=due is None)
            self.changes.add_unless_full(
                connections.transaction_manager,
                hand_off,
                pending=self.backlog,
                max_pending=self.max_pending,
            )
        store = self.location.make(connections.to(db))
        record = Record(
            function_name(function),
            time.time(),
            call,
            owner=owner,
            base_url=base_url,
            runner=incarnation,
            **option_values(own_options, due),
        )
        sid = store.add(
            record, outcome_timeout(record, self.timeout_of(store))
        )
        if hand_off:
            hand_off.take(sid, record)
        if self.event_queue.has_subscribers(JobScheduled):
            job = TransactionJob(self, sid, record, connections)
            job.announce(JobScheduled)
        return sid

    def committed(self, assigned: AssignedJob) -> None:
        """Record a job for the after-commit hook, during its commit."""
        self._committed.append(assigned)

    def check_soon(self, sid: str) -> None:
        """Have the database checked soon for a job of this process."""
        self._maintenance.check_soon(sid)

    def _hand_over(self) -> None:
        self.event_queue.deliver()
        if committed := list(drained(self._committed)):
            self.dispatcher.hand_over(committed, self.assigned_jobs)

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        if record is None:
            return None
        assigned = self.assigned_jobs.get(sid)
        if assigned is not None and assigned.fence == record.fence:
            return view_of_assigned(assigned)
        store = self.location.make(connections.to(self.location.db))
        report = report_of(store, sid, record)
        return view_of(sid, record, report, self.location, connections)

    def glance(self, sid: str) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        assigned = self.assigned_jobs.get(sid)
        if assigned is None:
            return None
        self._maintenance.check_soon(sid)
        return view_of_assigned(assigned)

    def _find(self, sid: str, connections: Connections) -> Record | None:
        self._hand_over()
        store = self.location.of(connections)
        record = None if store is None else store.find(sid)
        if record is not None and record.expires is not None:
            return record if record.expires > time.time() else None
        return record

    def watch(self, sids: Iterable[str]) -> Waiter:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        waiter = self.waiters.add(sids)
        self._maintenance.wake()
        return waiter

    def in_own_transaction(
        self,
        work: Callable[[Connections], T],
        connections: Connections,
        note: str,
    ) -> T:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return in_own_transaction(
            self.location.db,
            lambda connection: work(JarConnections(connection)),
            note,
        )

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._stored(sid, connections)
        return job.fetch() if job else None

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        refuse_own(sid)
        job = self._stored(sid, connections)
        if job is not None:
            job.remove()

    def cancel(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        refuse_own(sid)
        job = self._stored(sid, connections)
        return job is not None and job.cancel()

    def retry(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._stored(sid, connections)
        return job is not None and job.retry()

    def _stored(
        self, sid: str, connections: Connections | None
    ) -> TransactionJob | None:
        """Return a job as the transaction of *connections* sees it."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        return record and TransactionJob(self, sid, record, connections)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.location.read(lambda store: list(store.unfinished()), [])

    def backlog(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.assigned_jobs.waiting() + self.dispatcher.unsent()

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        end = math.inf if timeout is None else time.monotonic() + timeout
        pause = SHORTEST_PAUSE
        while True:
            drops = self.assigned_jobs.drops  # read before the check
            if self._has_ended(sid):
                return True
            left = end - time.monotonic()
            if left < 0:
                return False
            # only a while: no drop here shows that another process ran it
            self.assigned_jobs.wait_for_drop(drops, min(pause, left))
            if sid is not None and sid not in self.assigned_jobs:
                pause = min(2 * pause, LONGEST_PAUSE)

    def _has_ended(self, sid: str | None) -> bool:
        """Return whether a job, or every job, has ended or is gone."""
        if sid is None:
            return not self.unfinished()

        # before the read: a job that is assigned after it may be a retry
        assigned = self.assigned_jobs.get(sid)

        def is_over(store: Store) -> bool:
            record = store.find(sid)
            return record is None or record.state != JobState.PENDING

        has_ended = self.location.read(is_over, default=True)
        # The run drops the job only after the subscribers have got its end;
        # until then glance() would show it as running.
        if has_ended and assigned is not None:
            self.assigned_jobs.drop_ended(assigned)
        return has_ended

    def accept_message(self, sid: str, *, begun: bool) -> bool:
        """Claim the job of a message, and have the engine run it.

        With *begun*, an end of the process counts as a crash of the job.
        Returns whether it is to be run here; raises if the database is away.
        """
        assigned = claim_announced(
            self.location, sid, self.incarnation, begun=begun
        )
        if assigned is None:
            return False
        self.assigned_jobs.assign([assigned])  # after the claim's commit
        return True

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        assigned = self.assigned_jobs.begin(sid)
        if assigned is None:
            return None
        run = StoredRun(self, assigned)
        return run if run.begin() else None
