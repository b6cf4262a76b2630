"""What the database tells of a run whose commit raised."""

from collections.abc import Iterable

from ZODB.DB import DB

from ...database.probes import can_be_read
from ...jobs.model import JobState
from ..records import Fence, Store
from ..store.location import StoreLocation
from ..store.undo import undone_jobs

__all__ = ["has_committed", "storages_work"]


def has_committed(
    location: StoreLocation, sid: str, fence: Fence, started: float | None
) -> bool | None:
    """Return whether a run has committed its success.

    Args:
        location: where the store is.
        sid: the sid of the job.
        fence: that of the run, before its end.
        started: when it began, in seconds since the epoch, if it was not
            claimed.

    Returns:
        ``None`` if the job has another end, or is not this run's any more.
    """

    def find(store: Store) -> tuple[Fence, float | None] | None:
        try:
            # also if it was forgotten meanwhile: its record is still there
            job = store.job(sid)
        except KeyError:
            return None
        # An undo gives back the fence of before; the next look sees to it.
        if any(undone_jobs([job])):
            return None
        return job.fence, job.record.started

    found = location.read(find, None)
    if found is None:
        return None
    if found[0] == fence:
        return False
    # Only this run has its number, unless it is one of several that were not
    # claimed; and only a run writes a success. The block of the job may have
    # another runner by now.
    succeeded = JobState.SUCCEEDED.value, fence.run_number
    is_own = started is None or found[1] == started
    return (is_own and found[0][::2] == succeeded) or None


def storages_work(location: StoreLocation, databases: Iterable[DB]) -> bool:
    """Return whether the store takes commits, and others can be read.

    Args:
        location: where the store is.
        databases: those of a run. Another one than that of the store may be
            away, of which the run has read.
    """
    others = [db for db in databases if db is not location.db]
    return location.takes_commits() and all(map(can_be_read, others))
