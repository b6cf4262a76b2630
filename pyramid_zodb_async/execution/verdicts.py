"""The verdicts on a run, which say what is to follow."""

import logging
from dataclasses import dataclass
from typing import ClassVar

from ZODB.DB import DB

from ..concurrency.moments import EndOfPause
from ..contracts import IRun
from ..interfaces import Connections
from ..jobs.model import Failure

__all__ = [
    "SUCCEEDED",
    "AttemptVerdict",
    "Decline",
    "Fail",
    "FailedAttempt",
    "GiveBack",
    "GivenUp",
    "InDoubt",
    "Logged",
    "Overruled",
    "Raised",
    "Refused",
    "Repeat",
    "RunVerdict",
    "Succeeded",
    "TryAgain",
    "Verdict",
    "WaitForStorage",
]


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
    #: Whether the storage has refused what the run did, though it works.
    is_refused: bool = False
    #: The databases that may be asked whether the storage works.
    databases: tuple[DB, ...] = ()
    #: Whether its transaction may have committed nevertheless.
    is_in_doubt: bool = False
    #: Whether the record of the job tells if it has.
    record_tells: bool = False


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
    #: The name of the exception's class, and its text.
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


@dataclass(frozen=True)
class Decline(Fail):
    """The job has failed as its function wants it to, and tells people why."""

    action = "job_declined"
    level = logging.INFO
    sentence = "Job %s failed with a message for people: %s: %s: %s"
    shows_error = False

    def values(self, run: IRun) -> tuple[object, ...]:
        """See :class:`Logged`."""
        failure = self.failure
        return run.sid, run.function, failure.type, failure.message


@dataclass(frozen=True)
class Refused(Logged):
    """The storage has raised what is neither transient nor an outage.

    For instance it does not take what the run wrote, or has ended the session
    of the run.
    """

    action = "job_refused"
    level = logging.WARNING
    sentence = "Job %s met an error of its storage: %s."
    shows_error = True

    #: The seconds to wait before the attempt is repeated.
    delay: float
    #: What is to follow if that has happened too often.
    failure: Fail
    #: The databases that may be asked whether the storage works.
    databases: tuple[DB, ...]


@dataclass(frozen=True)
class InDoubt(Logged):
    """The commit has raised, and may have succeeded nevertheless."""

    action = "job_in_doubt"
    level = logging.WARNING
    sentence = "The commit of job %s raised, and may have succeeded: %s."
    shows_error = True

    #: What is to follow if it has not.
    otherwise: "RunVerdict | AttemptVerdict"
    #: What is to follow if nobody can find out.
    failure: Fail
    #: Whether the record of the job tells if it has.
    record_tells: bool


#: What is to follow a run that has raised, if its attempt has not failed.
RunVerdict = GivenUp | Overruled | GiveBack | WaitForStorage | Repeat | Refused

#: What is to follow an attempt that has failed.
AttemptVerdict = TryAgain | Fail

Verdict = Succeeded | InDoubt | RunVerdict | AttemptVerdict


@dataclass(frozen=True)
class FailedAttempt:
    """An attempt that has failed, before it is decided what follows."""

    #: What it has failed with; it becomes the outcome if no attempt is left.
    error: BaseException
    #: The pickle of that.
    exception: bytes
