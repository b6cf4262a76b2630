"""What ``request.jobs`` is, and how an answer tells of a job."""

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
from .resources import ROUTE, require_sid
from .schedule import scheduler_of
from .status_document import status_response

__all__ = ["Jobs", "accepted", "job_url"]

T = TypeVar("T")


class Jobs:
    """``request.jobs``: the jobs that the request's user may see.

    A job that a user scheduled is seen by that user, by holders of the
    permission that ``zodb_async.permission`` names, and by whom the
    application's :class:`~pyramid_zodb_async.interfaces.IJobAccess` lets; one
    that was scheduled anonymously by whoever knows its sid. To others it does
    not exist. The scheduler itself,
    ``request.registry.getUtility(IScheduler)``, knows no such limits.
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
        """Tell what is known of the job, or ``None``.

        Persistent objects in its result are loaded through the request's
        connection.
        """
        return self._find(sid, "view")

    def glance(self, sid: str) -> JobView | None:
        """Do the same, without the database where that is possible.

        It is where the user is the owner, and this process is to run the
        job. What other processes do to the job may show half a second later.
        """
        view: JobView | None = scheduler_of(self._request).glance(sid)
        if view is not None and is_open_to(self._request, view):
            return view
        return self.get(sid)

    def completed(self, sid: str) -> bool | None:
        """``None``, ``False``, ``True``: unknown, unfinished, finished."""
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Fetch the outcome, and forget it when the request's commits.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        view = self._find(sid, "view")
        if view is None:
            return None
        if view.done and not may(self._request, view, "forget"):
            return None
        outcome: tuple[Any, BaseException | None] | bool | None = scheduler_of(
            self._request
        ).get_result(sid, self._connections)
        return outcome

    def remove(self, sid: str) -> None:
        """Forget the job, if it exists.

        A waiting job does not run any more; a running one leaves no effects
        unless it is already committing. In memory that is so at once; in the
        database it is part of the request's transaction.
        """
        if self._find(sid, "forget") is not None:
            scheduler_of(self._request).remove(sid, self._connections)

    def cancel(self, sid: str) -> bool:
        """End a job that has not ended; it leaves no effects.

        Returns whether it had not. See
        :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._find(sid, "cancel") is not None and bool(
            scheduler_of(self._request).cancel(sid, self._connections)
        )

    def retry(self, sid: str) -> bool:
        """Have a failed job run again, with the arguments that it had.

        Returns whether it was one. See
        :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        return self._find(sid, "retry") is not None and bool(
            scheduler_of(self._request).retry(sid, self._connections)
        )

    def wait(self, sid: str, timeout: float | None = None) -> bool:
        """Wait until the job has ended, in a script.

        To be called when ``with request.tm`` is over: the job runs after
        that commit. No transaction is held. Where another process runs the
        job, this looks at the database twice a second, or more often in the
        first second. What came of the job is told by :meth:`get`, in another
        transaction.

        Returns whether it has ended within *timeout* seconds.

        Raises:
            UnknownJob: there is no such job that the user may see; its
                transaction may not be committed.
            RuntimeError: a view or a job has asked, which would hold its
                transaction, and a thread of the server.
        """
        if is_tm_active(self._request):
            raise RuntimeError(
                "request.jobs.wait() is for scripts: a view that waited would"
                " hold its transaction, and a thread of the server. Let the"
                " client ask for the job"
            )
        if not may(self._request, self._look(sid), "view"):
            raise UnknownJob(
                f"There is no job {sid!r} that this request may see. Wait for"
                " it when its transaction is committed: after the block `with"
                " request.tm:`"
            )
        return bool(scheduler_of(self._request).wait(sid, timeout))

    def _look(self, sid: str) -> JobView | None:
        """Tell what is known of a job that was committed."""
        scheduler = scheduler_of(self._request)
        nobodys = ThreadConnections(TransactionManager())
        found: JobView | None = scheduler.in_own_transaction(
            lambda connections: scheduler.get(sid, connections),
            nobodys,
            "a look at a job",
        )
        return found

    def in_own_transaction(
        self, work: Callable[[Connections], T], note: str
    ) -> T:
        """Do *work* in a transaction beside the request's.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.
        """
        done: T = scheduler_of(self._request).in_own_transaction(
            work, self._connections, note
        )
        return done

    def _find(self, sid: str, action: str) -> JobView | None:
        view: JobView | None = scheduler_of(self._request).get(
            sid, self._connections
        )
        return view if may(self._request, view, action) else None


def job_url(request: Any, sid: str) -> str:
    """``request.job_url(sid)``: the URL at which clients ask for a job.

    Raises:
        TypeError: *sid* is no string.
    """
    require_sid(sid)
    url: str = request.route_url(ROUTE, sid=sid)
    return url


def accepted(request: Any, sid: str) -> Any:
    """``request.accepted(sid)``: the answer to a request that made a job.

    It is a *202 Accepted* with the job's URL as ``Location``, and the status
    document as JSON.

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
