"""The rules by which it is decided what is to follow a run that raised."""

import random
import traceback
from dataclasses import dataclass

from transaction.interfaces import TransientError

from ..concurrency.moments import EndOfPause
from ..contracts import IRun
from ..exceptions import CommitInDoubt, JobError, JobTimeout
from ..jobs.exception_groups import is_of, leaves_of
from ..transfer.failures import (
    as_bytes,
    describe,
    is_for_people,
    pickled_exception,
)
from .verdicts import (
    AttemptVerdict,
    Decline,
    Fail,
    FailedAttempt,
    GiveBack,
    GivenUp,
    Overruled,
    Raised,
    Refused,
    Repeat,
    RunVerdict,
    TryAgain,
    WaitForStorage,
)

__all__ = ["Rules", "longest_delay"]

#: The upper bounds of the delay after the first conflict and after many, in
#: seconds. The delay is drawn at random below the bound, so that runs that
#: met in a conflict do not meet again at once.
FIRST_DELAY, GREATEST_DELAY = 0.05, 5.0

#: How many characters of an error's text are a part of a sentence in the log.
LONGEST_REASON = 200

#: The modules of the signal handlers that end a worker of Celery or a child
#: of one: the former raise ``SystemExit`` in a child, the latter
#: ``WorkerTerminate`` in a worker (billiard 4.3, Celery 5.7).
HANDLERS = ("billiard.common", "celery.apps.worker")

#: What a run may raise when the job has ended without it: the function asked
#: whether it should go on, or its commit met a conflict with a cancel or a
#: takeover.
EXPECTED = (JobError, TransientError)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The rules by which verdicts are decided, as the settings say."""

    #: How often an attempt is repeated.
    max_conflicts: int
    #: After how many failed attempts a job fails whose options do not say.
    attempts: int
    #: Exceptions whose text may be shown to people.
    public_errors: tuple[type[BaseException], ...]
    #: Whether a job waits before its next attempt, as ``backoff`` says.
    waits_before_retry: bool

    def decide(self, run: IRun, raised: Raised) -> RunVerdict | FailedAttempt:
        """Return what is to follow a run that has raised.

        The text and the pickle of an exception may depend on persistent
        objects, which must not be used after their connection is closed. So
        this is called while the transaction is open.

        The questions are in this order:

        1. Has the job ended without this run? Then nothing is recorded.
        2. Is the process to end? That is not the job's fault.
        3. Was the storage away? That is not its fault either.
        4. Is the time limit over? Then the attempt has failed with a
           ``JobTimeout``, whatever was raised, and is not repeated.
        5. Is the error transient, with repetitions left?
        6. Did the storage raise it, which may refuse what the run did?
        7. Otherwise the attempt has failed.

        Args:
            run: the run.
            raised: what it has raised.
        """
        error = raised.error
        if run.has_ended():
            if all(is_of(leaf, EXPECTED) for leaf in leaves_of(error)):
                return GivenUp()
            return Overruled()
        if _is_told_to_stop(error):
            return GiveBack()
        if raised.is_outage:
            # at random, so that not all jobs ask the storage at one moment
            return WaitForStorage(_draw(GREATEST_DELAY), _reason(error))
        reason = run.stop_reason()
        if isinstance(reason, JobTimeout):
            return FailedAttempt(reason, as_bytes(reason))
        return self._decide_on_error(run, raised)

    def _decide_on_error(
        self, run: IRun, raised: Raised
    ) -> Repeat | Refused | FailedAttempt:
        """Return what is to follow a run for what it has raised alone."""
        error = raised.error
        if raised.may_repeat and run.conflicts < self.max_conflicts:
            met = type(error).__qualname__
            return Repeat(_delay_after(run.conflicts), met)
        exception = pickled_exception(error, raised.connections)
        if raised.is_refused and not raised.may_repeat:
            failure = Fail(describe(error, self.public_errors), exception)
            delay = _delay_after_refusal()
            return Refused(delay, failure, raised.databases)
        return FailedAttempt(error, exception)

    def decide_on_attempt(
        self, run: IRun, failed: FailedAttempt
    ) -> AttemptVerdict:
        """Return what is to follow an attempt that has failed.

        Args:
            run: the run of the attempt.
            failed: what it has failed with.
        """
        failures = run.failures + 1
        attempts = run.options.attempts or self.attempts
        # if it is in doubt, people are to decide whether to do it again
        is_in_doubt = is_of(failed.error, CommitInDoubt)
        if (
            failures < attempts
            and not is_in_doubt
            and run.options.covers(failed.error)
        ):
            delay = 0.0
            if self.waits_before_retry:
                delay = run.options.backoff.delay(failures)
            return TryAgain(EndOfPause.after(delay), delay, failures, attempts)
        failure = describe(failed.error, self.public_errors)
        fail = Decline if is_for_people(failed.error) else Fail
        return fail(failure, failed.exception)


def _is_told_to_stop(error: BaseException) -> bool:
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
        for leaf in leaves_of(error)
        for frame, _ in traceback.walk_tb(leaf.__traceback__)
    )


def _reason(error: BaseException) -> str:
    """Return the class and the beginning of the text of an error."""
    failure = describe(error)
    text = failure.message[:LONGEST_REASON]
    return f"{failure.type}: {text}" if text else failure.type


def longest_delay() -> float:
    """Return the seconds to wait when a job cannot be begun or recorded."""
    return GREATEST_DELAY


def _delay_after(conflicts: int) -> float:
    """Return the seconds to wait after one more conflict, drawn at random."""
    # with a limit for the exponent: after some thousand conflicts, the power
    # would be too large to be multiplied by a float
    return _draw(min(GREATEST_DELAY, FIRST_DELAY * 2 ** min(conflicts, 20)))


def _delay_after_refusal() -> float:
    """Return the seconds to wait after an error of the storage."""
    # Not too soon: it may have been the beginning, or the end, of an outage.
    return GREATEST_DELAY / 2 + _draw(GREATEST_DELAY / 2)


def _draw(most: float) -> float:
    """Return a number of seconds up to *most*, drawn at random."""
    return random.uniform(0, most)  # noqa: S311 - no secret
