"""Clears jobs of the suspicion that they end their process."""

import logging
import threading

from ..records import TakenOver
from ..store.location import Place
from .assigned_jobs import Held

__all__ = ["clear", "clear_in_time"]

log = logging.getLogger(__name__)

#: How long a process that stops waits for its suspect to be cleared, in s.
PATIENCE = 5.0


def clear(place: Place, held: Held) -> None:
    """Clear a suspect of what happens until its next run begins.

    It never raises.
    """
    try:
        place.write(
            lambda store: store.change(held.sid, held.fence, begun=False),
            note=f"job {held.sid} waits",
        )
    except TakenOver:
        pass  # the next run, which is none, will find out
    except Exception:
        log.warning(
            "Job %s is to blame if the process ends before its next run.",
            held.sid,
            exc_info=True,
            extra={"action": "suspect_not_cleared", "sid": held.sid},
        )


def clear_in_time(place: Place, held: Held) -> None:
    """Do so, but do not wait long for a storage that does not answer."""
    thread = threading.Thread(
        target=clear, args=(place, held), name="zodb_async-clear", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:  # the interpreter ends
        clear(place, held)
        return
    thread.join(PATIENCE)
    if thread.is_alive():
        log.warning(
            "The storage has not answered for %g s; job %s may count this"
            " stop as a crash.",
            PATIENCE,
            held.sid,
            extra={"action": "suspect_not_cleared", "sid": held.sid},
        )
