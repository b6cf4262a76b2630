"""The verdicts on a run, which say what is to follow, and their rules."""

import logging
import random
import traceback
from dataclasses import dataclass
from typing import ClassVar

from transaction.interfaces import TransientError

from ..concurrency.moments import EndOfPause
from ..contracts import IRun
from ..exceptions import JobError, JobTimeout
from ..interfaces import Connections
from ..jobs.model import Failure
from ..transfer.failures import describe, pickled_exception

__all__ = [
    "SUCCEEDED",
    "AttemptVerdict",
    "Fail",
    "FailedAttempt",
    "GiveBack",
    "GivenUp",
    "Logged",
    "Overruled",
    "Raised",
    "Repeat",
    "Rules",
    "RunVerdict",
    "Succeeded",
    "TryAgain",
    "Verdict",
    "WaitForStorage",
    "longest_delay",
]

#: The upper bounds of the delay after the first conflict and after many, in
#: seconds. The delay is drawn at random below the bound, so that runs that
#: met in a conflict do not meet again at once.
FIRST_DELAY, GREATEST_DELAY = 0.05, 5.0

#: The modules of the signal handlers that end a worker of Celery or a child
#: of one: the former raise ``SystemExit`` in a child, the latter
#: ``WorkerTerminate`` in a worker (billiard 4.3, Celery 5.7).
HANDLERS = ("billiard.common", "celery.apps.worker")


@dataclass(frozen=True)
class Raised:
    """What a run has raised, while its transaction is still open."""

    error: BaseException
    #: Those of the run, by which the error may refer to persistent objects.
    connections: Connections
    #: Whether the error lets the attempt be repeated.
    may_repeat: bool
    #: Whether the storage was away, so that the error means nothing.
    is_outage: bool


# A verdict outlives the transaction of its run. So it is plain data: it does
# not keep the error, whose traceback has all that the function worked with.


@dataclass(frozen=True)
class Succeeded:
    """The effects and the success are committed."""


SUCCEEDED = Succeeded()


class Logged:
    """What the log says when a verdict is decided."""

    #: A fixed word, for programs that read logs.
    action: ClassVar[str]
    level: ClassVar[int] = logging.INFO
    #: The sentence, with places for :meth:`values`.
    sentence: ClassVar[str]
    #: Whether the error and its traceback are part of the record.
    shows_error: ClassVar[bool] = False

    def values(self, run: IRun) -> tuple[object, ...]:
        """Return the values that the sentence has.

        Args:
            run: the run that the verdict is on.
        """
        return run.sid, run.function


@dataclass(frozen=True)
class GivenUp(Logged):
    """The run has found out that the job has ended without it."""

    action = "job_given_up"
    sentence = "Job %s was given up by its run: %s."


@dataclass(frozen=True)
class Overruled(Logged):
    """The run has failed, but the job had ended without it before."""

    action = "job_overruled"
    level = logging.WARNING
    sentence = "Job %s had ended already when its run raised: %s."
    shows_error = True


@dataclass(frozen=True)
class GiveBack(Logged):
    """Other processes may run the job, since this one is to end."""

    action = "job_given_back"
    sentence = "Job %s is left to others, for its process is to end: %s."


@dataclass(frozen=True)
class WaitForStorage(Logged):
    """The attempt is repeated after an outage, which does not count."""

    action = "job_waits_for_storage"
    level = logging.WARNING
    sentence = "Job %s will be repeated when the storage is back: %s met %s."

    #: The seconds to wait before that.
    delay: float
    #: The name of the exception's class.
    met: str

    def values(self, run: IRun) -> tuple[object, ...]:
        """See :class:`Logged`."""
        return run.sid, run.function, self.met


@dataclass(frozen=True)
class Repeat(Logged):
    """The attempt is repeated after a conflict or another transient error."""

    action = "job_repeated"
    sentence = "Job %s will be repeated in %.2f s: %s met %s."

    #: The seconds to wait before that.
    delay: float
    #: The name of the exception's class.
    met: str

    def values(self, run: IRun) -> tuple[object, ...]:
        """See :class:`Logged`."""
        return run.sid, self.delay, run.function, self.met


@dataclass(frozen=True)
class TryAgain(Logged):
    """The attempt has failed, and the job has another one."""

    action = "job_retried"
    level = logging.WARNING
    sentence = (
        "Job %s will be tried again in %.1f s, for %d of %d attempts failed:"
        " %s."
    )
    shows_error = True

    #: When that is due, in seconds since the epoch.
    due: EndOfPause
    #: The seconds until then.
    delay: float
    #: How many attempts have failed by now, of how many.
    failures: int
    attempts: int

    def values(self, run: IRun) -> tuple[object, ...]:
        """See :class:`Logged`."""
        return (
            run.sid,
            self.delay,
            self.failures,
            self.attempts,
            run.function,
        )


@dataclass(frozen=True)
class Fail(Logged):
    """The last attempt has failed, and so the job has."""

    action = "job_failed"
    level = logging.ERROR
    sentence = "Job %s failed: %s."
    shows_error = True

    failure: Failure
    #: The pickle of the exception that becomes the outcome.
    exception: bytes


#: What is to follow a run that has raised, if its attempt has not failed.
RunVerdict = GivenUp | Overruled | GiveBack | WaitForStorage | Repeat

#: What is to follow an attempt that has failed.
AttemptVerdict = TryAgain | Fail

Verdict = Succeeded | RunVerdict | AttemptVerdict


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt that has failed, before it is decided what follows."""

    #: What it has failed with; it becomes the outcome if no attempt is left.
    error: BaseException
    #: The pickle of that.
    exception: bytes


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
        6. Otherwise the attempt has failed.

        Args:
            run: the run.
            raised: what it has raised.
        """
        error = raised.error
        if run.has_ended():
            # expected errors: the function asked whether it should go on, or
            # its commit met a conflict with a cancel or a takeover
            if isinstance(error, JobError | TransientError):
                return GivenUp()
            return Overruled()
        if _is_told_to_stop(error):
            return GiveBack()
        met = type(error).__qualname__
        if raised.is_outage:
            # at random, so that not all jobs ask the storage at one moment
            return WaitForStorage(_draw(GREATEST_DELAY), met)
        reason = run.stop_reason()
        if isinstance(reason, JobTimeout):
            error = reason
        elif raised.may_repeat and run.conflicts < self.max_conflicts:
            return Repeat(_delay_after(run.conflicts), met)
        return FailedAttempt(
            error, pickled_exception(error, raised.connections)
        )

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
        if failures < attempts and run.options.covers(failed.error):
            delay = 0.0
            if self.waits_before_retry:
                delay = run.options.backoff.delay(failures)
            return TryAgain(EndOfPause.after(delay), delay, failures, attempts)
        failure = describe(failed.error, self.public_errors)
        return Fail(failure, failed.exception)


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
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def longest_delay() -> float:
    """Return the seconds to wait when a job cannot be begun or recorded."""
    return GREATEST_DELAY


def _delay_after(conflicts: int) -> float:
    """Return the seconds to wait after one more conflict, drawn at random."""
    # with a limit for the exponent: after some thousand conflicts, the power
    # would be too large to be multiplied by a float
    return _draw(min(GREATEST_DELAY, FIRST_DELAY * 2 ** min(conflicts, 20)))


def _draw(most: float) -> float:
    """Return a number of seconds up to *most*, drawn at random."""
    return random.uniform(0, most)  # noqa: S311 - no secret
