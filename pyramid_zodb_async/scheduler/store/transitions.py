"""The changes of a record when a job ends, is retried or is removed.

All go through ``Store.change``, which compares the record with the fence
that the caller expects.
"""

import time
from typing import Any, NamedTuple

from ...jobs.model import Failure, JobState
from ...jobs.options import Options
from ..records import REMOVED, Fence, Outcome, Record, Store

__all__ = [
    "End",
    "cancel",
    "fail",
    "forget",
    "outcome_timeout",
    "revive",
    "succeed",
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


def outcome_timeout(record: Record, timeout: float) -> float:
    """Return for how long the outcome of a job is stored, in seconds.

    Args:
        record: the record of the job.
        timeout: the seconds if the options of the job set none.
    """
    if not record.options:
        return timeout
    own = Options.load(record.options).result_timeout
    return timeout if own is None else own


def succeed(
    store: Store,
    sid: str,
    expected: Fence,
    outcome: Outcome | None,
    end: End,
    **values: Any,
) -> None:
    """Record the success of a job.

    Args:
        store: the store, as the job's own transaction sees it: the success
            and the effects are committed together.
        sid: the sid of the job.
        expected: what the caller knows of the record.
        outcome: the result; ``None`` if it is in *values*, as ``value``.
        end: when the job ended.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    store.change(
        sid,
        expected,
        state=JobState.SUCCEEDED.value,
        **end._asdict(),
        due=None,
        call=None,
        outcome=outcome,
        **values,
    )


def fail(  # noqa: PLR0913, PLR0917 - all that there is to know of it
    store: Store,
    sid: str,
    expected: Fence,
    failure: Failure,
    exception: bytes,
    end: End,
    **values: Any,
) -> None:
    """Record the failure of a job.

    The record still has the call, so that the job can be retried.

    Args:
        store: the store, in a transaction without the effects of the job.
        sid: the sid of the job.
        expected: what the caller knows of the record.
        failure: why the job failed.
        exception: the pickled exception.
        end: when the job ended.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    store.change(
        sid,
        expected,
        state=JobState.FAILED.value,
        **end._asdict(),
        due=None,
        error=(failure.type, failure.message, failure.public),
        outcome=Outcome(exception=exception),
        **values,
    )


def cancel(
    store: Store, sid: str, expected: Fence, end: End, **values: Any
) -> None:
    """Record that a job was cancelled.

    If its run commits at the same time, one of the two commits conflicts,
    since both write the record.

    Args:
        store: the store, as the transaction of the caller sees it.
        sid: the sid of the job.
        expected: what the caller knows of the record.
        end: when the job ended.
        values: further attributes of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    store.change(
        sid,
        expected,
        state=JobState.CANCELLED.value,
        **end._asdict(),
        due=None,
        call=None,
        **values,
    )


def try_again(
    store: Store,
    sid: str,
    expected: Fence,
    due: float,
    incarnation: str | None,
    **values: Any,
) -> Record:
    """Record that a job is to run again after an attempt that failed.

    Args:
        store: the store.
        sid: the sid of the job.
        expected: what the caller knows of the record.
        due: when the next attempt is due, in seconds since the epoch.
        incarnation: which process is to run it; ``None`` for any.
        values: further attributes of the record.

    Returns:
        The changed record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    return store.change(
        sid,
        expected,
        due=due,
        runner=incarnation,
        # So the failed run, which may still go on after its time limit,
        # cannot write any more.
        run_number=expected.run_number + 1,
        # The attempt has ended, and its process has not.
        suspect=False,
        begun=False,
        **values,
    )


def revive(
    store: Store, sid: str, expected: Fence, incarnation: str | None
) -> Record:
    """Record that a failed job is to run again, as if it had not run.

    Args:
        store: the store.
        sid: the sid of the job.
        expected: what the caller knows of the record.
        incarnation: which process is to run it; ``None`` for any.

    Returns:
        The changed record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    return store.change(
        sid,
        expected,
        state=JobState.PENDING.value,
        runner=incarnation,
        # So a run of before the failure, which may still go on, cannot write
        # any more.
        run_number=expected.run_number + 1,
        begun=False,
        crashes=0,
        failures=0,
        started=None,
        finished=None,
        expires=None,
        progress=None,
        error=None,
        outcome=None,
    )


def forget(store: Store, sid: str, expected: Fence) -> None:
    """Remove a job.

    A record without data stays in the tree until the slice is dropped.

    Args:
        store: the store.
        sid: the sid of the job.
        expected: what the caller knows of the record.

    Raises:
        TakenOver: the record is not as *expected*.
    """
    store.change(
        sid,
        expected,
        state=REMOVED,
        **_NOTHING,
    )


#: The defaults of all attributes that may hold data of the application or
#: the user; what has its default is not stored.
_NOTHING = {
    name: getattr(Record, name)
    for name in (
        "owner",
        "base_url",
        "options",
        "due",
        "started",
        "finished",
        "expires",
        "progress",
        "error",
        "call",
        "value",
        "outcome",
    )
}
