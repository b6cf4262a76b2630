"""The scheduler that stores its jobs in the memory of one process."""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..concurrency.queues import drained
from ..database.connections import current_connections
from ..engine.submission import submit
from ..events import (
    JobEvent,
    JobExpired,
    JobRetried,
    JobScheduled,
    JobWasCancelled,
)
from ..exceptions import JobCancelled
from ..execution.subscribers import Announcer
from ..interfaces import Connections, IEngine, IRun, IScheduler
from ..jobs.given_options import NONE_GIVEN, resolved
from ..jobs.model import JobState, JobView
from .event_queue import EventQueue
from .in_memory.call import Call
from .in_memory.job import Job, load, view_of
from .in_memory.run import MemoryRun
from .in_memory.table import JobTable
from .transaction_changes import CertainChange, OpenChanges
from .waiters import Waiter, Waiters

__all__ = ["MemoryScheduler"]

T = TypeVar("T")


@implementer(IScheduler)
class MemoryScheduler:
    """A scheduler whose jobs are in memory, without a database.

    Pending, running and finished jobs are lost when the process ends. The
    cost of a job does not depend on how many others wait or are stored. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` stands for the attribute ``timeout``.
        max_pending: how many jobs may wait to be run.

    Raises:
        ValueError: *timeout* is negative or no number.
    """

    #: For how long an outcome that is not fetched is stored, in seconds; a
    #: subclass may change it.
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
        self.announcer = Announcer()
        self.event_queue = EventQueue(lambda: self.announcer)
        self.waiters = Waiters()
        self.table = JobTable(
            lambda: self.timeout,
            self.waiters,
            lambda job: self._note(JobExpired, job),
        )
        self._engine: IEngine | None = None
        self.changes = OpenChanges(self._hand_over)
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with no jobs to submit.

        Called again in a forked child, which must not run those of the
        parent.
        """
        self._to_submit: deque[Job] = deque()

    def use(self, engine: IEngine) -> None:
        """Set the engine that runs the jobs.

        Args:
            engine: the engine. It also gets the jobs that were committed
                before this call.
        """
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
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        call = Call(function, args, named_args, connections)
        own_options, due = resolved(function, options)
        job = Job(
            function=call.function,
            owner=owner,
            base_url=base_url,
            options=own_options,
            due=due,
        )
        self.changes.add_unless_full(
            connections.transaction_manager,
            _Scheduling(self, job, call),
            pending=self.table.waiting,
            max_pending=self.max_pending,
        )
        return job.sid

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        job = self._find(sid, connections)
        return view_of(job, connections) if job else None

    def glance(self, sid: str) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        job = self.table.get(sid)
        if job is None or job.state.done:
            return None
        return view_of(job, None)

    def watch(self, sids: Iterable[str]) -> Waiter:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.waiters.add(sids)

    def in_own_transaction(
        self,
        work: Callable[[Connections], T],
        connections: Connections,
        note: str,
    ) -> T:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return work(connections)

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
        if job.state is JobState.CANCELLED:
            return None, JobCancelled(f"The job {sid} was cancelled")
        if job.exception is not None:
            return None, pickle.loads(job.exception)  # noqa: S301 - we made it
        return load(job.value, connections), None

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        if change := self._find_uncommitted(sid, connections):
            self.changes.of(connections.transaction_manager).discard(change)
        # First the table, then the engine: a worker that has got the sid
        # already finds that the job is gone when it claims the job.
        self.table.forget(sid)
        if self._engine is not None:
            self._engine.withdraw(sid)

    def cancel(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        if change := self._find_uncommitted(sid, connections):
            self.changes.of(connections.transaction_manager).discard(change)
            return True
        self._hand_over()
        # First the table, as in remove(). It returns a copy, so the event
        # shows the job as it was when it was cancelled.
        job = self.table.cancel(sid)
        if job is None:
            return False
        if self._engine is not None:
            self._engine.withdraw(sid)
        self._note(JobWasCancelled, job)
        self.event_queue.deliver()
        return True

    def retry(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self.table.retry(sid)
        if job is None:
            return False
        self._note(JobRetried, job)
        self._to_submit.append(job)
        self._hand_over()
        return True

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        if self._engine is not None:  # use() may not have been called yet
            self._engine.start()

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return [] if self._engine is None else self._engine.stop(grace)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.table.unfinished()

    def backlog(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.table.waiting()

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
        """Return the scheduling of a job by the current transaction."""
        for change in self.changes.known(connections.transaction_manager):
            if isinstance(change, _Scheduling) and change.job.sid == sid:
                return change
        return None

    def accept(self, job: Job) -> None:
        """Add a job whose transaction is being committed.

        It runs within the commit, after all other participants have
        committed. Only the after-commit hook submits the job to the engine.

        Args:
            job: the job.
        """
        # The event is queued first: as soon as the job is submitted, which
        # any thread may do, it can run and cause further events.
        self._note(JobScheduled, job)
        # In the table before it can be submitted: a worker that does not
        # find the job there takes it for one that is gone.
        self.table.accept(job)
        self._to_submit.append(job)

    def _note(self, kind: type[JobEvent], job: Job) -> None:
        """Queue an event, to be delivered by the next ``_hand_over()``."""
        self.event_queue.add(kind, lambda: view_of(job, None))

    def submit(self, job: Job) -> None:
        """Have the engine run a job once more.

        Args:
            job: the job, with the time when it is due.
        """
        self._to_submit.append(job)
        self._hand_over()

    def _hand_over(self) -> None:
        """Deliver the events, and submit the committed jobs to the engine.

        An after-commit hook calls this. A transaction does not always call
        its hooks, for instance if a synchronizer raises; so do all methods
        that ask for a job.
        """
        # before the jobs are submitted: a subscriber gets JobScheduled
        # before the job can run
        self.event_queue.deliver()
        if self._engine is None:
            return
        if jobs := list(drained(self._to_submit)):
            submit(self._engine, jobs)

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self.table.claim(sid)
        return MemoryRun(self, job) if job else None


class _Scheduling(CertainChange):
    """A job that exists from the commit of its transaction on."""

    def __init__(
        self, scheduler: MemoryScheduler, job: Job, call: Call
    ) -> None:
        self.pending_jobs = int(job.due is None)
        self._scheduler = scheduler
        self.job = job
        self._call = call

    def prepare(self) -> None:
        # In the commit: new persistent objects among the arguments have
        # their oids only now.
        self.job.call = self._call.loadable()

    def apply(self) -> None:
        self._scheduler.accept(self.job)


class _Removal(CertainChange):
    """A job that is removed with the commit: its outcome was fetched."""

    def __init__(self, table: JobTable, sid: str) -> None:
        self._table = table
        self._sid = sid

    def apply(self) -> None:
        self._table.forget(self._sid)
