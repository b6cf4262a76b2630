"""The wait of a script for the end of stored jobs."""

import math
import time

from ...jobs.model import JobState
from ..records import Store
from .assigned_jobs import AssignedJobs
from .this_process import ThisProcess

__all__ = ["unfinished", "wait_for_end"]

#: The seconds between two checks; they grow from the first to the second
#: number for what other processes run. What is assigned to this one is checked
#: when it is dropped, and after the second, since another may end it as well.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


def unfinished(process: ThisProcess) -> list[str]:
    """Return the sids of the committed jobs that have not ended.

    Args:
        process: this process.
    """
    return process.location.read(lambda store: list(store.unfinished()), [])


def wait_for_end(
    process: ThisProcess, sid: str | None, timeout: float | None
) -> bool:
    """Wait until a job, or every job, has ended or is gone.

    Args:
        process: this process.
        sid: the sid of the job; ``None`` stands for all jobs.
        timeout: the longest wait in seconds; ``None`` for no limit.

    Returns:
        Whether that has happened in that time.

    Raises:
        RuntimeError: the transaction that schedules the job has not ended.
        UnknownJob: there is no such job. One that is forgotten during the
            wait has ended.
    """
    jobs = process.assigned_jobs
    end = math.inf if timeout is None else time.monotonic() + timeout
    pause = SHORTEST_PAUSE
    if sid is not None:
        process.changes.require_committed(
            sid, lambda: _is_committed(process, sid)
        )
    while True:
        drops = jobs.drops  # read before the check
        if _has_ended(process, sid):
            return True
        left = end - time.monotonic()
        if left < 0:
            return False
        if _is_assigned(jobs, sid):
            _wait_for_drops(jobs, sid, drops, min(LONGEST_PAUSE, left))
        else:
            # only a while: no drop here shows that another process ran it
            jobs.wait_for_drop(drops, min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)


def _is_assigned(jobs: AssignedJobs, sid: str | None) -> bool:
    """Return whether a job is assigned here; without a sid, any one."""
    return len(jobs) > 0 if sid is None else sid in jobs


def _wait_for_drops(
    jobs: AssignedJobs, sid: str | None, drops: int, seconds: float
) -> None:
    """Wait for some seconds at most, until nothing is assigned here.

    There may be very many jobs. So the end of each must cost a comparison,
    and no look into the database.
    """
    end = time.monotonic() + seconds
    while _is_assigned(jobs, sid) and (left := end - time.monotonic()) > 0:
        jobs.wait_for_drop(drops, left)
        drops = jobs.drops


def _is_committed(process: ThisProcess, sid: str) -> bool:
    """Return whether the database has a job that is to be seen."""

    def is_known(store: Store) -> bool:
        job = store.locate(sid)
        return job is not None and not process.shows_no_more(job)

    return process.location.read(is_known, default=False)


def _has_ended(process: ThisProcess, sid: str | None) -> bool:
    """Return whether a job, or every job, has ended or is gone."""
    if sid is None:  # one is enough to know, and there may be very many
        ended = process.ended_places()
        return process.location.read(
            lambda store: next(store.unfinished(ended), None) is None,
            default=True,
        )

    # before the read: a job that is assigned after it may be a retry
    assigned = process.assigned_jobs.get(sid)

    def is_over(store: Store) -> bool:
        job = store.locate(sid)
        if job is not None and assigned is None:
            process.notice_undo(store, job)
        return job is None or job.record.state != JobState.PENDING

    has_ended = process.location.read(is_over, default=True)
    # The run drops the job only after the subscribers have got its end; until
    # then glance() would show it as running.
    if has_ended and assigned is not None:
        process.assigned_jobs.drop_ended(assigned)
    return has_ended
