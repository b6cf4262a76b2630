"""The scheduler that stores its jobs in the memory of one process."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from zope.interface import implementer

from ..contracts import IRun, ISchedulerCore
from ..interfaces import Connections, IEngine
from ..jobs.bulk import Sids, due_times, name_call
from ..jobs.given_options import NONE_GIVEN, resolved
from ..jobs.model import JobState, JobView
from ..jobs.owners import loaded_owner, stored_owner
from ..jobs.shared_texts import shared_text
from ..transfer.callables import argument_check, function_name
from .base_scheduler import BaseScheduler, to_anybody
from .in_memory.call import Call
from .in_memory.job import Job, view_of
from .in_memory.job_changes import MemoryJob, Scheduling
from .in_memory.jobs_in_memory import JobsInMemory
from .in_memory.run import MemoryRun
from .waiters import Waiter

__all__ = ["MemoryScheduler"]

T = TypeVar("T")


@implementer(ISchedulerCore)
class MemoryScheduler(BaseScheduler):
    """A scheduler whose jobs are in memory, without a database.

    Pending, running and finished jobs are lost when the process ends. The
    cost of a job does not depend on how many others wait or are stored. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` stands for the attribute ``timeout``.
        max_pending: how many jobs may wait to be run.
        max_bulk: how many calls ``many()`` may be given.

    Raises:
        ValueError: *timeout* is negative or no number.
    """

    #: For how long an outcome that is not fetched is stored, in seconds; a
    #: subclass may change it.
    timeout: float = 3600

    def __init__(
        self,
        timeout: float | None = None,
        *,
        max_pending: int = 10_000,
        max_bulk: int = 100_000,
    ) -> None:
        if timeout is not None:
            self.timeout = timeout
        if not self.timeout >= 0:
            raise ValueError(
                f"timeout takes seconds, 0 or more, not {self.timeout!r}"
            )
        self.max_pending = max_pending
        #: The jobs, as the parts of this scheduler know them.
        self.jobs = JobsInMemory(lambda: self.timeout)
        super().__init__(self.jobs.commit_queue, self.jobs.waiters, max_bulk)

    def use(self, engine: IEngine) -> None:
        """Set the engine that runs the jobs.

        Args:
            engine: the engine. It also gets the jobs that were committed
                before this call.
        """
        self.jobs.engine = engine
        self.jobs.work_off()

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
        call = Call(function, args, named_args, connections)
        own_options, due = resolved(function, options)
        job = Job(
            function=shared_text(call.function),
            owner=owner and loaded_owner(**stored_owner(owner)),
            base_url=base_url and shared_text(base_url),
            options=own_options,
        )
        if due is not None:
            job.wait_until(due)
        self.jobs.changes.add_unless_full(
            connections.transaction_manager,
            Scheduling(self.jobs, job, call),
            pending=self.jobs.table.waiting,
            max_pending=self.max_pending,
        )
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
        argument_check(function)  # even if there are no calls
        own_options, due = resolved(function, options)
        pending, max_pending = self.jobs.table.waiting, self.max_pending
        checked = []
        for index, (args, named_args) in enumerate(calls):
            if due is None and not spread:  # there may be no end of calls
                self.jobs.changes.require_room(
                    index + 1, pending=pending, max_pending=max_pending
                )
            try:
                call = Call(function, args, named_args, connections)
            except TypeError as error:
                name_call(index, error)
                raise
            checked.append(call)
        # all of them are good: from here on they are scheduled
        added = self._schedulings(
            checked,
            due_times(due, spread, len(checked)),
            function=shared_text(function_name(function)),
            owner=owner and loaded_owner(**stored_owner(owner)),
            base_url=base_url and shared_text(base_url),
            options=own_options,
        )
        self.jobs.changes.add_all_unless_full(
            connections.transaction_manager,
            added,
            pending=pending,
            max_pending=max_pending,
        )
        return Sids.of(change.job.sid for change in added)

    def _schedulings(
        self,
        calls: list[Call],
        due_of_each: Iterable[float | None],
        **of_all: Any,
    ) -> list[Scheduling]:
        """Return the changes that schedule the jobs of a bulk."""
        added = []
        of_each = zip(calls, due_of_each, strict=True)
        for index, (call, due) in enumerate(of_each):
            job = Job(**of_all)
            if due is not None:
                job.wait_until(due)
            added.append(Scheduling(self.jobs, job, call, index))
        return added

    def find(self, sid: str, connections: Connections) -> MemoryJob | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        jobs = self.jobs
        if jobs.commit_queue:
            jobs.work_off()
        if job := jobs.table.get(sid):
            return MemoryJob(jobs, job, connections)
        for change in jobs.changes.known(connections.transaction_manager):
            if isinstance(change, Scheduling) and change.job.sid == sid:
                return MemoryJob(jobs, change.job, connections, change)
        return None

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        if self.jobs.commit_queue:
            self.jobs.work_off()
        has_ended = self.jobs.table.has_ended(sid)
        # if it is in no table, this transaction may have scheduled it
        return super().completed(sid) if has_ended is None else has_ended

    def glance(
        self, sid: str, is_open: Callable[[str | None], bool] = to_anybody
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        if self.jobs.commit_queue:
            self.jobs.work_off()
        job = self.jobs.table.get(sid)
        if job is None or job.state.done or not is_open(job.owner):
            return None
        if job.state is JobState.PENDING:
            self.jobs.try_again()
        return view_of(job, None)

    def watch(self, sids: Iterable[str]) -> Waiter:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        return self.waiters.add(sids)

    def in_own_transaction(
        self,
        work: Callable[[Connections], T],
        get_connections: Callable[[], Connections],
        note: str,
    ) -> T:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        return work(get_connections())

    def start(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        if self.jobs.engine is not None:  # use() may not be called yet
            self.jobs.engine.start()

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        engine = self.jobs.engine
        return [] if engine is None else engine.stop(grace)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.jobs.table.unfinished()

    def count_unfinished(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return len(self.jobs.table.unfinished())

    def backlog(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.jobs.table.waiting()

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self.jobs.work_off()
        self.jobs.try_again()
        table = self.jobs.table
        if sid is not None:
            self.jobs.changes.require_committed(
                sid, lambda: table.has_ended(sid) is not None
            )
        return table.wait(sid, timeout)

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""
        job = self.jobs.table.claim(sid)
        return MemoryRun(self.jobs, job) if job else None
