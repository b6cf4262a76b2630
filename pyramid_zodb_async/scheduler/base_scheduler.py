"""What applications call of a scheduler, the same for both of them."""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ..contracts import ITransactionJob
from ..database.connections import current_connections
from ..interfaces import Connections
from ..jobs.bulk import normalised_calls
from ..jobs.given_options import NONE_GIVEN
from ..jobs.model import JobView
from ..jobs.option_checks import checked_spread
from .commit_queue import CommitQueue
from .waiters import Waiters

__all__ = ["BaseScheduler", "to_anybody"]


def to_anybody(owner: str | None) -> bool:  # noqa: ARG001
    """Return that a job is open to whoever asks.

    Args:
        owner: its owner.
    """
    return True


class BaseScheduler(abc.ABC):
    """The methods that find a job, and do one thing with it.

    See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        commit_queue: what is to be done for transactions that have committed.
        waiters: the waiters of this process.
        max_bulk: how many calls ``many()`` may be given.
    """

    def __init__(
        self, commit_queue: CommitQueue[Any], waiters: Waiters, max_bulk: int
    ) -> None:
        self.max_bulk = max_bulk
        self.announcer = commit_queue.announcer
        self.commit_queue = commit_queue
        self.waiters = waiters

    @abc.abstractmethod
    def schedule_call(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""

    @abc.abstractmethod
    def schedule_calls(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
        spread: float = 0.0,
    ) -> Sequence[str]:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""

    @abc.abstractmethod
    def find(
        self, sid: str, connections: Connections
    ) -> ITransactionJob | None:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`."""

    def _find(
        self, sid: str, connections: Connections | None = None
    ) -> ITransactionJob | None:
        return self.find(sid, connections or current_connections())

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.schedule_call(f, args, kw, current_connections())

    def many(
        self,
        f: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.schedule_calls(
            f,
            normalised_calls(calls, self.max_bulk),
            current_connections(),
            spread=checked_spread(spread),
        )

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, connections)
        return None if job is None else job.view()

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid)
        return None if job is None else job.done

    def get_result(
        self, sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, connections)
        return None if job is None else job.fetch()

    def may_batch(self, sid: str) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`.

        In memory each job has a transaction of its own.
        """
        return False

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, connections)
        if job is not None:
            job.remove()

    def cancel(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, connections)
        return job is not None and job.cancel() is not None

    def retry(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._find(sid, connections)
        return job is not None and job.retry() is not None
