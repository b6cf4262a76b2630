"""Removes the marks by which the end of a process counts as jobs' crash."""

import contextlib
from collections.abc import Sequence

from ...concurrency.loggers import get_logger
from ...concurrency.threads import start_thread
from ..records import Store, TakenOver
from ..store.location import StoreLocation
from .assigned_jobs import AssignedJob

__all__ = ["clear_suspicion", "clear_suspicion_in_time"]

log = get_logger(__name__)

#: For how many seconds a process that stops waits for the storage.
PATIENCE = 5.0


def clear_suspicion(
    location: StoreLocation, suspects: Sequence[AssignedJob]
) -> None:
    """Remove the marks that runs of suspects have begun.

    Until its next run begins, an end of the process does not count as a
    crash of a job. This never raises: if it fails, that is logged.

    Args:
        location: where the store is.
        suspects: the jobs.
    """

    def clear(store: Store) -> None:
        for assigned in suspects:
            # there may be no mark of ours; the fence stops the next run
            with contextlib.suppress(TakenOver):
                store.change(assigned.sid, assigned.fence, begun=False)

    try:
        location.write(clear, note=f"{_named(suspects)} waits")
    except Exception:
        log.warning(
            "%s is to blame if the process ends before the next run.",
            _named(suspects),
            exc_info=True,
            extra={
                "action": "suspect_not_cleared",
                "sid": suspects[0].sid,
            },
        )


def _named(suspects: Sequence[AssignedJob]) -> str:
    sids = " and ".join(assigned.sid for assigned in suspects)
    return f"job {sids}"


def clear_suspicion_in_time(
    location: StoreLocation, suspects: Sequence[AssignedJob]
) -> None:
    """Do :func:`clear_suspicion`, but wait no longer than five seconds.

    A process that stops must not wait for a storage that does not answer.

    Args:
        location: where the store is.
        suspects: the jobs.
    """
    thread = start_thread(
        "clear",
        clear_suspicion,
        (location, suspects),
        action="clearing_not_started",
        missing="A thread that clears jobs of suspicion cannot be started"
        " now; the stop waits for the storage, however long that takes.",
    )
    if thread is None:
        clear_suspicion(location, suspects)
        return
    thread.join(PATIENCE)
    if thread.is_alive():
        log.warning(
            "The storage has not answered for %g s; %s may count this"
            " stop as a crash.",
            PATIENCE,
            _named(suspects),
            extra={
                "action": "suspect_not_cleared",
                "sid": suspects[0].sid,
            },
        )
