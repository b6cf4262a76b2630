"""Removes the mark by which the end of a process counts as a job's crash."""

import contextlib

from ...concurrency.loggers import get_logger
from ..records import Store, TakenOver
from ..store.location import StoreLocation
from .assigned_job import AssignedJob

__all__ = ["clear_suspicion"]

log = get_logger(__name__)


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
