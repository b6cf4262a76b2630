"""The ways in which a job of the database ends, or begins again."""

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
    """When a job ended, and until when that is told, in s since the epoch."""

    finished: float
    expires: float

    @classmethod
    def now(cls, timeout: float) -> "End":
        """Give the end of a job whose outcome is kept for *timeout* s."""
        now = time.time()
        return cls(now, now + timeout)


def outcome_timeout(record: Record, timeout: float) -> float:
    """Tell for how long an outcome is kept, *timeout* s if nobody said."""
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
    """Let a job end well, with an outcome.

    See :meth:`.Store.change`.
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
    """Let a job end with a failure.

    The call is kept, to be tried again. See :meth:`.Store.change`.
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
    """Let a job end without an outcome.

    See :meth:`.Store.change`.
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
    """Have a job whose attempt failed run again when it is *due*.

    See :meth:`.Store.change`.
    """
    return store.change(
        sid,
        expected,
        due=due,
        runner=incarnation,
        run_number=expected.run_number + 1,
        # it has not ended its process
        suspect=False,
        begun=False,
        **values,
    )


def revive(
    store: Store, sid: str, expected: Fence, incarnation: str | None
) -> Record:
    """Have a failed job run again, by *runner* or by whoever comes first.

    See :meth:`.Store.change`.
    """
    return store.change(
        sid,
        expected,
        state=JobState.PENDING.value,
        runner=incarnation,
        # what is left of earlier runs counts no more
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
    """Leave of a job nothing but its name, until its slice goes.

    See :meth:`.Store.change`.
    """
    store.change(
        sid,
        expected,
        state=REMOVED,
        **_NOTHING,
    )


#: What is as if it had never been said.
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
