"""The check of what other processes have done to jobs that matter here."""

from collections.abc import Callable

from ..process.assigned_jobs import AssignedJobs
from ..process.job_views import version_of
from ..process.progress_reports import report_of
from ..records import Fence, Store
from ..store.location import StoreLocation
from ..waiters import Waiters

__all__ = ["Observer"]

_Found = dict[str, tuple[Fence, int] | None]


class Observer:
    """Reads the records of jobs for all waiters and running jobs together.

    These are the jobs that requests wait for, and the jobs of this process
    that ask whether to go on. One read transaction serves all of them.

    Args:
        location: where the store is.
        jobs: the jobs that are assigned to this process.
        waiters: the waiters of this process.
        wake: wakes the thread that calls :meth:`observe`.
    """

    def __init__(
        self,
        location: StoreLocation,
        jobs: AssignedJobs,
        waiters: Waiters,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._location = location
        self._jobs = jobs
        self._waiters = waiters
        #: Whether other processes can have the storage open.
        self.is_shared = False
        self._wake = wake
        #: The sids of the jobs that have asked since the last check.
        self._asked: set[str] = set()

    def check_soon(self, sid: str) -> None:
        """Have the record of a job of this process read by the next check.

        Args:
            sid: the sid of the job.
        """
        if self.is_shared and sid not in self._asked:
            self._asked.add(sid)
            self._wake()

    def is_wanted(self) -> bool:
        """Return whether there is a job to check."""
        return bool(self._asked or self._waiters)

    def observe(self) -> None:
        """Read the records, wake waiters, and drop jobs that are gone.

        A job of this process is dropped if another process has taken it
        over, or a request elsewhere has cancelled or removed it. Its run
        notices that when it asks whether to go on.
        """
        # a job that asks from now on is checked by the next call
        asked, self._asked = self._asked, set()
        wanted = asked.union(self._waiters.sids())
        sids = [
            sid for sid in wanted if self.is_shared or sid not in self._jobs
        ]
        if not sids:
            return

        # Before the read: a job that is assigned after it may have a newer
        # record than the one that is read, and must not be compared with it.
        known = {sid: self._jobs.get(sid) for sid in sids}

        def find(store: Store) -> _Found:
            return {sid: _fence_and_version(store, sid) for sid in sids}

        nothing: _Found = {}
        for sid, found in self._location.read(find, nothing).items():
            assigned = known[sid]
            if assigned is None:
                self._waiters.compare(sid, found and found[1])
            elif found is None or found[0] != assigned.fence:
                # It was cancelled, removed or taken over. If another job
                # object is there by now, that one is newer than the read.
                self._jobs.drop_ended(assigned)


def _fence_and_version(store: Store, sid: str) -> tuple[Fence, int] | None:
    """Return what a record says of its job; ``None`` if there is none."""
    record = store.find(sid)
    if record is None:
        return None
    return record.fence, version_of(record, report_of(store, sid, record))
