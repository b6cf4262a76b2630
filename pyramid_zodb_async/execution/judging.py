"""Decides what is to follow a run that raised, and logs that."""

from typing import Any

from ..concurrency.loggers import get_logger
from ..contracts import IRun
from ..exceptions import JobError
from ..transfer.failures import as_bytes, describe
from .rules import Rules
from .verdicts import (
    AttemptVerdict,
    Fail,
    FailedAttempt,
    Logged,
    Raised,
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
    if isinstance(verdict, FailedAttempt):
        return judge_attempt(rules, run, verdict)
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


def log_verdict(run: IRun, verdict: Logged, error: BaseException) -> None:
    """Log what is to follow a run that raised, while its transaction is open.

    The log may show the text of *error*, which may depend on persistent
    objects. So this comes before that is recorded, and must not raise.

    Args:
        run: the run.
        verdict: what is to follow it.
        error: what it has raised.
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
