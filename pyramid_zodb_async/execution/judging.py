"""Decides what is to follow a run that raised, and logs that."""

from typing import Any

from ..concurrency.loggers import get_logger
from ..contracts import IRun
from ..exceptions import CommitInDoubt, JobError
from ..transfer.failures import as_bytes, describe
from .rules import Rules
from .verdicts import (
    AttemptVerdict,
    Fail,
    FailedAttempt,
    InDoubt,
    Logged,
    Raised,
    RunVerdict,
    Verdict,
)

__all__ = ["fail_untold", "judge", "log_fields", "log_verdict"]

log = get_logger(__name__)


def judge(rules: Rules, run: IRun, raised: Raised) -> Verdict:
    """Return the verdict on a run that has raised, and log it.

    To be called while the transaction of the run is open.

    Args:
        rules: the rules by which it is decided.
        run: the run.
        raised: what it has raised.
    """
    verdict = rules.decide(run, raised)
    if raised.is_in_doubt:
        return _judge_in_doubt(rules, run, raised, verdict)
    if isinstance(verdict, FailedAttempt):
        return judge_attempt(rules, run, verdict)
    log_verdict(run, verdict, raised.error)
    return verdict


def _judge_in_doubt(
    rules: Rules,
    run: IRun,
    raised: Raised,
    otherwise: RunVerdict | FailedAttempt,
) -> InDoubt:
    """Return the verdict on a run that may have committed, and log it.

    Args:
        rules: the rules by which it is decided.
        run: the run.
        raised: what it has raised.
        otherwise: what is to follow if it has not.
    """
    error = CommitInDoubt(
        f"The commit of {run.function} raised"
        f" {type(raised.error).__qualname__} after all had voted for it, so it"
        " is not known whether the work is done: look before you retry it"
    )
    verdict = InDoubt(
        rules.decide_on_attempt(run, otherwise)
        if isinstance(otherwise, FailedAttempt)
        else otherwise,
        Fail(describe(error), as_bytes(error)),
        raised.record_tells,
    )
    log_verdict(run, verdict, raised.error)
    return verdict


def judge_attempt(
    rules: Rules, run: IRun, failed: FailedAttempt
) -> AttemptVerdict:
    """Return the verdict on an attempt that has failed, and log it.

    Args:
        rules: the rules by which it is decided.
        run: the run of the attempt.
        failed: what it has failed with.
    """
    verdict = rules.decide_on_attempt(run, failed)
    log_verdict(run, verdict, failed.error)
    return verdict


def fail_untold(run: IRun) -> Fail:
    """Return the verdict on a run whose exception raises when it is judged.

    Args:
        run: the run.
    """
    error = JobError(
        "The job raised an exception that cannot be told, since to look at it"
        " raises another one"
    )
    verdict = Fail(describe(error), as_bytes(error))
    log_verdict(run, verdict, error)
    return verdict


def log_verdict(
    run: IRun, verdict: Logged, error: BaseException | None = None
) -> None:
    """Log what is to follow a run that raised.

    The line with the error comes before that is recorded, so nothing here may
    raise.

    Args:
        run: the run.
        verdict: what is to follow it.
        error: what it has raised, while its transaction is open: the text may
            depend on persistent objects.
    """
    log.log(
        verdict.level,
        verdict.sentence,
        *verdict.values(run),
        exc_info=error if verdict.shows_error else None,
        extra=log_fields(verdict.action, run),
    )


def log_fields(action: str, run: IRun) -> dict[str, Any]:
    """Return the fields that a log record about a run has.

    Args:
        action: a fixed word for what has happened, for programs that read
            logs.
        run: the run.
    """
    return {"action": action, "sid": run.sid, "function": run.function}
