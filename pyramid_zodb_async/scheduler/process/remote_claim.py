"""How this process comes to run a job for which it has got a message."""

import enum
import time

from ...concurrency.loggers import get_logger
from ...jobs.model import JobState
from ..records import Store, StoredJob
from ..store.undo import undone_jobs
from .assigned_job import AssignedJob
from .progress_reports import runs_unclaimed
from .this_process import ThisProcess

__all__ = ["accept_announced"]

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
    """Why a job is not to be run for a message."""

    #: It has ended, or is due later, or the sid is none.
    GONE = enum.auto()
    #: There is no record.
    UNSEEN = enum.auto()
    #: A run of it is under way, or another process is to run it.
    ANOTHERS = enum.auto()
    #: Its end was undone. Who would send word of it again has it end.
    UNDONE = enum.auto()


_REASONS = {
    _Refusal.GONE: "it has ended, or is to run later",
    _Refusal.UNSEEN: "it is not in the database",
    _Refusal.ANOTHERS: "another process runs it",
    _Refusal.UNDONE: "what it did was undone",
}


def accept_announced(
    process: ThisProcess, sid: str, *, begun: bool, serial: bytes | None
) -> AssignedJob | None:
    """Return a job that this process is to run for a message.

    A message may be lost, or come twice, or late. So only the record counts.
    If nobody has written that since the job was scheduled, it is run as it
    is, and of several such runs one commits. Else the job is claimed: of
    several processes that do, one commit wins, and no run that began before
    can commit any more.

    Args:
        process: this process.
        sid: the sid in the message.
        begun: whether a run that is claimed counts as begun: if the process
            ends from now on, that is a crash of the job. No other job should
            run in the process then.
        serial: that of the record when the job was scheduled, if this is the
            first message for it.

    Returns:
        The job; ``None`` if it is not to be run for this message. The reason
        is logged.
    """
    reason = _Refusal.UNSEEN
    for pause in (0.0, *PAUSES, *LONG_PAUSES):
        # The job may be free again in a commit that cannot be seen here yet,
        # but that takes milliseconds only.
        if reason is _Refusal.ANOTHERS and pause in LONG_PAUSES:
            break
        time.sleep(pause)
        found = None if serial is None else _look(process, sid, serial)
        found = found or _claim(process, sid, begun=begun)
        if isinstance(found, AssignedJob):
            return found
        reason = found
        if reason in {_Refusal.GONE, _Refusal.UNDONE}:
            break
    log.info(
        "Job %s is not to be run for this message: %s.",
        sid,
        _REASONS[reason],
        extra={"action": "job_not_taken", "sid": sid},
    )
    return None


def _look(
    process: ThisProcess, sid: str, serial: bytes
) -> AssignedJob | _Refusal | None:
    """Return a job to be run without a claim; ``None`` if it needs one."""

    def look(store: Store) -> AssignedJob | _Refusal | None:
        job = _runnable(process, store, sid)
        if isinstance(job, _Refusal):
            return job
        # what is pending again, for whatever reason, has another serial
        if job.record._p_serial != serial:
            return None
        assigned = AssignedJob.of(job)
        assigned.serial = serial
        return assigned

    unseen: AssignedJob | _Refusal | None = _Refusal.UNSEEN
    return process.location.read(look, unseen)


def _claim(
    process: ThisProcess, sid: str, *, begun: bool
) -> AssignedJob | _Refusal:
    """Make this process the runner of a job that has none."""

    def claim(store: Store) -> AssignedJob | _Refusal:
        job = _runnable(process, store, sid)
        if isinstance(job, _Refusal):
            return job
        if runs_unclaimed(job):
            return _Refusal.ANOTHERS
        if any(undone_jobs([job])):
            return _Refusal.UNDONE
        job.change(
            job.fence,
            runner=process.incarnation,
            # so that no earlier run of the job can write any more
            run_number=job.run_number + 1,
            begun=begun,
        )
        # has the fence of the changed record
        return AssignedJob.of(job)

    # Read and write are in one transaction. If the job is refused, that
    # has changed nothing, and its commit writes nothing.
    note = f"incarnation {process.incarnation} takes job {sid}"
    return process.location.write(claim, note=note)


def _runnable(
    process: ThisProcess, store: Store, sid: str
) -> StoredJob | _Refusal:
    """Return a job that has no run, as far as its record tells."""
    try:
        job = store.job(sid)
    except KeyError:
        return _Refusal.UNSEEN
    except ValueError:  # it is no sid
        return _Refusal.GONE
    if job.record.state != JobState.PENDING:
        return _Refusal.GONE
    known = process.assigned_jobs.get(sid)
    if job.runner is not None or (known and known.is_as_before(job)):
        return _Refusal.ANOTHERS
    if job.due is not None and job.due > time.time() + CLOCK_TRUST:
        return _Refusal.GONE  # another message is sent when it is due
    return job
