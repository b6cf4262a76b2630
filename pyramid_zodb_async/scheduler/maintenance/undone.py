"""The jobs whose end was undone: they are not run again."""

import logging
from collections.abc import Iterable, Iterator

from ...events import JobWasCancelled
from ...jobs.model import JobView
from ...jobs.options import Options
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Fence, Store, StoredJob
from ..store.transitions import End, stay_undone
from ..store.undo import undone_run_number

__all__ = ["UndoneJobs"]

log = logging.getLogger(__name__)

#: How many jobs the description of a transaction names.
NAMED = 10


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

    def end(self, jobs: Iterable[tuple[str, Fence]]) -> set[str]:
        """End those of some pending jobs whose end was undone.

        Args:
            jobs: the sids and fences of the jobs, which nobody holds.

        Returns:
            The sids of those that have ended so, and must not be run.
        """
        jobs = list(jobs)
        # a storage that cannot undo may have no history
        if not jobs or not self._location.db.supportsUndo():
            return set()

        def find(store: Store) -> list[tuple[str, Fence]]:
            return [
                (job.sid, job.record.fence) for job, _ in _undone(store, jobs)
            ]

        undone = self._location.read(find, [])
        if undone:
            self._have_ended(undone)
        return {sid for sid, _ in undone}

    def _have_ended(self, jobs: list[tuple[str, Fence]]) -> None:
        def write(store: Store) -> list[JobView]:
            return [
                self._stay_undone(store, job, run_number)
                # asked again, for somebody may have changed a record since
                for job, run_number in _undone(store, jobs)
            ]

        sids = ", ".join(sid for sid, _ in jobs[:NAMED])
        views = self._location.write(write, note=f"undone jobs stay so: {sids}")
        # after the commit, which is what is told here
        for view in views:
            self._process.waiters.wake(view.sid)
            log.info(
                "Job %s will not run again: it was undone.",
                view.sid,
                extra={"action": "job_undone", "sid": view.sid},
            )
        self._process.commit_queue.deliver_now(JobWasCancelled, views)

    def _stay_undone(
        self, store: Store, job: StoredJob, run_number: int
    ) -> JobView:
        options = Options.load(job.record.options)
        timeout = store.outcome_timeout(options, self._process.timeout)
        stay_undone(job, job.record.fence, End.now(timeout), run_number)
        return view_of_record(job.sid, job.record)


def _undone(
    store: Store, jobs: list[tuple[str, Fence]]
) -> Iterator[tuple[StoredJob, int]]:
    """Return the jobs whose end was undone, and the number of that run.

    One whose record has another fence by now is left out.
    """
    for sid, fence in jobs:
        job = store.locate(sid)
        if job is None or job.record.fence != fence:
            continue
        run_number = undone_run_number(job.record)
        if run_number is not None:
            yield job, run_number
