"""Records what is to follow a run that has not succeeded, and tells of it."""

from ..concurrency.loggers import get_logger
from ..contracts import IRun, ISchedulerCore
from ..events import JobEvent, JobFailed, JobRetried, JobSucceeded
from .judging import log_fields, log_verdict
from .rules import longest_delay
from .subscribers import Announcer
from .verdicts import (
    AttemptVerdict,
    GiveBack,
    GivenUp,
    InDoubt,
    Overruled,
    Refused,
    Repeat,
    RunVerdict,
    TryAgain,
    WaitForStorage,
)

__all__ = ["record", "record_attempt"]

#: After how many runs a job fails that have met an error of the storage, which
#: is neither transient nor an outage.
MOST_REFUSALS = 3

log = get_logger(__name__)


def record(
    scheduler: ISchedulerCore,
    run: IRun,
    verdict: InDoubt | RunVerdict | AttemptVerdict,
) -> float | None:
    """Record what is to follow a run that raised, and tell the subscribers.

    Not before the surroundings are gone: a failure is recorded in a
    transaction of its own when the effects are aborted, and subscribers are
    called when no transaction of the job is open.

    Args:
        scheduler: the scheduler that the run is of.
        run: the run.
        verdict: what is to follow it.

    Returns:
        The seconds after which to run the job again, or ``None``.
    """
    match verdict:
        case InDoubt():
            return _settle(scheduler, run, verdict)
        case GivenUp() | Overruled():
            # the job may have cancelled itself
            scheduler.commit_queue.deliver()
        case GiveBack():
            _give_back(run)
        case WaitForStorage():
            # not a conflict: an outage of any length must not use up
            # max_conflicts
            run.release(counts=False)
            return verdict.delay
        case Repeat():
            run.release()
            return verdict.delay
        case Refused():
            return _record_refusal(scheduler, run, verdict)
        case _:
            is_recorded = record_attempt(
                scheduler,
                run,
                verdict,
                "The failure of job %s cannot be recorded now; the job will"
                " be repeated: %s.",
            )
            if is_recorded is None:
                run.release()
                return longest_delay()
    return None


def _record_refusal(
    scheduler: ISchedulerCore, run: IRun, verdict: Refused
) -> float | None:
    """Have an attempt repeated that its storage refused, or the job failed.

    An outage can look the same to the run. So it counts only if other
    transactions work.
    """
    if not run.storage_works(verdict.databases):
        log.warning(
            "Job %s will be repeated when the storage is back: %s.",
            run.sid,
            run.function,
            extra=log_fields("job_waits_for_storage", run),
        )
    elif run.count_refusal() >= MOST_REFUSALS:
        log_verdict(run, verdict.failure)
        return record(scheduler, run, verdict.failure)
    run.release(counts=False)
    return verdict.delay


def _settle(
    scheduler: ISchedulerCore, run: IRun, doubt: InDoubt
) -> float | None:
    """Find out whether a commit that raised has succeeded; record the rest.

    If the database is away, the run keeps the doubt, and the runner calls
    this again.
    """
    try:
        has_succeeded = run.find_out()
    except Exception:
        log.warning(
            "Whether job %s has succeeded cannot be found out now; it will be"
            " tried again: %s.",
            run.sid,
            run.function,
            exc_info=True,
            extra=log_fields("job_not_found_out", run),
        )
        return _look_again(run, doubt)
    run.keep_doubt(None)
    if has_succeeded:
        log.info(
            "Job %s succeeded, though its commit raised: %s.",
            run.sid,
            run.function,
            extra=log_fields("job_succeeded", run),
        )
        announcer: Announcer = scheduler.announcer
        announcer.announce_run(JobSucceeded, run)
        return None
    verdict = doubt.otherwise if doubt.record_tells else doubt.failure
    if has_succeeded is None:
        verdict = GivenUp()
    log_verdict(run, verdict)
    if verdict is not doubt.failure:
        return record(scheduler, run, verdict)
    if (
        record_attempt(
            scheduler,
            run,
            verdict,
            "That job %s is in doubt cannot be recorded now; it will be tried"
            " again: %s.",
            in_doubt=True,
        )
        is None
    ):
        return _look_again(run, doubt)
    return None


def _look_again(run: IRun, doubt: InDoubt) -> float:
    """Have the run keep a doubt; return the seconds to wait before a look."""
    # The job is not released: no other run of it may begin before that.
    run.keep_doubt(doubt)
    return longest_delay()


def record_attempt(
    scheduler: ISchedulerCore,
    run: IRun,
    verdict: AttemptVerdict,
    if_not: str,
    *,
    in_doubt: bool = False,
) -> bool | None:
    """Record that an attempt has failed, and tell the subscribers.

    Args:
        scheduler: the scheduler that the run is of.
        run: the run of the attempt.
        verdict: what is to follow it.
        if_not: what to log if it cannot be recorded now, with places for the
            sid and the name of the function.
        in_doubt: whether nobody knows if its effects are committed.

    Returns:
        Whether it is recorded: it is not if the job was not this run's any
        more. ``None`` if it cannot be recorded now.
    """
    event: type[JobEvent]
    try:
        if isinstance(verdict, TryAgain):
            event, is_recorded = JobRetried, run.retry(verdict.due)
        else:
            event, is_recorded = (
                JobFailed,
                run.fail(
                    verdict.failure, verdict.exception, in_doubt=in_doubt
                ),
            )
    except Exception:
        log.warning(
            if_not,
            run.sid,
            run.function,
            exc_info=True,
            extra=log_fields("failure_not_recorded", run),
        )
        return None
    if is_recorded:
        announcer: Announcer = scheduler.announcer
        announcer.announce_run(event, run)
    return is_recorded


def _give_back(run: IRun) -> None:
    """Record that other processes may run a job, since this one is to end.

    Never raises. If it cannot be recorded, others take the job over when this
    process has given no sign of life for the time of a lease.
    """
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
