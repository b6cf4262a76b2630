"""A scheduler that is a persistent object and contains its jobs.

Do not move or rename the class: databases find it by module and name.
"""

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any

import transaction
from ZODB.DB import DB

from ..database.connections import JarConnections
from ..engine.threads import ThreadEngine
from ..execution.runner import Runner
from ..execution.surroundings import SurroundingsFactory, thread_transaction
from ..jobs.bulk import normalised_calls
from ..jobs.model import JobView
from ..jobs.option_checks import checked_spread
from .records import Store
from .store.location import ObjectLocation
from .zodb import ZODBScheduler

__all__ = ["PersistentTransactionalScheduler"]


class PersistentTransactionalScheduler(Store):
    """A scheduler that an application stores anywhere in its database.

    Scheduling a job, fetching its outcome and removing it are parts of the
    transaction of the connection that loaded this object. A job runs
    in the process that scheduled it, on one of *workers* threads, in a
    transaction of its own, which functions that
    :func:`~pyramid_zodb_async.transactional` decorates join. Jobs survive a
    restart of the process; call :meth:`start` to have them run then.

    A subclass may change the attributes.
    """

    #: For how long an outcome that is not fetched is stored, in seconds.
    timeout: float = 3600
    #: How many jobs a process runs at a time.
    workers = 2
    #: How many jobs of a process may wait to be run.
    max_pending = 10_000
    #: How many calls :meth:`many` may be given.
    max_bulk = 100_000
    #: How often a job is repeated after conflicts and other transient errors.
    max_conflicts = 50
    # Makes the context manager that surrounds each run.
    _environment: SurroundingsFactory = staticmethod(thread_transaction)

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called once the transaction has committed.

        Args:
            f: the function to call.
            args: its positional arguments.
            kw: its named arguments.

        Returns:
            The sid, which is the id of the job.

        Raises:
            TypeError: *f* cannot be a job or cannot be called so.
            ArgumentNotTransferable: an argument cannot be stored.
            QueueFull: too many jobs are waiting.
            RuntimeError: there is no room for the thread that looks after
                jobs.
            ValueError: this scheduler is not in a database yet.
        """
        # The Zope flavour overrides _schedule() to pass an owner.
        return self._schedule(f, args, kw)

    def _schedule(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        owner: str | None = None,
    ) -> str:
        connections = self._connections()
        process = self._process()
        # Before the job is made: a job is assigned to this process only if
        # the process runs jobs by then. A scheduler that stop() has stopped
        # stays stopped.
        process.start(recover=False)
        return process.schedule_call(
            function, args, named_args, connections, owner=owner
        )

    def many(
        self,
        f: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """Have *f* called many times once the transaction has committed.

        All jobs are scheduled or, if this raises, none.

        Args:
            f: the function to call.
            calls: the calls; an iterable, which may be a generator and is
                iterated over once. Each call is a tuple of positional
                arguments, or a pair of such a tuple and a dict of named ones.
            spread: the time over which the beginnings of the jobs are spread
                evenly, in seconds or as a ``timedelta``.

        Returns:
            The sids in the order of the calls.

        Raises:
            TypeError: *f* cannot be a job, or a call is none or does not fit;
                the text has the index of the call, from 0.
            ValueError: *spread* is negative, or more than a thousand years;
                or this scheduler is not in a database yet.
            ArgumentNotTransferable: an argument cannot be stored; the text
                has the index of its call.
            BulkTooLarge: there are more calls than :attr:`max_bulk`.
            RuntimeError: there is no room for the thread that looks after
                jobs.
            Exception: whatever *calls* raises.
        """
        # The Zope flavour overrides _many() to pass an owner.
        return self._many(
            f, normalised_calls(calls, self.max_bulk), checked_spread(spread)
        )

    def _many(
        self,
        function: Callable[..., Any],
        calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
        spread: float,
        owner: str | None = None,
    ) -> Sequence[str]:
        connections = self._connections()
        process = self._process()
        process.start(recover=False)  # as in _schedule()
        return process.schedule_calls(
            function, calls, connections, owner=owner, spread=spread
        )

    def get(self, sid: str) -> JobView | None:
        """Return a view of the job, without changing anything.

        Args:
            sid: the sid of the job.

        Returns:
            What is known of the job; ``None`` if there is no such job.
        """
        return self._process().get(sid, self._connections())

    def completed(self, sid: str) -> bool | None:
        """Return whether the job has ended.

        Args:
            sid: the sid of the job.

        Returns:
            ``True`` if it has ended, ``False`` if it has not; ``None`` if
            there is no such job.
        """
        job = self._process().find(sid, self._connections())
        return job.done if job else None

    def get_result(
        self, sid: str
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Return the outcome of a job, and remove the job.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().get_result(sid, self._connections())

    def remove(self, sid: str) -> None:
        """Remove the job, if it exists.

        Args:
            sid: the sid of the job.
        """
        self._process().remove(sid, self._connections())

    def cancel(self, sid: str) -> bool:
        """Cancel a job that has not ended; it leaves no effects.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().cancel(sid, self._connections())

    def retry(self, sid: str) -> bool:
        """Have a failed job run again, with the same arguments.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().retry(sid, self._connections())

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait until a job, or every committed job, has ended.

        To see the outcome, begin another transaction afterwards.

        Args:
            sid: the sid of the job; ``None`` stands for all jobs.
            timeout: the longest wait in seconds; ``None`` for no limit.

        Returns:
            Whether it has, or they have, ended within *timeout* seconds.

        Raises:
            RuntimeError: the transaction that schedules the job has not
                committed.
            UnknownJob: there is no such job.
        """
        return self._process().wait(sid, timeout)

    def start(self, db: DB | None = None) -> None:
        """Run jobs in this process, also those that earlier processes left.

        Args:
            db: the scheduler's database. It may be ``None`` if a connection
                to the database has loaded this object.

        Raises:
            RuntimeError: there is no room for the thread that looks after
                jobs. Another call tries again.
        """
        self._process(db).start()

    def stop(self, grace: float | None = None) -> list[str]:
        """Begin no more jobs in this process, and wait for the running ones.

        Args:
            grace: the longest wait in seconds; ``None`` stands for the
                default of the engine.

        Returns:
            The sids of the jobs that still run.
        """
        return self._process().stop(grace)

    def _connections(self) -> JarConnections:
        if self._p_jar is None or self._p_oid is None:
            # The current transaction may have added it to the database. A
            # new object gets its connection and its oid only when it is
            # stored, which a savepoint does before the commit.
            transaction.savepoint(optimistic=True)
        if self._p_jar is None or self._p_oid is None:
            raise ValueError(
                "The scheduler cannot be reached from a database: store it"
                " first"
            )
        return JarConnections(self._p_jar)

    def _process(self, db: DB | None = None) -> ZODBScheduler:
        """Return what runs the jobs of this scheduler in this process.

        It is made at the first call.
        """
        if db is None:
            db = self._connections().sole().db()
        # Else two threads could make two of them, each with its own engine
        # and its own identity.
        with _lock:
            schedulers = _processes.setdefault(db, {})
            process = schedulers.get(self._p_oid)
            if process is None:
                process = schedulers[self._p_oid] = self._make_process(db)
        return process

    def _make_process(self, db: DB) -> ZODBScheduler:
        process = ZODBScheduler(
            ObjectLocation(db, self._p_oid),
            timeout=None,
            max_pending=self.max_pending,
            max_bulk=self.max_bulk,
        )
        runner = Runner(
            process, self._environment, max_conflicts=self.max_conflicts
        )
        process.use(ThreadEngine(runner.run, workers=self.workers))
        return process


_lock = threading.Lock()

#: What runs the jobs in this process, by database and by the oid of the
#: scheduler. It is not an attribute of the scheduler: each connection loads a
#: scheduler object of its own, which goes away with the connection.
_processes: weakref.WeakKeyDictionary[DB, dict[bytes, ZODBScheduler]] = (
    weakref.WeakKeyDictionary()
)
