"""Looks for what other processes have done to the jobs that matter here."""

from collections.abc import Callable

from ...jobs.model import Version
from ..process.assigned_jobs import AssignedJobs
from ..process.progress_reports import report_of
from ..process.views import version_of
from ..records import Fence, Store
from ..store.location import StoreLocation
from ..waiters import Waiters

__all__ = ["Observer"]

_Found = dict[str, tuple[Fence, Version] | None]


class Observer:
    """One who looks at the storage for all who would like to.

    That are the waiting requests, and the jobs that ask whether to go on.

    Args:
        location: where the store is.
        jobs: the jobs that this process is to run.
        waiters: who waits for a job to change.
        wake: called when there is something to look for.
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
        self._asked: set[str] = set()

    def check_soon(self, sid: str) -> None:
        """Have a look at a job that this process is to run, soon."""
        if self.is_shared and sid not in self._asked:
            self._asked.add(sid)
            self._wake()

    def is_wanted(self) -> bool:
        """Tell whether anybody would like to know something."""
        return bool(self._asked or self._waiters)

    def observe(self) -> None:
        """See what became of the jobs, and let know whom it concerns."""
        asked, self._asked = self._asked, set()
        wanted = asked.union(self._waiters.sids())
        sids = [
            sid for sid in wanted if self.is_shared or sid not in self._jobs
        ]
        if not sids:
            return

        # as of before the look: what comes later is newer than what it sees
        known = {sid: self._jobs.get(sid) for sid in sids}

        def find(store: Store) -> _Found:
            return {sid: _look_at(store, sid) for sid in sids}

        nothing: _Found = {}
        for sid, found in self._location.read(find, nothing).items():
            assigned = known[sid]
            if assigned is None:
                self._waiters.compare(sid, found and found[1])
            elif (
                found is None or found[0] != assigned.fence
            ) and self._jobs.get(sid) is assigned:
                self._jobs.drop(sid)  # it was cancelled, or taken over


def _look_at(store: Store, sid: str) -> tuple[Fence, Version] | None:
    record = store.find(sid)
    if record is None:
        return None
    return record.fence, version_of(record, report_of(store, sid, record))
