"""Fails runs that take longer than their time limit and still go on."""

import sys
import traceback

from ..concurrency.loggers import get_logger
from ..contracts import IRun, ISchedulerCore
from ..exceptions import JobTimeout
from ..transfer.failures import as_bytes
from .judging import log_fields, log_verdict
from .recording import record_attempt
from .rules import Rules
from .verdicts import FailedAttempt

__all__ = ["fail_overdue"]

log = get_logger(__name__)


def fail_overdue(
    scheduler: ISchedulerCore,
    rules: Rules,
    run: IRun,
    limit: float,
    thread: int,
) -> None:
    """Record the failure of a run that takes too long and goes on.

    The watchdog calls this on its own thread. A run cannot be interrupted
    from outside; it ends when the function asks whether it should, and its
    commit meets a conflict with what is recorded here.

    Args:
        scheduler: the scheduler that the run is of.
        rules: the rules by which it is decided what is to follow.
        run: the run.
        limit: its time limit, in seconds.
        thread: the identifier of the thread that it is on.
    """
    if run.has_ended():
        return
    reason = JobTimeout(f"The job has run for more than {limit:g} seconds")
    # before anything that takes time or may fail: from here on the run
    # cannot succeed, also if the failure cannot be recorded now
    run.time_out(reason)
    # while the thread is still where it has been for so long
    stack = _stack_of(thread)
    verdict = rules.decide_on_attempt(
        run, FailedAttempt(reason, as_bytes(reason))
    )
    # if it cannot be recorded now, the run fails with this reason, and
    # records that by itself
    if record_attempt(
        scheduler,
        run,
        verdict,
        "That job %s took too long cannot be recorded now, but when its run"
        " has ended: %s.",
    ):
        # after the events, for the same reason as close()
        run.leave()
    # when all is recorded: what takes the log may be slow
    log.error(
        "Job %s has run for more than %g s: %s. Its thread was here:\n%s",
        run.sid,
        limit,
        run.function,
        stack,
        extra=log_fields("job_timed_out", run),
    )
    log_verdict(run, verdict, reason)


def _stack_of(thread: int) -> str:
    """Return the traceback of where a thread is, for the log."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    if frame is None:
        return "(gone)"
    try:
        return "".join(traceback.format_stack(frame))
    except Exception as error:  # noqa: BLE001 - of what loads the sources
        return f"(not known: {type(error).__qualname__})"
