"""The jobs whose end was undone: they are not run again."""

from ...concurrency.loggers import get_logger
from ...events import JobWasCancelled
from ...jobs.model import JobView
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

    def end(self, jobs: dict[str, Fence]) -> set[str]:
        """End those of some pending jobs whose end was undone.

        Args:
            jobs: the fences of the jobs, which nobody holds, by sid.

        Returns:
            The sids of those that have ended so, and must not be run.
        """
        if not jobs:
            return set()
        # if none was undone, nothing is written
        views = self._location.write(
            lambda store: self.end_in(store, jobs), note="undone jobs stay so"
        )
        self.tell(views)
        return {view.sid for view in views}

    def end_in(self, store: Store, jobs: dict[str, Fence]) -> list[JobView]:
        """Do what :meth:`end` does, in a transaction of the caller.

        Args:
            store: the store, as that transaction sees it.
            jobs: see :meth:`end`. One whose record has another fence by now is
                left alone.

        Returns:
            Views of those jobs, for :meth:`tell`.
        """
        found = ((store.locate(sid), fence) for sid, fence in jobs.items())
        unchanged = [
            job for job, fence in found if job and job.record.fence == fence
        ]
        return [
            self._stay_undone(store, job, run_number)
            for job, run_number in undone_jobs(unchanged)
        ]

    def _stay_undone(
        self, store: Store, job: StoredJob, run_number: int
    ) -> JobView:
        options = Options.load(job.record.options)
        timeout = store.outcome_timeout(options, self._process.timeout)
        stay_undone(job, job.record.fence, End.now(timeout), run_number)
        return view_of_record(job.sid, job.record)

    def tell(self, views: list[JobView]) -> None:
        """Tell that jobs have ended, when that is committed.

        Args:
            views: what :meth:`end_in` has returned.
        """
        for view in views:
            self._process.waiters.wake(view.sid)
            number, _ = split_sid(view.sid)
            self._process.slices_to_check.add(number)
            log.info(
                "Job %s will not run again: it was undone.",
                view.sid,
                extra={"action": "job_undone", "sid": view.sid},
            )
        queue = self._process.commit_queue
        if queue.announcer.has_subscribers(JobWasCancelled):
            queue.deliver_now(JobWasCancelled, views)
