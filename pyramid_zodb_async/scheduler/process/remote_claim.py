"""Takes a job that another process has sent word of, to run it here."""

import enum
import logging
import time

from ...jobs.model import JobState
from ..records import Record, Store
from ..store.location import StoreLocation
from .assigned_jobs import AssignedJob

__all__ = ["claim_announced"]

log = logging.getLogger(__name__)

#: How long to wait before each further look for a record that cannot be seen
#: yet, or belongs to another process: a storage may show commits of others
#: some milliseconds late. In seconds.
PAUSES = (0.02, 0.05, 0.1)
#: By how much the clock of the process that sent word may be ahead, in s.
CLOCK_TRUST = 1.0
#: The further pauses if there is no record at all.
LONG_PAUSES = (0.2, 0.4, 0.8)


class _Look(enum.Enum):
    GONE = enum.auto()
    UNSEEN = enum.auto()
    ANOTHERS = enum.auto()


def claim_announced(
    location: StoreLocation, sid: str, incarnation: str, *, begun: bool
) -> AssignedJob | None:
    """Make the job *runner*'s, unless it is somebody's or has ended.

    Args:
        location: where the store is.
        sid: the id of the job.
        incarnation: this process's identity.
        begun: whether the run counts as begun: if the process ends from now
            on, the job may have caused that. It should be the only one that
            runs then.
    """

    def claim(store: Store) -> AssignedJob | _Look:
        return _claim(store, sid, incarnation, begun=begun)

    reason = _Look.UNSEEN
    for pause in (0.0, *PAUSES, *LONG_PAUSES):
        if reason is _Look.ANOTHERS and pause in LONG_PAUSES:
            break
        time.sleep(pause)
        # which writes nothing if the job is not to be taken
        found = location.write(
            claim, note=f"incarnation {incarnation} takes job {sid}"
        )
        if isinstance(found, AssignedJob):
            return found
        reason = found
        if reason is _Look.GONE:
            break
    log.info(
        "Job %s is not to be run for this message: %s.",
        sid,
        {
            _Look.GONE: "it has ended, or is to run later",
            _Look.UNSEEN: "it is not in the database",
            _Look.ANOTHERS: "another process runs it",
        }[reason],
        extra={"action": "job_not_taken", "sid": sid},
    )
    return None


def _look(store: Store, sid: str) -> Record | _Look:
    try:
        record = store.record(sid)
    except KeyError:
        return _Look.UNSEEN
    except ValueError:  # it is no sid
        return _Look.GONE
    if record.state != JobState.PENDING:
        return _Look.GONE
    if record.runner is not None:
        return _Look.ANOTHERS
    if record.due is not None and record.due > time.time() + CLOCK_TRUST:
        return _Look.GONE  # word is sent again then
    return record


def _claim(
    store: Store, sid: str, incarnation: str, *, begun: bool
) -> AssignedJob | _Look:
    record = _look(store, sid)
    if isinstance(record, _Look):
        return record
    store.change(
        sid,
        record.fence,
        runner=incarnation,
        run_number=record.run_number + 1,
        begun=begun,
    )
    return AssignedJob.of(sid, record)
