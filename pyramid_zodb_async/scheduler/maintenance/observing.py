"""The check of what other processes have done to jobs that matter here."""

from ..process.job_views import version_of
from ..process.progress_reports import report_of
from ..process.this_process import ThisProcess
from ..records import Fence, Store, StoredJob

__all__ = ["Observer"]

_Found = dict[str, tuple[Fence, int] | None]


class Observer:
    """Reads the records of jobs for all waiters and running jobs together.

    These are the jobs that requests wait for, and the jobs of this process
    that ask whether to go on. One read transaction serves all of them.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process

    def is_wanted(self) -> bool:
        """Return whether there is a job to check."""
        return bool(self._process.to_check or self._process.waiters)

    def observe(self) -> None:
        """Read the records, wake waiters, and drop jobs that are gone.

        A job of this process is dropped if another process has taken it
        over, or a request elsewhere has cancelled or removed it. Its run
        notices that when it asks whether to go on.
        """
        process, jobs = self._process, self._process.assigned_jobs
        # a job that asks from now on is checked by the next call
        to_check, process.to_check = process.to_check, set()
        wanted = to_check.union(process.waiters.sids())
        sids = [sid for sid in wanted if process.is_shared or sid not in jobs]
        if not sids:
            return

        # Before the read: a job that is assigned after it may have a newer
        # record than the one that is read, and must not be compared with it.
        known = {sid: jobs.get(sid) for sid in sids}

        def find(store: Store) -> _Found:
            found: _Found = {}
            for sid in sids:
                job = store.locate(sid)
                found[sid] = _fence_and_version(job)
                if job is not None and known[sid] is None:
                    process.notice_undo(store, job)
            return found

        nothing: _Found = {}
        for sid, found in process.location.read(find, nothing).items():
            assigned = known[sid]
            if assigned is None:
                process.waiters.compare(sid, found and found[1])
            elif found is None or found[0] != assigned.fence:
                # It was cancelled, removed or taken over. If another job
                # object is there by now, that one is newer than the read.
                jobs.drop_ended(assigned)


def _fence_and_version(job: StoredJob | None) -> tuple[Fence, int] | None:
    """Return what a record says of its job; ``None`` if there is none."""
    if job is None:
        return None
    return job.fence, version_of(job, report_of(job))
