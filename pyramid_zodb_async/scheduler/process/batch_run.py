"""The run of a job that may have its transaction together with others."""

import time

from zope.interface import implementer

from ...contracts import IBatchRun
from ..records import Store
from .assigned_job import AssignedJob
from .run import StoredRun

__all__ = ["BatchRun"]


@implementer(IBatchRun)
class BatchRun(StoredRun):
    """See :class:`~pyramid_zodb_async.contracts.IBatchRun`.

    Args:
        process: this process.
        assigned: the job, of which no other run is under way here.
    """

    def note_turn(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IBatchRun`."""
        # a drop of the job resets the one, as in __init__
        self._started = self._assigned.started = time.time()

    def leave_batch(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IBatchRun`."""
        self._assigned.is_single = True
        self.release(counts=False)

    def break_away(self) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IBatchRun`."""
        # another number: so the commit that this run is a part of conflicts,
        # with this job's record, and leaves no effects of it
        anew = self._fence._replace(run_number=self._fence.run_number + 1)

        def write(store: Store) -> AssignedJob:
            job = self._of(store)
            # it is in a repetition, as in retry()
            if job.fence != anew:  # pragma: no branch - of a commit in doubt
                job.change(self._fence, run_number=anew.run_number)
            return AssignedJob.of(job)

        assigned = self._process.location.write(
            write, note=f"job {self.sid} is to run by itself"
        )
        assigned.is_single = True
        # after the commit, as in retry()
        self._process.dispatcher.hand_over([assigned])
