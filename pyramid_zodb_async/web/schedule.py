"""What ``request.schedule`` is: it has a function called after the commit."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from pyramid_tm import is_tm_active
from transaction import ThreadTransactionManager

from ..database.application import RequestConnections
from ..exceptions import TransactionRequired
from ..interfaces import Connections, IScheduler
from ..jobs.given_options import NONE_GIVEN, merged
from ..jobs.option_checks import checked
from .authorization import owner_of

__all__ = ["Schedule", "scheduler_of"]


def scheduler_of(request: Any) -> Any:
    """Return the scheduler of the application that *request* is for."""
    return request.registry.getUtility(IScheduler)


class Schedule:
    """``request.schedule``: have a function called after the commit.

    It is part of the request's transaction: if that commits, the function
    runs; if not, there is no job.
    """

    def __init__(
        self, request: Any, options: Mapping[str, Any] = NONE_GIVEN
    ) -> None:
        self._request = request
        self._options = options

    @functools.cached_property
    def _connections(self) -> Connections:
        return RequestConnections(self._request)

    def with_options(self, **options: Any) -> "Schedule":
        """Give what schedules jobs with these options.

        ``request.schedule.with_options(delay=60)(remind, user)``. They are
        those of :func:`~pyramid_zodb_async.job`, and go before what the
        function has of it; ``None`` is as if neither had said anything. One
        more is *at*, an aware ``datetime``: when the job is to run, in place
        of *delay*.

        Raises:
            TypeError: there is no such option, or its value is of a wrong
                type.
            ValueError: the value is of that type, but makes no sense.
        """
        return Schedule(self._request, merged(self._options, checked(options)))

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
        sid: str = scheduler_of(request).schedule_call(
            function,
            args,
            kw,
            connections,
            owner=owner_of(request),
            base_url=request.application_url,
            options=self._options,
        )
        return sid


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
