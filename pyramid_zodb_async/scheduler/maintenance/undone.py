"""The jobs whose end was undone: they are not run again."""

from collections.abc import Iterable

from ...concurrency.loggers import get_logger
from ...events import JobWasCancelled
from ...jobs.model import JobState, JobView
from ...jobs.options import Options
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Fence, Store, StoredJob
from ..sids import split_sid
from ..store.transitions import End, stay_undone
from ..store.undo import undone_jobs

__all__ = ["UndoneJobs"]

log = get_logger(__name__)


class UndoneJobs:
    """Ends the jobs whose end was undone, in place of having them run again.

    Nobody holds such a job in memory, since it had ended. So only who is about
    to take a job over, or to assign one that was lost, need ask.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        self._location = process.location

    def end(
        self, jobs: dict[str, Fence], *, all_were: bool = False
    ) -> set[str]:
        """End those of some pending jobs whose end was undone.

        Args:
            jobs: the fences of the jobs, which nobody holds, by sid.
            all_were: whether the ends of all were undone. Else their history
                tells, of which a pack may have left nothing.

        Returns:
            The sids of those that have ended so, and must not be run.
        """
        if not jobs:
            return set()
        # if none was undone, nothing is written
        views = self._location.write(
            lambda store: self.end_in(store, jobs, all_were=all_were),
            note="undone jobs stay so",
        )
        self.tell(views)
        return {view.sid for view in views}

    def end_in(
        self,
        store: Store,
        jobs: dict[str, Fence],
        *,
        all_were: bool = False,
    ) -> list[JobView]:
        """Do what :meth:`end` does, in a transaction of the caller.

        Args:
            store: the store, as that transaction sees it.
            jobs: see :meth:`end`. One whose record has another fence by now is
                left alone.
            all_were: see :meth:`end`.

        Returns:
            Views of those jobs, for :meth:`tell`.
        """
        found = ((store.locate(sid), fence) for sid, fence in jobs.items())
        unchanged = [job for job, fence in found if job and job.fence == fence]
        views = self.end_among(store, unchanged)
        if all_were:
            views += [
                self._stay_undone(store, job, job.run_number)
                for job in unchanged
                if job.record.state == JobState.PENDING
            ]
        return views

    def end_among(
        self,
        store: Store,
        jobs: Iterable[StoredJob],
        harmless: set[bytes] | None = None,
    ) -> list[JobView]:
        """Do what :meth:`end_in` does, for jobs that are found already.

        Args:
            store: the store, as the transaction sees it.
            jobs: the jobs, which are pending, and which nobody holds.
            harmless: the serials of what no undo has written, if some are
                known.

        Returns:
            Views of those that have ended so.
        """
        return [
            self._stay_undone(store, job, run_number)
            for job, run_number in undone_jobs(jobs, harmless)
        ]

    def _stay_undone(
        self, store: Store, job: StoredJob, run_number: int
    ) -> JobView:
        options = Options.load(job.definition.options)
        timeout = store.outcome_timeout(options, self._process.timeout)
        stay_undone(job, job.fence, End.now(timeout), run_number)
        return view_of_record(job)

    def tell(self, views: list[JobView]) -> None:
        """Tell that jobs have ended, when that is committed.

        Args:
            views: what :meth:`end_in` has returned.
        """
        for view in views:
            self._process.waiters.wake(view.sid)
            self._process.to_settle.append(view.sid)
            number = split_sid(view.sid).number
            self._process.slices_to_check.add(number)
            log.info(
                "Job %s will not run again: it was undone.",
                view.sid,
                extra={"action": "job_undone", "sid": view.sid},
            )
        queue = self._process.commit_queue
        if queue.announcer.has_subscribers(JobWasCancelled):
            queue.deliver_now(JobWasCancelled, views)
