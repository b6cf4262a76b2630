"""Keeps jobs in memory: fast, bounded, and forgotten by a restart."""

import contextlib
import functools
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from ..call import Call
from ..changes import OpenChanges
from ..connections import Connections, current_connections
from ..exceptions import JobCancelled, ResultNotTransferable
from ..forking import call_after_fork
from ..interfaces import IEngine, IRun, IScheduler
from ..job import Failure, JobView, Progress
from ..references import Dumped, NotTransferable, dump
from .table import Job, JobTable

__all__ = ["MemoryScheduler"]


@implementer(IScheduler)
class MemoryScheduler:
    """A scheduler for one process, whose jobs end with it.

    What it does not do is to survive: a restart forgets waiting, running and
    finished jobs. It needs no database. The cost of a job does not depend on
    how many others wait, or are kept. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        timeout: how long an outcome that nobody fetches is kept, in seconds.
        max_pending: how many jobs may wait.

    Raises:
        ValueError: *timeout* is negative or no number.
    """

    #: How long an outcome is kept, in seconds; a subclass may change it.
    timeout: float = 3600

    def __init__(
        self, timeout: float | None = None, *, max_pending: int = 10_000
    ) -> None:
        if timeout is not None:
            self.timeout = timeout
        if not self.timeout >= 0:
            raise ValueError(
                f"timeout takes seconds, 0 or more, not {self.timeout!r}"
            )
        self.max_pending = max_pending
        self.table = JobTable(lambda: self.timeout)
        self._engine: IEngine | None = None
        self.changes = OpenChanges(self._hand_over)
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Have nothing to submit; in a child that is the parent's."""
        self._to_submit: deque[str] = deque()

    def use(self, engine: IEngine) -> None:
        """Have *engine* run the jobs."""
        self._engine = engine
        self._hand_over()

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = current_connections()
        return self.schedule_call(f, args, kw, connections)

    def schedule_call(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
    ) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        call = Call(function, args, named_args, connections)
        job = Job(function=call.function, owner=owner, base_url=base_url)
        self.changes.add_if_room(
            connections.transaction_manager,
            _Scheduling(self, job, call),
            waiting=self.table.waiting,
            most=self.max_pending,
        )
        return job.sid

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        job = self._find(sid, connections)
        if job is None:
            return None
        return JobView(
            sid=job.sid,
            state=job.state,
            function=job.function,
            owner=job.owner,
            attempt=job.attempt,
            progress=job.progress,
            scheduled=job.scheduled,
            started=job.started,
            finished=job.finished,
            expires=job.expires,
            failure=job.failure,
            load_result=functools.partial(_load, job.value, connections),
        )

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, current_connections())
        return job.state.done if job else None

    def get_result(
        self, sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        job = self._find(sid, connections)
        if job is None:
            return None
        if not job.state.done:
            return False
        self.changes.of(connections.transaction_manager).add(
            _Removal(self.table, sid)
        )
        if job.exception is not None:
            return None, pickle.loads(job.exception)  # noqa: S301 - we made it
        return _load(job.value, connections), None

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        if change := self._find_uncommitted(sid, connections):
            self.changes.of(connections.transaction_manager).discard(change)
        self.table.forget(sid)
        if self._engine is not None:
            self._engine.withdraw(sid)

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        if self._engine is not None:  # as long as nobody gave one
            self._engine.start()

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return [] if self._engine is None else self._engine.stop(grace)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.table.unfinished()

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        return self.table.wait(sid, timeout)

    def _find(self, sid: str, connections: Connections) -> Job | None:
        self._hand_over()
        if job := self.table.get(sid):
            return job
        change = self._find_uncommitted(sid, connections)
        return change.job if change else None

    def _find_uncommitted(
        self, sid: str, connections: Connections
    ) -> "_Scheduling | None":
        """Find a job among those of the current transaction."""
        for change in self.changes.known(connections.transaction_manager):
            if isinstance(change, _Scheduling) and change.job.sid == sid:
                return change
        return None

    def accept(self, job: Job) -> None:
        """Take in a job whose transaction is committed."""
        self.table.accept(job)
        self._to_submit.append(job.sid)

    def _hand_over(self) -> None:
        """Give the engine the jobs that it has not got yet.

        An after-commit hook calls it; and, should a transaction have ended
        without calling its hooks, whoever asks for a job next.
        """
        if self._engine is None:
            return
        sids = []
        # other threads may add to it and take from it at the same time
        with contextlib.suppress(IndexError):
            while True:
                sids.append(self._to_submit.popleft())
        if sids:
            self._engine.submit(sids)

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self.table.claim(sid)
        return _Run(self, job) if job else None


def _load(dumped: Dumped | None, connections: Connections) -> Any:
    return None if dumped is None else dumped.load(connections)


@implementer(IRun)
class _Run:
    """See :class:`~pyramid_zodb_async.interfaces.IRun`."""

    def __init__(self, scheduler: MemoryScheduler, job: Job) -> None:
        self._scheduler = scheduler
        self._table = scheduler.table
        self._job = job
        self._number = job.run_number
        self.sid = job.sid
        self.attempt = job.attempt
        self.conflicts = job.conflicts
        self.owner = job.owner
        self.base_url = job.base_url
        self.function = job.function
        self.call = job.call

    def report(self, progress: Progress) -> None:
        self._job.progress = progress

    def stop_reason(self) -> JobCancelled | None:
        if self._table.is_current(self._job, self._number):
            return None
        return JobCancelled(f"The job {self.sid} was removed while it ran")

    def succeed(self, value: Any, connections: Connections) -> None:
        changes = self._scheduler.changes.of(connections.transaction_manager)
        changes.add(_Success(self, value, connections))

    def has_succeeded(self, value: Dumped) -> None:
        self._table.succeed(self._job, self._number, value)

    def fail(self, failure: Failure, exception: bytes) -> bool:
        return self._table.fail(self._job, self._number, failure, exception)

    def release(self, *, counts: bool = True) -> None:
        self._table.release(self._job, self._number, counts=counts)

    def close(self) -> None:
        pass  # the table knows it from the outcome


class _Scheduling:
    """A job that comes to be with the commit."""

    places = 1

    def __init__(
        self, scheduler: MemoryScheduler, job: Job, call: Call
    ) -> None:
        self._scheduler = scheduler
        self.job = job
        self._call = call

    def prepare(self) -> None:
        self.job.call = self._call.loadable()

    def apply(self) -> None:
        self._scheduler.accept(self.job)


class _Success:
    """A job that succeeds with the commit of its effects."""

    places = 0

    def __init__(
        self, run: _Run, value: Any, connections: Connections
    ) -> None:
        self._run = run
        self._value = value
        self._connections = connections
        self._dumped: Dumped

    def prepare(self) -> None:
        if reason := self._run.stop_reason():
            raise reason
        try:
            self._dumped = dump(self._value, self._connections)
        except NotTransferable as error:
            raise ResultNotTransferable(
                f"The result of {self._run.function}() cannot be kept: {error}"
            ) from error

    def apply(self) -> None:
        self._run.has_succeeded(self._dumped)


class _Removal:
    """A fetched outcome that is forgotten with the commit."""

    places = 0

    def __init__(self, table: JobTable, sid: str) -> None:
        self._table = table
        self._sid = sid

    def prepare(self) -> None:
        """Nothing can fail."""

    def apply(self) -> None:
        self._table.forget(self._sid)
