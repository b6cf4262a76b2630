"""The request methods ``request.jobs``, ``job_url`` and ``accepted``."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from pyramid_tm import is_tm_active
from transaction import TransactionManager

from ..database.application import RequestConnections
from ..database.connections import ThreadConnections
from ..exceptions import UnknownJob
from ..interfaces import Connections
from ..jobs.model import JobView
from .authorization import is_open_to, is_operator, may
from .poll_pacing import SHORTEST
from .request_schedule import scheduler_of
from .resources import ROUTE, require_sid
from .status_document import status_response

__all__ = ["Jobs", "accepted", "job_url"]

T = TypeVar("T")


class Jobs:
    """``request.jobs``: the jobs that the request's user may see.

    A job is visible to the user who has scheduled it, to users with the
    permission that ``zodb_async.permission`` names, and to those that the
    application's :class:`~pyramid_zodb_async.interfaces.IJobAccess` allows.
    A job that was scheduled anonymously is visible to everyone who knows its
    sid. For other users it does not exist. The scheduler itself,
    ``request.registry.getUtility(IScheduler)``, has no such limits.

    Args:
        request: the request.
    """

    def __init__(self, request: Any) -> None:
        self._request = request

    @functools.cached_property
    def _connections(self) -> Connections:
        if hasattr(self._request, "tm"):
            return RequestConnections(self._request)
        return ThreadConnections()

    @functools.cached_property
    def are_all_open(self) -> bool:
        """Whether the user has the permission for the jobs of others."""
        return is_operator(self._request)

    def get(self, sid: str) -> JobView | None:
        """Return a view of the job.

        Persistent objects in its result are loaded through the request's
        connection.

        Args:
            sid: the sid of the job.

        Returns:
            The view, or ``None`` if there is no such job that the user may
            see.
        """
        return self._find(sid, "view")

    def glance(self, sid: str) -> JobView | None:
        """Return what :meth:`get` does, without the database if possible.

        That is possible if this process is to run the job and the user is its
        owner. What other processes do to the job may show half a second
        later.

        Args:
            sid: the sid of the job.

        Returns:
            The view, or ``None`` if there is no such job that the user may
            see.
        """
        view: JobView | None = scheduler_of(self._request).glance(sid)
        if view is not None and is_open_to(self._request, view):
            return view
        return self.get(sid)

    def completed(self, sid: str) -> bool | None:
        """Return whether the job has ended.

        Args:
            sid: the sid of the job.

        Returns:
            ``True`` or ``False``, or ``None`` if there is no such job that
            the user may see.
        """
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Fetch the outcome, and remove the job when the request commits.

        Args:
            sid: the sid of the job.

        Returns:
            The pair *value*, *exception*, one of which is ``None``; ``False``
            for a job that has not ended; ``None`` if there is no such job
            that the user may see and forget. See
            :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        view = self._find(sid, "view")
        if view is None:
            return None
        # An unfinished job is not removed, so the user need not be allowed
        # to forget it.
        if view.done and not may(self._request, view, "forget"):
            return None
        outcome: tuple[Any, BaseException | None] | bool | None = scheduler_of(
            self._request
        ).get_result(sid, self._connections)
        return outcome

    def remove(self, sid: str) -> None:
        """Remove the job, if it exists and the user may forget it.

        A waiting job does not run any more; a running one leaves no effects
        unless it is already committing. In memory this happens at once; in
        the database it is part of the request's transaction.

        Args:
            sid: the sid of the job.
        """
        if self._find(sid, "forget") is not None:
            scheduler_of(self._request).remove(sid, self._connections)

    def cancel(self, sid: str) -> bool:
        """Cancel a job that has not ended, so that it leaves no effects.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Args:
            sid: the sid of the job.

        Returns:
            Whether there is such a job, the user may cancel it, and it had
            not ended before.
        """
        return self._find(sid, "cancel") is not None and bool(
            scheduler_of(self._request).cancel(sid, self._connections)
        )

    def retry(self, sid: str) -> bool:
        """Have a failed job run again, with the same arguments.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Args:
            sid: the sid of the job.

        Returns:
            Whether there is such a job, the user may retry it, and it had
            failed.
        """
        return self._find(sid, "retry") is not None and bool(
            scheduler_of(self._request).retry(sid, self._connections)
        )

    def wait(self, sid: str, timeout: float | None = None) -> bool:
        """Wait in a script until the job has ended.

        To be called after ``with request.tm``, because the job runs after
        that commit. No transaction is open during the wait. If another
        process runs the job, this checks the database twice a second, or more
        often in the first second. :meth:`get` returns the outcome afterwards,
        in another transaction.

        Args:
            sid: the sid of the job.
            timeout: the longest wait, in seconds; ``None`` for no limit.

        Returns:
            Whether the job has ended in that time.

        Raises:
            UnknownJob: there is no such job that the user may see, or the
                transaction that scheduled it has not committed.
            RuntimeError: a view or a job has called this. During the wait its
                transaction would stay open, and a thread would be blocked.
        """
        if is_tm_active(self._request):
            raise RuntimeError(
                "request.jobs.wait() is for scripts: a view that waited would"
                " hold its transaction, and a thread of the server. Let the"
                " client ask for the job"
            )
        if not may(self._request, self._read_committed(sid), "view"):
            raise UnknownJob(
                f"There is no job {sid!r} that this request may see. Wait for"
                " it when its transaction is committed: after the block `with"
                " request.tm:`"
            )
        return bool(scheduler_of(self._request).wait(sid, timeout))

    def _read_committed(self, sid: str) -> JobView | None:
        """Return a view of a job that was committed, or ``None``."""
        scheduler = scheduler_of(self._request)
        # A scheduler in memory uses these connections. Through those of the
        # request it would also find a job that is scheduled, but whose
        # transaction has not committed.
        unrelated = ThreadConnections(TransactionManager())
        found: JobView | None = scheduler.in_own_transaction(
            lambda connections: scheduler.get(sid, connections),
            unrelated,
            "a look at a job",
        )
        return found

    def in_own_transaction(
        self, work: Callable[[Connections], T], note: str
    ) -> T:
        """Call *work* in a transaction other than that of the request.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        done: T = scheduler_of(self._request).in_own_transaction(
            work, self._connections, note
        )
        return done

    def _find(self, sid: str, action: str) -> JobView | None:
        """Return a view of a job, if the user may do *action* with it."""
        view: JobView | None = scheduler_of(self._request).get(
            sid, self._connections
        )
        return view if may(self._request, view, action) else None


def job_url(request: Any, sid: str) -> str:
    """Return the URL of a job's status document.

    It is called as ``request.job_url(sid)``.

    Args:
        request: the request, which determines the host and the scheme.
        sid: the sid of the job, which need not exist.

    Raises:
        TypeError: *sid* is no string.
    """
    require_sid(sid)
    url: str = request.route_url(ROUTE, sid=sid)
    return url


def accepted(request: Any, sid: str) -> Any:
    """Return the response to a request that has scheduled a job.

    It is called as ``request.accepted(sid)``. The response is a *202
    Accepted* with the job's URL as ``Location``, and the status document as
    JSON.

    Args:
        request: the request.
        sid: the sid of the job.

    Raises:
        UnknownJob: there is no such job, or the user may not see it.
    """
    view = request.jobs.get(sid)
    if view is None:
        raise UnknownJob(f"There is no job {sid!r} that this request may see")
    response = status_response(view, request, 202)
    response.location = request.job_url(sid)
    if not view.done:
        response.retry_after = SHORTEST
    return response
