"""Removes the mark by which the end of a process counts as a job's crash."""

from ...concurrency.loggers import get_logger
from ...concurrency.threads import start_thread
from ..records import TakenOver
from ..store.location import StoreLocation
from .assigned_jobs import AssignedJob

__all__ = ["clear_suspicion", "clear_suspicion_in_time"]

log = get_logger(__name__)

#: For how many seconds a process that stops waits for the storage.
PATIENCE = 5.0


def clear_suspicion(location: StoreLocation, assigned: AssignedJob) -> None:
    """Remove the mark that a run of a suspect has begun.

    Until its next run begins, an end of the process does not count as a
    crash of the job. This never raises: if it fails, that is logged.

    Args:
        location: where the store is.
        assigned: the suspect.
    """
    try:
        location.write(
            lambda store: store.change(
                assigned.sid, assigned.fence, begun=False
            ),
            note=f"job {assigned.sid} waits",
        )
    except TakenOver:
        pass  # there is no mark of ours; the fence stops the next run
    except Exception:
        log.warning(
            "Job %s is to blame if the process ends before its next run.",
            assigned.sid,
            exc_info=True,
            extra={"action": "suspect_not_cleared", "sid": assigned.sid},
        )


def clear_suspicion_in_time(
    location: StoreLocation, assigned: AssignedJob
) -> None:
    """Do :func:`clear_suspicion`, but wait no longer than five seconds.

    A process that stops must not wait for a storage that does not answer.

    Args:
        location: where the store is.
        assigned: the suspect.
    """
    thread = start_thread(
        "clear",
        clear_suspicion,
        (location, assigned),
        action="clearing_not_started",
        missing="A thread that clears a job of suspicion cannot be started"
        " now; the stop waits for the storage, however long that takes.",
    )
    if thread is None:
        clear_suspicion(location, assigned)
        return
    thread.join(PATIENCE)
    if thread.is_alive():
        log.warning(
            "The storage has not answered for %g s; job %s may count this"
            " stop as a crash.",
            PATIENCE,
            assigned.sid,
            extra={"action": "suspect_not_cleared", "sid": assigned.sid},
        )
