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
    location: StoreLocation, sid: str, fence: Fence
) -> bool | None:
    """Return whether a run has committed its success.

    Args:
        location: where the store is.
        sid: the sid of the job.
        fence: that of the run, before its end.

    Returns:
        ``None`` if the job has another end, or is not this run's any more.
    """

    def find(store: Store) -> Fence | None:
        job = store.locate(sid)
        # An undo gives back the fence of before; the next look sees to it.
        if job is None or any(undone_jobs([job])):
            return None
        return job.fence

    found = location.read(find, None)
    if found == fence:
        return False
    # Only this run has its number, and only a run writes a success. The
    # block of the job may have another runner by now.
    succeeded = JobState.SUCCEEDED.value, fence.run_number
    return (found is not None and found[::2] == succeeded) or None


def storages_work(location: StoreLocation, databases: Iterable[DB]) -> bool:
    """Return whether the store takes commits, and others can be read.

    Args:
        location: where the store is.
        databases: those of a run. Another one than that of the store may be
            away, of which the run has read.
    """
    others = [db for db in databases if db is not location.db]
    return location.takes_commits() and all(map(can_be_read, others))
