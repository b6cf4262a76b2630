"""What may follow a run that did not succeed, except for a failure."""

import logging
import random
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from ..contracts import IRun
from ..events import JobEvent

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

#: The upper bounds of the delay after the first conflict and after many, in
#: seconds. The delay is drawn at random below the bound, so that runs that
#: met in a conflict do not meet again at once.
FIRST_DELAY, GREATEST_DELAY = 0.05, 5.0

#: The modules of the signal handlers that end a worker of Celery or a child
#: of one: the former raise ``SystemExit`` in a child, the latter
#: ``WorkerTerminate`` in a worker (billiard 4.3, Celery 5.7).
HANDLERS = ("billiard.common", "celery.apps.worker")


class Verdict(NamedTuple):
    """What is to follow an attempt that has failed: a retry, or the end."""

    #: The event to announce if :attr:`apply` returns true.
    event: type[JobEvent]
    #: Records it; returns whether the job was still this run's.
    apply: Callable[[], bool]


def is_told_to_stop(error: BaseException) -> bool:
    """Return whether *error* was raised to end a worker of Celery.

    Python runs the handler of a signal on the main thread, between any two
    instructions of what runs there, which may be a job. What the handler
    raises passes through the function of the job as if that had raised it.
    Its type is not enough to decide: a job may raise ``SystemExit`` by
    itself. So the frames of the traceback are searched for a handler.

    Args:
        error: what a run has raised.
    """
    return any(
        frame.f_globals.get("__name__") in HANDLERS
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def leave() -> None:
    """Record nothing: the job has ended already, without this run."""


def give_back(run: IRun) -> None:
    """Record that other processes may run a job, since this one is to end.

    Never raises. If it cannot be recorded, others take the job over when
    this process has given no sign of life for the time of a lease.

    Args:
        run: the run that was broken off; its effects are aborted.
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
    """Release a job after a conflict, so that its attempt is repeated.

    Args:
        run: the run; its effects are aborted.
        kind: the name of the exception's class, for the log.

    Returns:
        The seconds after which to run the job again, drawn at random.
    """
    # with a limit for the exponent: after some thousand conflicts, the power
    # would be too large to be multiplied by a float
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
    # counts one more conflict, so after the delay that the former ones give
    run.release()
    return delay


def wait_for_storage(run: IRun, error: BaseException) -> float:
    """Release a job after an outage, so that its attempt is repeated.

    Args:
        run: the run; its effects are aborted.
        error: what the storage has raised, for the log.

    Returns:
        The seconds after which to run the job again, drawn at random, so
        that not all jobs ask the storage at the same moment.
    """
    log.warning(
        "Job %s will be repeated when the storage is back: %s met %s.",
        run.sid,
        run.function,
        type(error).__qualname__,
        extra=log_fields("job_waits_for_storage", run),
    )
    # not a conflict: an outage of any length must not use up max_conflicts
    run.release(counts=False)
    return random.uniform(0, GREATEST_DELAY)  # noqa: S311 - no secret


def log_fields(action: str, run: IRun) -> dict[str, Any]:
    """Return the fields that a log record about a run has.

    Args:
        action: a fixed word for what has happened, for programs that read
            logs.
        run: the run.
    """
    return {"action": action, "sid": run.sid, "function": run.function}
