"""The run of a job that is in the database, and the ways in which it ends."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from zope.interface import implementer

from ...exceptions import (
    JobCancelled,
    JobError,
    NotTransferable,
    ResultNotTransferable,
)
from ...interfaces import Connections, IRun
from ...jobs.model import Failure, JobState, JobView, Progress
from ...transfer.callables import callable_of
from ..records import Fence, Store, TakenOver
from ..store.location import StoreLocation
from ..store.stored_values import refuse_broken, storable_result
from ..store.transitions import End, fail, succeed, try_again
from .assigned_jobs import AssignedJob, AssignedJobs
from .crash_suspects import clear_suspicion
from .dispatch import Dispatcher
from .job_views import view_of_assigned, view_of_ended

__all__ = ["StoredRun"]


class _Scheduler(Protocol):
    """The parts of a scheduler that a run uses."""

    location: StoreLocation
    assigned_jobs: AssignedJobs
    dispatcher: Dispatcher

    def timeout_of(self, store: Store) -> float:
        """Return for how many seconds outcomes are stored by default."""

    def check_soon(self, sid: str) -> None:
        """Have the database checked soon for a job of this process."""


@implementer(IRun)
class StoredRun:
    """See :class:`~pyramid_zodb_async.interfaces.IRun`.

    Each write goes through ``Store.change`` with the fence of the assigned
    job. So it fails if another process has taken the job over, or a request
    has cancelled or removed it.

    Args:
        scheduler: the scheduler of the job.
        assigned: the job, of which no other run is under way here.
    """

    def __init__(self, scheduler: _Scheduler, assigned: AssignedJob) -> None:
        self._scheduler = scheduler
        self._location = scheduler.location
        self._jobs = scheduler.assigned_jobs
        self._assigned = assigned
        #: When the run began: a drop of the job resets it in *assigned*.
        self._started = assigned.started
        #: Whether a transaction has found that the job is not this run's.
        self._is_lost = False
        self._out_of_time: JobError | None = None
        #: Makes the view for the events of this run.
        self._view: Callable[[], JobView] = functools.partial(
            view_of_assigned, assigned
        )
        self.sid = assigned.sid
        self.attempt = assigned.attempt
        self.conflicts = assigned.conflicts
        self.failures = assigned.failures + assigned.crashes
        self.options = assigned.options
        self.owner = assigned.owner
        self.base_url = assigned.base_url
        self.function = assigned.function

    @property
    def call(self) -> "StoredRun":
        """The object that loads the call: the run itself."""
        return self

    def begin(self) -> bool:
        """Mark the beginning of a suspect's run in the database.

        The mark is committed before any code of the job runs. If the process
        ends then, the next takeover finds the mark and counts a crash. A job
        that is no suspect needs no commit here.

        Returns:
            Whether the job may be run. It may not if it is not this
            process's any more.
        """
        if not self._assigned.suspect:
            return True
        try:
            self._location.write(self._mark, note=f"job {self.sid} begins")
        except TakenOver:
            self.close()
            return False
        except BaseException:
            # Else the job would count as running for ever, and no other
            # suspect could begin.
            self._jobs.release(self._assigned, counts=False)
            raise
        return True

    def _mark(self, store: Store) -> None:
        store.change(self.sid, self._fence, begun=True)

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Return a callable that makes the call.

        Args:
            connections: those of the run; arguments are loaded through them.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
            TakenOver: the job is not this process's any more.
        """
        store = self._location.of(connections)
        record = None if store is None else store.find(self.sid)
        parts = None
        # This check saves a run whose commit would fail anyway. What counts
        # is the one in succeed(), since another process may change the record
        # at any time after this one.
        if record is not None and record.fence == self._fence:
            parts = record.parts()
        if parts is None:
            self._is_lost = True
            raise TakenOver(f"The job {self.sid} is not this run's any more")
        refuse_broken(parts)
        form, args, named_args = parts
        return functools.partial(callable_of(form), *args, **named_args)

    @property
    def _fence(self) -> Fence:
        return self._assigned.fence

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._jobs.report(self._assigned, progress)

    def stop_reason(self) -> JobError | None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if self._out_of_time is not None:
            return self._out_of_time
        if self.has_ended():
            return JobCancelled(
                f"The job {self.sid} is not to be run any more"
            )
        self._scheduler.check_soon(self.sid)
        return None

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return self._is_lost or self._jobs.get(self.sid) is not self._assigned

    def time_out(self, reason: JobError) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._out_of_time = reason

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return self._view()

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # The watchdog has set it. If it could not record in the database that
        # the time is up, only this stops the commit.
        if self._out_of_time is not None:
            raise self._out_of_time
        db = self._location.db
        try:
            outcome = storable_result(value, connections, db)
        except NotTransferable as error:
            raise ResultNotTransferable(
                f"The result of {self.function}() cannot be kept: {error}"
            ) from error
        store = self._location.make(connections.to(db))
        end = self._end(store)
        # In the transaction of the job's effects, so both are committed or
        # neither. If the record is changed between this line and the commit,
        # by a takeover, a cancel or a time limit, the commit conflicts.
        try:
            succeed(
                store,
                self.sid,
                self._fence,
                outcome,
                end,
                value=None if outcome else value,
                **self._assigned.history(),
            )
        except TakenOver:
            self._is_lost = True
            raise
        # Not announced yet: the runner does that after the commit.
        self._note(JobState.SUCCEEDED, end)

    def _end(self, store: Store) -> End:
        timeout = self.options.result_timeout
        if timeout is None:
            timeout = self._scheduler.timeout_of(store)
        return End.now(timeout)

    def _note(
        self, state: JobState, end: End, failure: Failure | None = None
    ) -> None:
        """Have the view show the end, for the event."""
        self._view = functools.partial(
            view_of_ended, self._assigned, self._started, state, end, failure
        )

    def fail(self, failure: Failure, exception: bytes) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""

        # The transaction of the job is aborted; this is one of its own. The
        # fence makes sure that the run can still speak for the job.
        def write(store: Store) -> End:
            end = self._end(store)
            fail(
                store,
                self.sid,
                self._fence,
                failure,
                exception,
                end,
                **self._assigned.history(),
            )
            return end

        try:
            end = self._location.write(write, note=f"job {self.sid} failed")
        except TakenOver:
            return False
        self._note(JobState.FAILED, end, failure)
        return True

    def retry(self, due: float) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        dispatcher = self._scheduler.dispatcher
        incarnation = dispatcher.incarnation_for(due, self.options)

        def write(store: Store) -> AssignedJob:
            record = try_again(
                store,
                self.sid,
                self._fence,
                due,
                incarnation,
                attempt=self.attempt,
                failures=self._assigned.failures + 1,
            )
            return AssignedJob.of(self.sid, record)

        note = f"job {self.sid} will be tried again"
        try:
            assigned = self._location.write(write, note=note)
        except TakenOver:
            return False
        self._view = functools.partial(view_of_assigned, assigned)
        # After the commit: the next run expects the fence of the committed
        # record. If the process dies before this line, a takeover finds the
        # job.
        dispatcher.hand_over([assigned], self._jobs)
        return True

    def release(self, *, counts: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # First the mark in the database: as soon as the job is released, the
        # next run may begin and set the mark again.
        if self._assigned.suspect:
            clear_suspicion(self._location, self._assigned)
        self._jobs.release(self._assigned, counts=counts)

    def give_back(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""

        def write(store: Store) -> AssignedJob:
            record = store.change(
                self.sid,
                self._fence,
                runner=None,
                # so that this run cannot write any more
                run_number=self._fence.run_number + 1,
                # the end of this process is no crash of the job
                begun=False,
            )
            return AssignedJob.of(self.sid, record)

        assigned = self._location.write(write, note=f"job {self.sid} is free")
        # after the commit: a worker that gets the message must find the job
        # free
        self._scheduler.dispatcher.hand_over([assigned], self._jobs)

    def leave(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        # not as close() does, since the run goes on: a suspect stays the
        # current one
        self._jobs.drop_ended(self._assigned)

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._jobs.drop(self.sid, self._assigned)
