"""Clears jobs of the suspicion that they end their process."""

import logging
import threading

from ..records import TakenOver
from ..store.location import StoreLocation
from .assigned_jobs import AssignedJob

__all__ = ["clear_suspicion", "clear_suspicion_in_time"]

log = logging.getLogger(__name__)

#: How long a process that stops waits for its suspect to be cleared, in s.
PATIENCE = 5.0


def clear_suspicion(location: StoreLocation, assigned: AssignedJob) -> None:
    """Clear a suspect of what happens until its next run begins.

    It never raises.
    """
    try:
        location.write(
            lambda store: store.change(
                assigned.sid, assigned.fence, begun=False
            ),
            note=f"job {assigned.sid} waits",
        )
    except TakenOver:
        pass  # the next run, which is none, will find out
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
    """Do so, but do not wait long for a storage that does not answer."""
    thread = threading.Thread(
        target=clear_suspicion,
        args=(location, assigned),
        name="zodb_async-clear",
        daemon=True,
    )
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends
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
