"""A scheduler that is a persistent object, with its jobs in itself.

Its class stays where it is and keeps its name: the database finds it by that.
"""

import threading
import weakref
from collections.abc import Callable
from typing import Any

import transaction
from ZODB.DB import DB

from ..database.connections import JarConnections
from ..engine.threads import ThreadEngine
from ..execution.runner import Runner
from ..execution.surroundings import SurroundingsFactory, thread_transaction
from ..jobs.model import JobView
from .records import Store
from .store.location import ObjectLocation
from .zodb import ZODBScheduler

__all__ = ["PersistentTransactionalScheduler"]


class PersistentTransactionalScheduler(Store):
    """A scheduler to be put somewhere into the database.

    To schedule a job, to fetch its outcome and to remove it are parts of the
    transaction of the connection that this object was loaded by. A job runs
    in the process that scheduled it, on one of *workers* threads, in a
    transaction of its own, which functions that
    :func:`~pyramid_zodb_async.transactional` decorates join. Jobs survive a
    restart of the process; call :meth:`start` to have them run then.

    A subclass may change the attributes.
    """

    #: How long an outcome that nobody fetches is kept, in seconds.
    timeout: float = 3600
    #: How many jobs a process runs at a time.
    workers = 2
    #: How many jobs of a process may wait.
    max_pending = 10_000
    #: How often a job is repeated after conflicts and other transient errors.
    max_conflicts = 50
    # surrounds each run
    _environment: SurroundingsFactory = staticmethod(thread_transaction)

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called once the transaction has committed.

        Returns the sid, the job's id.

        Raises:
            TypeError: *f* cannot be a job or cannot be called so.
            ArgumentNotTransferable: an argument cannot be stored.
            QueueFull: too many jobs are waiting.
            ValueError: this scheduler is not in a database yet.
        """
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
        process.start(recover=False)
        return process.schedule_call(
            function, args, named_args, connections, owner=owner
        )

    def get(self, sid: str) -> JobView | None:
        """Tell what is known of the job, or ``None``; it changes nothing."""
        return self._process().get(sid, self._connections())

    def completed(self, sid: str) -> bool | None:
        """``None``, ``False``, ``True``: unknown, unfinished, finished."""
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Fetch the outcome, and forget it.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().get_result(sid, self._connections())

    def remove(self, sid: str) -> None:
        """Forget the job, if it exists."""
        self._process().remove(sid, self._connections())

    def cancel(self, sid: str) -> bool:
        """End a job that has not ended; it leaves no effects.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().cancel(sid, self._connections())

    def retry(self, sid: str) -> bool:
        """Have a failed job run again, with the arguments that it had.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._process().retry(sid, self._connections())

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """Wait until the job, or every committed one, has ended.

        Returns whether that came to pass within *timeout* seconds. To see
        the outcome, begin another transaction after it.
        """
        return self._process().wait(sid, timeout)

    def start(self, db: DB | None = None) -> None:
        """Run jobs in this process, also those that earlier ones left.

        *db* is the scheduler's database; it is needed if this is not asked of
        an object that the database has loaded.
        """
        self._process(db).start()

    def stop(self, grace: float | None = None) -> list[str]:
        """Take no new job in this process, and wait for the running ones.

        *grace* is the longest wait in seconds. Returns the sids of the jobs
        that run on.
        """
        return self._process().stop(grace)

    def _connections(self) -> JarConnections:
        if self._p_jar is None or self._p_oid is None:
            # it may be reachable since a moment ago
            transaction.savepoint(optimistic=True)
        if self._p_jar is None or self._p_oid is None:
            raise ValueError(
                "The scheduler cannot be reached from a database: store it"
                " first"
            )
        return JarConnections(self._p_jar)

    def _process(self, db: DB | None = None) -> ZODBScheduler:
        """Give what runs the jobs of this scheduler in this process."""
        if db is None:
            db = self._connections().sole().db()
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
        )
        runner = Runner(
            process, self._environment, max_conflicts=self.max_conflicts
        )
        process.use(ThreadEngine(runner.run, workers=self.workers))
        return process


_lock = threading.Lock()

#: By database and oid; the schedulers as this process has loaded them are
#: many, and go with their connections.
_processes: weakref.WeakKeyDictionary[DB, dict[bytes, ZODBScheduler]] = (
    weakref.WeakKeyDictionary()
)
