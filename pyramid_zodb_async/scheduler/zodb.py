"""The scheduler that stores its jobs in a ZODB."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ZODB.DB import DB
from zope.interface import implementer

from ..concurrency.exits import call_at_exit, forget_at_exit
from ..concurrency.forks import call_after_fork
from ..contracts import IRun, ISchedulerCore
from ..database.connections import JarConnections
from ..database.own_transaction import in_own_transaction
from ..events import JobScheduled
from ..interfaces import Connections, IEngine
from ..jobs.given_options import NONE_GIVEN, resolved
from ..jobs.model import JobView
from ..jobs.options import NO_OPTIONS
from ..jobs.owners import stored_owner
from ..transfer.callables import check_call, function_name
from .base_scheduler import BaseScheduler, to_anybody
from .maintenance.chores import Maintenance
from .process.batch_run import BatchRun
from .process.bulk import schedule_bulk
from .process.intake import HandOff
from .process.job_views import view_of_assigned
from .process.left_jobs import note_left
from .process.orderly_stop import OrderlyStop
from .process.placing import NewJob, option_values, place_job
from .process.remote_claim import accept_announced
from .process.run import StoredRun
from .process.this_process import ThisProcess
from .process.transaction_job import TransactionJob, is_hidden
from .process.waiting import unfinished, wait_for_end
from .records import Store
from .store.location import StoreLocation
from .store.open_jobs import count_open
from .store.stored_values import storable_call
from .store.unknown_jobs import load_another
from .transaction_changes import Changes
from .waiters import Waiter

__all__ = ["ZODBScheduler"]

T = TypeVar("T")


@implementer(ISchedulerCore)
class ZODBScheduler(BaseScheduler):
    """A scheduler whose jobs are in a database, and survive the process.

    A job is a record that is written by the transaction that schedules it;
    its success is written by the transaction of its effects. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        location: where the store is.
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` if the store has a ``timeout`` of its own.
        max_pending: how many jobs of this process may wait to be run.
        max_bulk: how many calls ``many()`` may be given.
        attempts: how many attempts at a job may fail, or end their process,
            if its options set no number.
        lease: after how many seconds without a sign of life the jobs of
            another process are taken over.
    """

    def __init__(  # noqa: PLR0913 - the settings
        self,
        location: StoreLocation,
        *,
        timeout: float | None = 3600,
        max_pending: int = 10_000,
        max_bulk: int = 100_000,
        attempts: int = 4,
        lease: float = 30,
    ) -> None:
        #: This process, as the parts of this scheduler know it.
        self.process = ThisProcess(
            location,
            timeout=timeout,
            max_pending=max_pending,
            attempts=attempts,
            lease=lease,
        )
        super().__init__(
            self.process.commit_queue, self.process.waiters, max_bulk
        )
        self._maintenance = Maintenance(self.process)
        self._orderly_stop = OrderlyStop(self.process)
        self._is_stopped = False
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with nothing to stop, also in a forked child."""
        self._lock = threading.Lock()
        forget_at_exit(self.stop)

    def use(self, engine: IEngine) -> None:
        """Set the *engine*, which runs jobs or sends messages for them."""
        self.process.dispatcher.use(engine)

    @property
    def runs_jobs(self) -> bool:
        """Whether this process runs jobs, or leaves them to others."""
        return self.process.dispatcher.runs_jobs

    def start(self, *, recover: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Without *recover*, only jobs that this process schedules are run, and
        a scheduler that was stopped stays so.
        """
        with self._lock:
            if self._is_stopped and not recover:
                return  # scheduling a job does not undo stop()
            if not self._maintenance.does(recover=recover):
                self._orderly_stop.revoke()
                if recover:
                    # makes the store here, so that no request has to
                    self.process.location.prepare(self._prepare)
                # first, as it is this that may fail
                self._maintenance.start(recover=recover)
                try:
                    self.process.dispatcher.engine.start()
                except BaseException:
                    self._maintenance.stop()
                    raise
                # after the engine's own: the exit calls the last one first
                call_at_exit(self.stop)
            self._is_stopped = False

    def _prepare(self, store: Store) -> None:
        store.expect(store.outcome_timeout(NO_OPTIONS, self.process.timeout))
        self._orderly_stop.take_back(store)

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        left = self.halt(grace)
        with self._lock:
            # else start() was called meanwhile
            tells = self._is_stopped and self._orderly_stop.prepare(left)
        if tells:  # without the lock, as it may take some seconds
            self._orderly_stop.tell()
        return left

    def halt(self, grace: float | None = None) -> list[str]:
        """Do what :meth:`stop` does, but leave jobs as a killed process does.

        Others learn by its silence that this process has ended.

        Args:
            grace: see :meth:`stop`.
        """
        engine = self.process.dispatcher.engine
        forget_at_exit(self.stop)
        with self._lock:
            self._is_stopped = True
            self._maintenance.wind_down()
        # without the lock, and with signs of life until it returns
        left: list[str] = engine.stop(grace)
        with self._lock:
            if self._is_stopped:
                self._maintenance.stop()
            else:  # start() was called meanwhile, maybe in vain for the engine
                engine.start()
        return left

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
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        process = self.process
        check_call(function, args, named_args)
        own_options, due = resolved(function, options)
        db = process.location.db
        call = storable_call(function, args, named_args, connections, db)
        incarnation, is_handed_over = process.dispatcher.assign(
            due, own_options
        )
        hand_off, changes = self._add_hand_off(
            connections.transaction_manager, due, counts=is_handed_over
        )
        values = {
            "function": function_name(function),
            "scheduled": time.time(),
            "call": call,
            "base_url": base_url,
            "runner": incarnation,
            **({} if owner is None else stored_owner(owner)),
            **option_values(own_options, due),
        }
        store = self._store(changes, connections, db)
        timeout = store.outcome_timeout(own_options, process.timeout)
        wanted = NewJob(values, timeout)
        job = place_job(process, store, hand_off, changes, wanted)
        hand_off.sid = job.sid
        if is_handed_over:
            hand_off.complete(job, values, due)
        else:
            note_left(process, connections, job)
        if self.announcer.has_subscribers(JobScheduled):
            in_transaction = TransactionJob(process, store, job, connections)
            in_transaction.announce(JobScheduled)
        return job.sid

    def schedule_calls(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
        spread: float = 0.0,
    ) -> Sequence[str]:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        return schedule_bulk(
            self.process,
            function,
            calls,
            connections,
            owner=owner,
            base_url=base_url,
            options=options,
            spread=spread,
        )

    def _store(
        self, changes: Changes, connections: Connections, db: DB
    ) -> Store:
        """Return the store for a new job, made if needed.

        What a transaction has found once needs no other look than that it is
        still there.

        Args:
            changes: those of the transaction.
            connections: those of the code that schedules the job.
            db: the database of the store.
        """
        location, known = self.process.location, changes.store
        if known is not None and known[0] is connections:
            store: Store = known[1]
            if location.has(store):
                return store
        store = location.make(connections.to(db))
        changes.store = connections, store
        return store

    def _add_hand_off(
        self, transaction_manager: Any, due: float | None, *, counts: bool
    ) -> tuple[HandOff, Changes]:
        """Return the hand-off of a job that is to be added, and the changes.

        Args:
            transaction_manager: that of the transaction that schedules it.
            due: when it is due; one that waits for that time does not count
                as pending.
            counts: whether this process is to do something for the job.

        Raises:
            QueueFull: too many jobs wait.
        """
        open_changes = self.process.changes
        hand_off = HandOff(self.process, is_new=counts and due is None)
        if counts:
            changes = open_changes.add_unless_full(
                transaction_manager,
                hand_off,
                pending=self.backlog,
                max_pending=self.process.max_pending,
            )
        else:
            changes = open_changes.of(transaction_manager)
            changes.add(hand_off)
        return hand_off, changes

    def find(
        self, sid: str, connections: Connections
    ) -> TransactionJob | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        if self.commit_queue:
            self.commit_queue.work_off()
        store = self.process.location.of(connections)
        if store is None:
            return None
        job = store.locate(sid)
        if job is None:
            load_another(store, sid)
            return None
        if is_hidden(self.process, job, connections):
            return None
        return TransactionJob(self.process, store, job, connections)

    def glance(
        self, sid: str, is_open: Callable[[str | None], bool] = to_anybody
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        if self.commit_queue:
            self.commit_queue.work_off()
        assigned = self.process.assigned_jobs.get(sid)
        if assigned is None or not is_open(assigned.owner):
            return None
        self.process.check_soon(sid)
        return view_of_assigned(assigned)

    def watch(self, sids: Iterable[str]) -> Waiter:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        waiter = self.waiters.add(sids)
        self.process.wake_maintenance()
        return waiter

    def in_own_transaction(
        self,
        work: Callable[[Connections], T],
        get_connections: Callable[[], Connections],
        note: str,
    ) -> T:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        return in_own_transaction(
            self.process.location.db,
            lambda connection: work(JarConnections(connection)),
            note,
        )

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return unfinished(self.process)

    def count_unfinished(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        # before the read: what is settled since then is in no open set there
        ended = self.process.ended_places()
        return self.process.location.read(
            lambda store: count_open(store, ended), 0
        )

    def backlog(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        process = self.process
        unsent = (
            process.dispatcher.unsent() if process.dispatcher.remote else 0
        )
        jobs = process.assigned_jobs
        return jobs.expected + jobs.new + unsent

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self.commit_queue.work_off()
        return wait_for_end(self.process, sid, timeout)

    def accept_message(
        self, sid: str, *, begun: bool, serial: bytes | None = None
    ) -> bool:
        """Have the engine run the job of a message, claimed if need be.

        For *begun* and *serial* see ``accept_announced``. Returns whether it
        is to be run here; raises if the database is away.
        """
        assigned = accept_announced(
            self.process, sid, begun=begun, serial=serial
        )
        # after the commit of a claim; another thread may have been faster
        return assigned is not None and bool(
            self.process.assigned_jobs.assign([assigned])
        )

    def may_batch(self, sid: str) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        assigned = self.process.assigned_jobs.get(sid)
        return assigned is not None and assigned.may_batch

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        assigned = self.process.assigned_jobs.begin(sid)
        if assigned is None:
            return None
        kind = BatchRun if assigned.options.batched else StoredRun
        run = kind(self.process, assigned)
        return run if not assigned.suspect or run.begin() else None
