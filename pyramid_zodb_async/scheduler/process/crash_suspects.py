"""The mark by which the end of a process counts as a crash of a job."""

import contextlib

from ...concurrency.loggers import get_logger
from ..records import Store, TakenOver
from ..store.crash_counts import counts_of
from ..store.location import StoreLocation
from .assigned_job import AssignedJob

__all__ = ["clear_suspicion", "mark_beginning"]

log = get_logger(__name__)


def mark_beginning(location: StoreLocation, suspect: AssignedJob) -> int:
    """Set the mark that a run of a suspect has begun.

    Args:
        location: where the store is.
        suspect: the job.

    Returns:
        How often the job has crashed, by what is known now.

    Raises:
        TakenOver: the job is not this process's any more.
    """

    def mark(store: Store) -> int:
        job = store.locate(suspect.sid)
        if job is None:
            raise TakenOver(f"There is no job {suspect.sid} any more")
        counts = counts_of(store, job.record)
        job.change(suspect.fence, begun=True, **counts._asdict())
        return counts.crashes

    return location.write(mark, note=f"job {suspect.sid} begins")


def clear_suspicion(location: StoreLocation, suspect: AssignedJob) -> None:
    """Remove the mark that a run of a suspect has begun.

    Until its next run begins, an end of the process does not count as a
    crash of the job. This never raises: if it fails, that is logged.

    Args:
        location: where the store is.
        suspect: the job.
    """

    def clear(store: Store) -> None:
        # there may be no mark of ours; the fence stops the next run
        with contextlib.suppress(TakenOver):
            store.change(suspect.sid, suspect.fence, begun=False)

    try:
        location.write(clear, note=f"job {suspect.sid} waits")
    except Exception:
        log.warning(
            "Job %s is to blame if the process ends before the next run.",
            suspect.sid,
            exc_info=True,
            extra={"action": "suspect_not_cleared", "sid": suspect.sid},
        )
