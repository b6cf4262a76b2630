"""What comes of a run that did not succeed: it is repeated, or left alone."""

import logging
import random
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from ..events import JobEvent
from ..interfaces import IRun

__all__ = [
    "GREATEST_DELAY",
    "Verdict",
    "give_back",
    "is_told_to_stop",
    "leave",
    "log_fields",
    "repeat",
    "wait_for_storage",
]

log = logging.getLogger(__name__)

#: The first and the greatest delay after a conflict, in seconds, before
#: chance makes it shorter.
FIRST_DELAY, GREATEST_DELAY = 0.05, 5.0

#: Where the handlers of Celery are that end a worker, or a child of one.
HANDLERS = ("billiard.common", "celery.apps.worker")


class Verdict(NamedTuple):
    """What is to come of an attempt that has failed."""

    event: type[JobEvent]
    #: Makes it so; tells whether the job was still this run's.
    apply: Callable[[], bool]


def is_told_to_stop(error: BaseException) -> bool:
    """Tell whether a signal that ends a worker of Celery raised *error*.

    Handlers run in the main thread, in the middle of whatever that is at: so
    what they raise seems to come from there.
    """
    return any(
        frame.f_globals.get("__name__") in HANDLERS
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def leave() -> None:
    """Do nothing more: the job has ended without this run."""


def give_back(run: IRun) -> None:
    """Leave a job to other processes, since this one is to end.

    Never raises: if it cannot be recorded, they take the job over when this
    process has given no sign of life for a lease.

    Args:
        run: the run that was broken off.
    """
    log.info(
        "Job %s is left to others, for its process is to end: %s.",
        run.sid,
        run.function,
        extra=log_fields("job_given_back", run),
    )
    try:
        run.give_back()
    except Exception:
        log.warning(
            "Job %s cannot be left to others now; they may notice after a"
            " lease: %s.",
            run.sid,
            run.function,
            exc_info=True,
            extra=log_fields("job_not_given_back", run),
        )


def repeat(run: IRun, kind: str) -> float:
    """Have an attempt repeated after a conflict.

    Args:
        run: the run, whose effects are aborted.
        kind: the name of the exception's class, for the log.

    Returns:
        The seconds after which to run it again; chance makes them fewer.
    """
    # no larger power, which could not be multiplied any more
    most = min(GREATEST_DELAY, FIRST_DELAY * 2 ** min(run.conflicts, 20))
    delay = random.uniform(0, most)  # noqa: S311 - no secret
    log.info(
        "Job %s will be repeated in %.2f s: %s met %s.",
        run.sid,
        delay,
        run.function,
        kind,
        extra=log_fields("job_repeated", run),
    )
    run.release()
    return delay


def wait_for_storage(run: IRun, error: BaseException) -> float:
    """Have an attempt repeated that failed because a storage was away.

    It does not count as a conflict.

    Args:
        run: the run, whose effects are aborted.
        error: what the storage raised.

    Returns:
        The seconds after which to run it again; chance makes them fewer.
    """
    log.warning(
        "Job %s will be repeated when the storage is back: %s met %s.",
        run.sid,
        run.function,
        type(error).__qualname__,
        extra=log_fields("job_waits_for_storage", run),
    )
    run.release(counts=False)
    return random.uniform(0, GREATEST_DELAY)  # noqa: S311 - no secret


def log_fields(action: str, run: IRun) -> dict[str, Any]:
    """Return the fields that a log record about a run has.

    Args:
        action: a fixed word for what happens, for programs that read logs.
        run: the run.
    """
    return {"action": action, "sid": run.sid, "function": run.function}
