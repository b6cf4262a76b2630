"""The changes of a record when a job ends, is retried or is removed.

All go through ``StoredJob.change``, which compares the record with the fence
that the caller expects.
"""

import time
from typing import Any, NamedTuple

from ...exceptions import JobUndone
from ...jobs.model import Failure, JobState
from ..records import REMOVED, Fence, JobRecord, Outcome, StoredJob

__all__ = [
    "End",
    "can_revive",
    "fail",
    "finish",
    "forget",
    "revive",
    "stay_undone",
    "try_again",
]


class End(NamedTuple):
    """When a job ended and when it expires, in seconds since the epoch."""

    finished: float
    expires: float

    @classmethod
    def now(cls, timeout: float) -> "End":
        """Return the end of a job that ends now.

        Args:
            timeout: for how long its outcome is stored, in seconds.
        """
        now = time.time()
        return cls(now, now + timeout)


def finish(
    job: StoredJob, expected: Fence, state: JobState, end: End, **values: Any
) -> None:
    """Record the end of a job.

    If somebody else ends it at the same time, one of the two commits
    conflicts, since both write the record.

    Args:
        job: the job. A success is recorded as the job's own transaction sees
            it, so that it and the effects are committed together; other ends
            in a transaction without its effects.
        expected: what the caller knows of the record.
        state: how the job has ended.
        end: when it has ended.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    if state is not JobState.FAILED:  # a failed job can be retried
        values["call"] = None
    job.change(
        expected,
        state=state.value,
        finished=end.finished,
        expires=end.expires,
        due=None,
        **values,
    )


def fail(
    job: StoredJob,
    expected: Fence,
    end: End,
    failure: Failure,
    exception: bytes,
    **values: Any,
) -> None:
    """Record the failure of a job, as :func:`finish` does.

    Args:
        job: the job.
        expected: what the caller knows of the record.
        end: when it has failed.
        failure: why it has failed.
        exception: the pickled exception.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    finish(
        job,
        expected,
        JobState.FAILED,
        end,
        error=failure.stored(),
        outcome=Outcome(exception),
        **values,
    )


def try_again(
    job: StoredJob,
    expected: Fence,
    due: float,
    incarnation: str | None,
    **values: Any,
) -> None:
    """Record that a job is to run again after an attempt that failed.

    Args:
        job: the job.
        expected: what the caller knows of the record.
        due: when the next attempt is due, in seconds since the epoch.
        incarnation: which process is to run it; ``None`` for any.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    job.change(
        expected,
        due=due,
        runner=incarnation,
        # So the failed run, which may still go on after its time limit,
        # cannot write any more.
        run_number=expected.run_number + 1,
        # The attempt has ended, and its process has not.
        suspect=False,
        begun=False,
        alone=False,
        **values,
    )


def stay_undone(
    job: StoredJob, expected: Fence, end: End, run_number: int
) -> None:
    """Record that a job whose end was undone has ended nevertheless.

    It is cancelled, and keeps its call, so that it can be revived.

    Args:
        job: the job, which is pending again.
        expected: what the caller knows of the record.
        end: the end that is to be recorded.
        run_number: of the end that was undone. The greater one of this and
            that of now is counted up, so that the version of the job is
            greater than any that somebody has seen.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    job.change(
        expected,
        state=JobState.CANCELLED.value,
        run_number=max(run_number, expected.run_number) + 1,
        finished=end.finished,
        expires=end.expires,
        due=None,
        error=(JobUndone.__qualname__, str(JobUndone()), JobUndone.public),
    )


def can_revive(record: JobRecord) -> bool:
    """Return whether a job has ended so that it can be revived.

    Args:
        record: the record of the job. It has failed, or was undone; one that
            somebody has cancelled has no call any more.
    """
    return record.state == JobState.FAILED or (
        record.state == JobState.CANCELLED and record.call is not None
    )


def revive(job: StoredJob, expected: Fence, incarnation: str | None) -> None:
    """Record that an ended job is to run again, as if it had not run.

    Args:
        job: the job; see :func:`can_revive`.
        expected: what the caller knows of the record.
        incarnation: which process is to run it; ``None`` for any.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    job.change(
        expected,
        state=JobState.PENDING.value,
        runner=incarnation,
        # So a run of before the failure, which may still go on, cannot write
        # any more.
        run_number=expected.run_number + 1,
        begun=False,
        alone=False,
        crashes=0,
        silences=(),
        survivals=0,
        failures=0,
        started=None,
        finished=None,
        expires=None,
        progress=None,
        progress_translation=None,
        error=None,
        outcome=None,
    )


def forget(job: StoredJob, expected: Fence) -> None:
    """Remove a job.

    A record without data stays in the tree until the slice is dropped.

    Args:
        job: the job.
        expected: what the caller knows of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    job.change(
        expected,
        state=REMOVED,
        **_NOTHING,
    )


#: The defaults of all attributes that may hold data of the application or
#: the user; what has its default is not stored.
_NOTHING = {
    name: getattr(JobRecord, name)
    for name in (
        "owner",
        "owner_kind",
        "base_url",
        "options",
        "due",
        "silences",
        "started",
        "finished",
        "expires",
        "progress",
        "progress_translation",
        "error",
        "call",
        "value",
        "outcome",
    )
}
