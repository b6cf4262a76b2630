"""What a request can do with jobs: schedule them, ask for them, show them."""

import functools
import logging
from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IRootFactory
from pyramid.traversal import DefaultRootFactory
from pyramid_tm import is_tm_active
from transaction import ThreadTransactionManager
from transaction.interfaces import TransientError

from .connections import Connections, ThreadConnections
from .current import current_job
from .exceptions import JobError, TransactionRequired, UnknownJob
from .interfaces import IScheduler
from .job import JobView
from .request_connections import RequestConnections
from .settings import ISettings
from .status import ROUTE, status_response

log = logging.getLogger(__name__)

__all__ = ["Jobs", "Schedule", "accepted", "job_url"]


class Schedule:
    """``request.schedule``: have a function called after the commit.

    It is part of the request's transaction: if that commits, the function
    runs; if not, there is no job.
    """

    def __init__(self, request: Any) -> None:
        self._request = request

    @functools.cached_property
    def _connections(self) -> Connections:
        return RequestConnections(self._request)

    def __call__(
        self, function: Callable[..., Any], /, *args: Any, **kw: Any
    ) -> str:
        """Schedule ``function(*args, **kw)``, and return the job's sid.

        Persistent objects may be arguments, and may sit in lists, tuples,
        dicts and sets at any depth: the job loads them through its own
        connection. The job belongs to ``request.authenticated_userid``.

        Raises:
            TypeError: *function* cannot be a job, or cannot be called so.
            ArgumentNotTransferable: an argument cannot cross threads.
            TransactionRequired: no transaction would commit the job.
            QueueFull: too many jobs are waiting.
        """
        request = self._request
        _require_transaction(request)
        connections = self._connections
        sid: str = _scheduler(request).schedule_call(
            function,
            args,
            kw,
            connections,
            owner=_owner(request),
            base_url=request.application_url,
        )
        return sid


class Jobs:
    """``request.jobs``: the jobs that the request's user may see.

    A job that a user scheduled is seen by that user and by holders of the
    permission that ``zodb_async.permission`` names; one that was scheduled
    anonymously by whoever knows its sid. To others it does not exist. The
    scheduler itself, ``request.registry.getUtility(IScheduler)``, knows no
    such limits.
    """

    def __init__(self, request: Any) -> None:
        self._request = request

    @functools.cached_property
    def _connections(self) -> Connections:
        if hasattr(self._request, "tm"):
            return RequestConnections(self._request)
        return ThreadConnections()

    def get(self, sid: str) -> JobView | None:
        """Tell what is known of the job, or ``None``.

        Persistent objects in its result are loaded through the request's
        connection.
        """
        view: JobView | None = _scheduler(self._request).get(
            sid, self._connections
        )
        return view if view and self._may_see(view) else None

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
        if self.get(sid) is None:
            return None
        outcome: tuple[Any, BaseException | None] | bool | None = _scheduler(
            self._request
        ).get_result(sid, self._connections)
        return outcome

    def remove(self, sid: str) -> None:
        """Forget the job at once, if it exists.

        A waiting job does not run any more; a running one leaves no effects
        unless it is already committing.
        """
        if self.get(sid) is not None:
            _scheduler(self._request).remove(sid, self._connections)

    def _may_see(self, view: JobView) -> bool:
        if view.owner is None or view.owner == _owner(self._request):
            return True
        registry = self._request.registry
        permission = registry.getUtility(ISettings).permission
        if permission is None:
            return False
        make_root = registry.queryUtility(
            IRootFactory, default=DefaultRootFactory
        )
        try:
            root = make_root(self._request)
            return bool(self._request.has_permission(permission, root))
        except TransientError:
            raise
        except Exception:
            # an error would tell that there is such a job
            log.exception(
                "Nobody can be asked who may see the jobs of others.",
                extra={"action": "permission_not_known"},
            )
            return False


def job_url(request: Any, sid: str) -> str:
    """``request.job_url(sid)``: the URL at which clients ask for a job."""
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
    response = status_response(view, request)
    response.status = 202
    response.location = request.job_url(sid)
    return response


def _scheduler(request: Any) -> Any:
    return request.registry.getUtility(IScheduler)


def _userid(request: Any) -> str | None:
    userid = request.authenticated_userid
    return None if userid is None else str(userid)


def _owner(request: Any) -> str | None:
    """Give the owner of what a request schedules, in a job the job's own."""
    try:
        return current_job().owner
    except JobError:
        return _userid(request)


def _require_transaction(request: Any) -> None:
    if not hasattr(request, "tm"):
        raise TransactionRequired(
            "request.schedule() needs a transaction that commits the job:"
            " config.include('pyramid_tm')"
        )
    manager = request.tm
    if isinstance(manager, ThreadTransactionManager):
        manager = manager.manager
    # there is no public question for whether there is a transaction: get()
    # makes one in an implicit manager, and nobody would commit it
    if manager._txn is None and (  # noqa: SLF001
        manager.explicit or not is_tm_active(request)
    ):
        raise TransactionRequired(
            "request.schedule() was called outside a transaction, so nothing"
            " would commit the job. Either pyramid_tm is not active for this"
            " request, or its transaction was ended before; in a script,"
            " schedule inside `with request.tm:`"
        )
