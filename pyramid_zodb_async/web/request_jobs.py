"""The request methods ``request.jobs``, ``job_url`` and ``accepted``."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from pyramid_tm import is_tm_active
from transaction import TransactionManager

from ..contracts import ITransactionJob
from ..database.application import RequestConnections
from ..database.connections import ThreadConnections
from ..exceptions import UnknownJob
from ..interfaces import Connections, IScheduler
from ..jobs.bulk import Sids
from ..jobs.model import JobView, may_be_sid
from .authorization import Asker, is_operator, may
from .poll_pacing import SHORTEST
from .request_schedule import has_transaction
from .resources import make_job_path, make_job_url
from .status_document import localized, status_response

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
        self._scheduler = request.registry.getUtility(IScheduler)

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
        connection. Texts that were translation strings are in the language of
        the request.

        Args:
            sid: the sid of the job.

        Returns:
            The view, or ``None`` if there is no such job that the user may
            see.
        """
        job = self._find(sid, "view")
        return None if job is None else localized(job.view(), self._request)

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
        if not may_be_sid(sid):
            return None
        asker = Asker(self._request)
        view: JobView | None = self._scheduler.glance(sid, asker.owns)
        if view is not None:
            return localized(view, self._request)
        job = self._find(sid, "view", asker)
        return None if job is None else localized(job.view(), self._request)

    def completed(self, sid: str) -> bool | None:
        """Return whether the job has ended.

        Args:
            sid: the sid of the job.

        Returns:
            ``True`` or ``False``, or ``None`` if there is no such job that
            the user may see.
        """
        job = self._find(sid, "view")
        return None if job is None else job.done

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
        job = self._find(sid, "view")
        if job is None:
            return None
        # An unfinished job is not removed, so the user need not be allowed
        # to forget it.
        if job.done and not may(self._request, job, "forget"):
            return None
        return job.fetch()

    def remove(self, sid: str) -> None:
        """Remove the job, if it exists and the user may forget it.

        A waiting job does not run any more; a running one leaves no effects
        unless it is already committing. In memory this happens at once; in
        the database it is part of the request's transaction.

        Args:
            sid: the sid of the job.
        """
        job = self._find(sid, "forget")
        if job is not None:
            job.remove()

    def cancel(self, sid: str) -> bool:
        """Cancel a job that has not ended, so that it leaves no effects.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Args:
            sid: the sid of the job.

        Returns:
            Whether there is such a job, the user may cancel it, and it had
            not ended before.
        """
        job = self._find(sid, "cancel")
        return job is not None and job.cancel() is not None

    def retry(self, sid: str) -> bool:
        """Have a failed job run again, with the same arguments.

        See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Args:
            sid: the sid of the job.

        Returns:
            Whether there is such a job, the user may retry it, and it had
            failed, or was undone.
        """
        job = self._find(sid, "retry")
        return job is not None and job.retry() is not None

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
            UnknownJob: there is no such job that the user may see.
            RuntimeError: the transaction that schedules the job has not
                committed; or a view or a job has called this, whose
                transaction would stay open during the wait, and a thread
                would be blocked.
        """
        if is_tm_active(self._request):
            raise RuntimeError(
                "request.jobs.wait() is for scripts: a view that waited would"
                " hold its transaction, and a thread of the server. Let the"
                " client ask for the job"
            )
        if not (may_be_sid(sid) and self._may_view_committed(sid)):
            self._refuse_wait(sid)
        try:
            return bool(self._scheduler.wait(sid, timeout))
        except UnknownJob:
            return True  # it was forgotten since this call has seen it

    def _refuse_wait(self, sid: str) -> None:
        """Raise the error for a job that cannot be waited for."""
        if has_transaction(self._connections.transaction_manager) and (
            self._find(sid, "view") is not None
        ):
            raise RuntimeError(
                f"The transaction that schedules the job {sid} has not"
                " committed. Wait for the job after that: after the block"
                " `with request.tm:`"
            )
        raise UnknownJob(f"There is no job {sid!r} that this request may see")

    def _may_view_committed(self, sid: str) -> bool:
        """Return whether the user may see a job that was committed."""
        # A scheduler in memory uses these connections. Through those of the
        # request it would also find a job that is scheduled, but whose
        # transaction has not committed.
        unrelated = ThreadConnections(TransactionManager())
        found: bool = self._scheduler.in_own_transaction(
            lambda connections: may(
                self._request, self._scheduler.find(sid, connections), "view"
            ),
            lambda: unrelated,
            "a look at a job",
        )
        return found

    def in_own_transaction(
        self, work: Callable[[Connections], T], note: str
    ) -> T:
        """Call *work* in a transaction other than that of the request.

        See :class:`~pyramid_zodb_async.contracts.ISchedulerCore`.
        """
        done: T = self._scheduler.in_own_transaction(
            work, lambda: self._connections, note
        )
        return done

    def _find(
        self, sid: str, action: str, asker: Asker | None = None
    ) -> ITransactionJob | None:
        """Return a job, if the user may do *action* with it."""
        if not may_be_sid(sid):
            return None
        job: ITransactionJob | None = self._scheduler.find(
            sid, self._connections
        )
        return job if may(self._request, job, action, asker) else None


def job_url(request: Any, sid: str) -> str:
    """Return the URL of a job's status document.

    It is called as ``request.job_url(sid)``, and absolute, so that it can go
    into a mail.

    Args:
        request: the request, which determines the host and the scheme.
        sid: the sid of the job, which need not exist.

    Raises:
        TypeError: *sid* is no string.
    """
    return make_job_url(request, sid)


def accepted(request: Any, sid: str) -> Any:
    """Return the response to a request that has scheduled a job.

    It is called as ``request.accepted(sid)``. The response is a *202
    Accepted* with the status document as JSON. Its ``Location`` is the path
    of the job's URL: behind a proxy, that leads to the job whatever the proxy
    made of the host.

    Args:
        request: the request.
        sid: the sid of the job.

    Raises:
        UnknownJob: there is no such job, or the user may not see it.
        TypeError: these are the sids of many jobs.
    """
    if isinstance(sid, Sids):
        raise TypeError(
            f"request.accepted() answers with one job, and {sid!r} are the"
            " sids of many jobs: accept one of them, or answer with"
            " list(sids) as JSON"
        )
    view = request.jobs.get(sid)
    if view is None:
        raise UnknownJob(f"There is no job {sid!r} that this request may see")
    response = status_response(view, request, 202)
    response.location = make_job_path(request, sid)
    if not view.done:
        response.retry_after = SHORTEST
    return response
