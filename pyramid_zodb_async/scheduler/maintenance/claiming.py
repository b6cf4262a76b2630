"""The transaction that takes jobs over from a process that is gone."""

import time
from typing import NamedTuple

from ...concurrency.loggers import get_logger
from ...events import JobFailed
from ...exceptions import JobCrashed
from ...jobs.model import JobView
from ...jobs.options import Options
from ...transfer.failures import as_bytes, describe
from ..process.assigned_jobs import AssignedJob
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Fence, Record, Store, StoredJob
from ..store.crash_counts import (
    MOST_SURVIVALS,
    CrashCounts,
    Death,
    counts_of,
    has_lived,
    leases_of_silence,
    too_many,
    with_death,
)
from ..store.transitions import End, fail

__all__ = ["LostJob", "claim_lost"]

log = get_logger(__name__)


class LostJob(NamedTuple):
    """A job of another incarnation, which may be gone."""

    sid: str
    #: The state of its record, as a check has read it.
    fence: Fence
    #: Whether it was marked as a suspect that runs.
    begun: bool = False
    #: For how many leases its incarnation must be silent to lose it.
    leases: int = 1

    @classmethod
    def of(cls, job: StoredJob, attempts: int) -> "LostJob":
        """Return a job that a check has read.

        Args:
            job: the job.
            attempts: how many attempts it has if its options set no number.
        """
        record = job.record
        if not record.begun:
            return cls(job.sid, record.fence)
        attempts = Options.load(record.options).attempts or attempts
        leases = leases_of_silence(record, attempts)
        return cls(job.sid, record.fence, record.begun, leases)


def claim_lost(
    store: Store, process: ThisProcess, batch: list[LostJob], death: Death
) -> tuple[list[AssignedJob], list[JobView]]:
    """Take over jobs, and fail those that ended their process too often.

    If another process writes one of the records at the same time, the commit
    conflicts, and this is called again and reads them anew.

    Args:
        store: the store.
        process: this process.
        batch: the jobs. If several were running, they are all in it.
        death: the end of the process that had them. It may be this process,
            which has not ended, and then frees jobs that it does not run.

    Returns:
        The jobs that were taken over, and views of those that have failed.
    """
    claimed: list[AssignedJob] = []
    ended: list[JobView] = []
    incarnation, beat = death
    if beat is not None and has_lived(store, incarnation, beat):
        return claimed, ended  # it has given a sign of life just now
    is_own = incarnation == process.incarnation
    are_several = sum(lost.begun for lost in batch) > 1
    has_subscribers = process.commit_queue.announcer.has_subscribers(JobFailed)
    for lost in batch:
        job = store.locate(lost.sid)
        if job is None or job.record.fence != lost.fence:
            continue  # it has ended, or another process was faster
        record = job.record
        counts = counts_of(store, record)
        # A run that is marked as begun has not ended, but its process has,
        # unless it is this one: then nobody has noticed the claim.
        if record.begun and not is_own and not are_several:
            counts = with_death(counts, death)
        options = Options.load(record.options)
        attempts = options.attempts or process.attempts
        if too_many(counts, record.failures, attempts):
            _give_up(store, job, process, options, counts)
            if has_subscribers:
                ended.append(view_of_record(job.sid, record))
            continue
        runs_here = process.dispatcher.runs(options.queue)
        job.change(
            lost.fence,
            # without a runner, the worker that gets the message claims it
            runner=process.incarnation if runs_here else None,
            # The fence: an incarnation that is not dead, but was cut off,
            # cannot write for its run any more.
            run_number=lost.fence.run_number + 1,
            suspect=record.suspect if is_own else _is_suspect(record),
            # counted by now, and must not be counted again
            begun=False,
            alone=record.alone or (record.begun and are_several),
            **counts._asdict(),
        )
        claimed.append(AssignedJob.of(job))
    return claimed, ended


def _is_suspect(record: Record) -> bool:
    """Return whether a job may have ended the process that had it.

    One without a runner, or that was not due, has not run.
    """
    if record.due is not None and record.due > time.time():
        return record.begun
    return record.suspect or record.runner is not None


def _give_up(
    store: Store,
    job: StoredJob,
    process: ThisProcess,
    options: Options,
    counts: CrashCounts,
) -> None:
    """Record that a job failed, since it ended its process too often."""
    times = _times(counts.crashes)
    reason = f"The process ended {times} while the job ran"
    if counts.survivals >= MOST_SURVIVALS:
        reason = (
            f"{counts.survivals} processes gave no sign of life for too long"
            " while the job ran, though they had not ended"
        )
    error = JobCrashed(reason)
    log.error(
        "Job %s failed: %s: %s.",
        job.sid,
        reason,
        job.record.function,
        extra={"action": "job_crashed", "sid": job.sid},
    )
    timeout = store.outcome_timeout(options, process.timeout)
    fail(
        job,
        job.record.fence,
        End.now(timeout),
        describe(error),
        as_bytes(error),
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
