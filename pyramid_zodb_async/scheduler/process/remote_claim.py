"""The claim of a job for which this process has got a message."""

import enum
import time

from ...concurrency.loggers import get_logger
from ...jobs.model import JobState
from ..records import Store, StoredJob
from ..store.location import StoreLocation
from .assigned_job import AssignedJob

__all__ = ["claim_announced"]

log = get_logger(__name__)

#: The pauses in seconds before further tries, if the record cannot be seen yet
#: or belongs to another process. A storage, for instance a ZEO client without
#: ``server-sync``, may show commits of others some milliseconds late.
PAUSES = (0.02, 0.05, 0.1)
#: By how many seconds the clock of the sender of the message may be ahead.
CLOCK_TRUST = 1.0
#: The further pauses in seconds if there is no record at all.
LONG_PAUSES = (0.2, 0.4, 0.8)


class _Refusal(enum.Enum):
    """Why a job cannot be claimed."""

    #: It has ended, or is due later, or the sid is none.
    GONE = enum.auto()
    #: There is no record.
    UNSEEN = enum.auto()
    #: Another process is to run it.
    ANOTHERS = enum.auto()


def claim_announced(
    location: StoreLocation, sid: str, incarnation: str, *, begun: bool
) -> AssignedJob | None:
    """Make this process the runner of a job that has none.

    A message may be lost, or come twice, or late. So only the record counts:
    of several processes that claim a job, one commit wins.

    Args:
        location: where the store is.
        sid: the sid in the message.
        incarnation: the identity of this process.
        begun: whether the run counts as begun: if the process ends from now
            on, that is a crash of the job. No other job should run in the
            process then.

    Returns:
        The job; ``None`` if it is not to be run for this message. The reason
        is logged.
    """

    def claim(store: Store) -> AssignedJob | _Refusal:
        return _claim(store, sid, incarnation, begun=begun)

    reason = _Refusal.UNSEEN
    for pause in (0.0, *PAUSES, *LONG_PAUSES):
        # The job may be free again in a commit that cannot be seen here yet,
        # but that takes milliseconds only.
        if reason is _Refusal.ANOTHERS and pause in LONG_PAUSES:
            break
        time.sleep(pause)
        # Read and write are in one transaction. If the job is refused, that
        # has changed nothing, and its commit writes nothing.
        found = location.write(
            claim, note=f"incarnation {incarnation} takes job {sid}"
        )
        if isinstance(found, AssignedJob):
            return found
        reason = found
        if reason is _Refusal.GONE:
            break
    log.info(
        "Job %s is not to be run for this message: %s.",
        sid,
        {
            _Refusal.GONE: "it has ended, or is to run later",
            _Refusal.UNSEEN: "it is not in the database",
            _Refusal.ANOTHERS: "another process runs it",
        }[reason],
        extra={"action": "job_not_taken", "sid": sid},
    )
    return None


def _claimable(store: Store, sid: str) -> StoredJob | _Refusal:
    """Return a job that may be claimed, or why it may not."""
    try:
        job = store.job(sid)
    except KeyError:
        return _Refusal.UNSEEN
    except ValueError:  # it is no sid
        return _Refusal.GONE
    if job.record.state != JobState.PENDING:
        return _Refusal.GONE
    if job.runner is not None:
        return _Refusal.ANOTHERS
    if job.due is not None and job.due > time.time() + CLOCK_TRUST:
        return _Refusal.GONE  # another message is sent when it is due
    return job


def _claim(
    store: Store, sid: str, incarnation: str, *, begun: bool
) -> AssignedJob | _Refusal:
    job = _claimable(store, sid)
    if isinstance(job, _Refusal):
        return job
    job.change(
        job.fence,
        runner=incarnation,
        # so that no earlier run of the job can write any more
        run_number=job.run_number + 1,
        begun=begun,
    )
    # has the fence of the changed record
    return AssignedJob.of(job)
