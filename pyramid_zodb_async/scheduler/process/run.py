"""The run of a job that is in the database, and the ways in which it ends."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from zope.interface import implementer

from ...contracts import IRun
from ...database.internals import participants_of
from ...exceptions import JobError, NotTransferable, TransactionRequired
from ...interfaces import Connections
from ...jobs.model import Failure, JobState, JobView, Progress
from ...transfer.callables import callable_of
from ..base_run import BaseRun
from ..contents import Contents
from ..records import Fence, Store, StoredJob, TakenOver
from ..sids import Place, split_own
from ..store.stored_values import storable_result
from ..store.transitions import End, fail, finish, try_again
from ..transaction_changes import Changes
from .assigned_job import AssignedJob
from .commits_in_doubt import has_committed, storages_work
from .crash_suspects import clear_suspicion, mark_beginning
from .job_views import view_of_assigned, view_of_ended
from .this_process import ThisProcess

__all__ = ["StoredRun"]


@implementer(IRun)
class StoredRun(BaseRun):
    """See :class:`~pyramid_zodb_async.contracts.IRun`.

    Each write goes through ``StoredJob.change`` with the fence of the
    assigned job. So it fails if another process has taken the job over, or a
    request has cancelled or removed it.

    Args:
        process: this process.
        assigned: the job, of which no other run is under way here.
    """

    def __init__(self, process: ThisProcess, assigned: AssignedJob) -> None:
        super().__init__(assigned)
        self.failures += assigned.crashes
        self._process = process
        self._jobs = process.assigned_jobs
        self._assigned = assigned
        self._fence = assigned.fence
        #: The job as the connection of the run sees it, and when that was
        #: opened.
        self._loaded: tuple[Store, StoredJob, float] | None = None
        #: When the run began: a drop of the job resets it in *assigned*.
        self._started = assigned.started
        #: The serial of the record before the success, and where the job is
        #: when that is committed for sure.
        self._serial: bytes | None = None
        self._ended: Place | None = None
        #: Whether a transaction has found that the job is not this run's.
        self._is_lost = False
        #: Makes the view for the events of this run.
        self._view: Callable[[], JobView] = functools.partial(
            view_of_assigned, assigned
        )

    def begin(self) -> bool:
        """Mark the beginning of a suspect's run in the database.

        The mark is committed before any code of the job runs. If the process
        ends then, the next takeover finds the mark and counts a crash. For a
        job that is no suspect this is not called.

        Returns:
            Whether the job may be run. It may not if it is not this
            process's any more.
        """
        try:
            crashes = mark_beginning(self._process.location, self._assigned)
        except TakenOver:
            self.close()
            return False
        except BaseException:
            # Else the job would count as running for ever, and no other
            # suspect could begin.
            self._jobs.release(self._assigned, counts=False)
            raise
        # fewer than before if a process turned out to live
        self.failures = self._assigned.failures + crashes
        return True

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Return a callable that makes the call.

        Args:
            connections: those of the run; arguments are loaded through them.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
            TakenOver: the job is not this process's any more.
        """
        try:
            return self._load(connections)
        except POSKeyError as error:
            self.require_job(error)
            raise

    def _load(self, connections: Connections) -> Callable[[], Any]:
        _, job = self._find(connections)
        # This check saves a run whose commit would fail anyway. What counts
        # is the one in succeed(), since another process may change the record
        # at any time after this one.
        parts = job.parts() if job.fence == self._expected(job) else None
        if parts is None:
            self._is_lost = True
            raise self._taken_over()
        form, args, named_args = parts
        return functools.partial(callable_of(form), *args, **named_args)

    def _find(self, connections: Connections) -> tuple[Store, StoredJob]:
        """Return the store, and the job as *connections* see it."""
        if self._loaded is not None:
            store, job, since = self._loaded
            # unless the function has closed the connection of the run
            if store._p_jar is not None and store._p_jar.opened == since:
                return store, job
        found = self._process.location.of(connections)
        located = found and found.locate_own(self.sid)
        if found is None or located is None:
            self._is_lost = True
            raise self._taken_over()
        self._loaded = found, located, found._p_jar.opened
        return found, located

    def require_job(self, error: POSKeyError) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self._process.location.is_gone():
            self._is_lost = True
            raise self._taken_over() from error

    def _expected(self, job: StoredJob) -> Fence:
        """Return the fence that the record must have, for a write of it."""
        serial, record = self._assigned.serial, job.record
        if serial is not None:  # see AssignedJob.is_as_before()
            record._p_activate()
            if record._p_serial != serial:
                self._is_lost = True
                raise self._taken_over()
        return self._fence

    def _taken_over(self) -> TakenOver:
        return TakenOver(f"The job {self.sid} is not this run's any more")

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._jobs.report(self._assigned, progress)

    def stop_reason(self) -> JobError | None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        reason = super().stop_reason()
        if reason is None:
            self._process.check_soon(self.sid)
        return reason

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self._is_lost or self._jobs.get(self.sid) is not self._assigned

    def view(self) -> JobView:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self._view()

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # The watchdog has set it. If it could not record in the database that
        # the time is up, only this stops the commit.
        if self._out_of_time is not None:
            raise self._out_of_time
        # Nearly always the commit would conflict. It does not on a FileStorage
        # if the record was dropped with its slice and packed during the run.
        if self.has_ended():
            raise self._taken_over()
        try:
            outcome = storable_result(
                value, connections, self._process.location.db
            )
        except NotTransferable as error:
            raise self._not_transferable(error) from error
        try:
            self._finish(value, outcome, connections)
        except POSKeyError as error:
            self.require_job(error)
            raise

    def _finish(
        self, value: Any, outcome: Contents | None, connections: Connections
    ) -> None:
        """Record the success in the transaction of *connections*."""
        store, job = self._find(connections)
        end = self._end(store)
        self._serial = job.record._p_serial
        # In the transaction of the job's effects, so both are committed or
        # neither. If the record is changed between this line and the commit,
        # by a takeover, a cancel or a time limit, the commit conflicts.
        try:
            finish(
                job,
                self._expected(job),
                JobState.SUCCEEDED,
                end,
                outcome=outcome,
                value=value if outcome is None else None,
                **self._assigned.history(),
            )
        except TakenOver:
            self._is_lost = True
            raise
        if store._p_jar not in participants_of(
            connections.transaction_manager.get()
        ):
            # Else the commit would commit nothing, and the job be run again
            # and again.
            raise TransactionRequired(
                "The job has taken its connection out of its transaction, so"
                " that neither its effects nor its success can be committed"
            )
        # Not announced yet: the runner does that after the commit.
        self._note(JobState.SUCCEEDED, end)

    def _end(self, store: Store) -> End:
        timeout = store.outcome_timeout(self.options, self._process.timeout)
        return End.now(timeout)

    def _note(
        self, state: JobState, end: End, failure: Failure | None = None
    ) -> None:
        """Have the view show the end, for the event."""
        self._view = functools.partial(
            view_of_ended, self._assigned, self._started, state, end, failure
        )

    def can_find_out(self, participants: list[Any]) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # Other databases, and what else takes part, may have committed
        # although that of the record has not.
        jar = self._loaded[0]._p_jar if self._loaded is not None else None
        return all(
            participant is jar or isinstance(participant, Changes)
            for participant in participants
        )

    def find_out(self) -> bool | None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        started = self._started if self._assigned.serial else None
        where = self._process.location
        return has_committed(where, self.sid, self._fence, started)

    def storage_works(self, databases: Iterable[DB]) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return storages_work(self._process.location, databases)

    def fail(
        self, failure: Failure, exception: bytes, *, in_doubt: bool = False
    ) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # The transaction of the job is aborted; this is one of its own. The
        # fence makes sure that the run can still speak for the job. This is
        # called again if a commit of it raised that may have succeeded.
        ends: dict[float | None, End] = {}

        def write(store: Store) -> End:
            job = self._of(store)
            known = ends.get(job.record.finished)
            if known is not None:
                return known
            end = self._end(store)
            ends[end.finished] = end
            fail(
                job,
                self._expected(job),
                end,
                failure,
                exception,
                **self._assigned.history(),
            )
            return end

        try:
            end = self._process.location.write(
                write, note=f"job {self.sid} failed"
            )
        except TakenOver:
            return False
        self._note(JobState.FAILED, end, failure)
        return True

    def _of(self, store: Store) -> StoredJob:
        """Return the job as another transaction than the run's sees it."""
        job = store.locate(self.sid)
        if job is None:
            raise self._taken_over()
        return job

    def retry(self, due: float) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        dispatcher = self._process.dispatcher
        incarnation, _ = dispatcher.assign(due, self.options)
        is_retried = self._fence._replace(
            runner=incarnation, run_number=self._fence.run_number + 1
        )

        def write(store: Store) -> AssignedJob:
            job = self._of(store)
            # It may be: a commit of this can raise and succeed nevertheless.
            if job.fence == is_retried and job.due == due:
                return AssignedJob.of(job)
            try_again(
                job,
                self._expected(job),
                float(due),  # plain, as it is stored
                incarnation,
                attempt=self.attempt,
                failures=self._assigned.failures + 1,
            )
            return AssignedJob.of(job)

        note = f"job {self.sid} will be tried again"
        self._jobs.left_to_runs.add(self.sid)
        try:
            assigned = self._process.location.write(write, note=note)
        except TakenOver:
            return False
        finally:
            self._jobs.left_to_runs.discard(self.sid)
        assigned.wait_until(due)
        self._view = functools.partial(view_of_assigned, assigned)
        # After the commit: the next run expects the fence of the committed
        # record. If the process dies before this line, a takeover finds the
        # job.
        dispatcher.hand_over([assigned])
        return True

    def release(self, *, counts: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # First the mark in the database: as soon as the job is released, the
        # next run may begin and set the mark again.
        if self._assigned.suspect:
            clear_suspicion(self._process.location, self._assigned)
        self._jobs.release(self._assigned, counts=counts)

    def give_back(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._process.is_told_to_stop = True
        # another number, so that this run cannot write any more
        free = self._fence._replace(
            runner=None, run_number=self._fence.run_number + 1
        )

        def write(store: Store) -> AssignedJob:
            job = self._of(store)
            if job.fence != free:  # it is in a repetition, as in retry()
                job.change(
                    self._expected(job),
                    runner=free.runner,
                    run_number=free.run_number,
                    # the end of this process is no crash of the job
                    begun=False,
                )
            return AssignedJob.of(job)

        assigned = self._process.location.write(
            write, note=f"job {self.sid} is free"
        )
        # after the commit: a worker that gets the message must find the job
        # free
        self._process.dispatcher.hand_over([assigned])

    def leave(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        # not as close() does, since the run goes on: a suspect stays the
        # current one
        self._jobs.drop_ended(self._assigned)

    def note_commit(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self._loaded is None:
            return False  # pragma: no cover - no success was recorded then
        job = self._loaded[1]
        # a record that was written has a new serial
        if job.record._p_serial == self._serial:
            return False
        self._ended = job.place
        return True

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._jobs.drop_run(self._assigned, self._ended)
        self._process.slices_to_check.add(split_own(self.sid).number)
