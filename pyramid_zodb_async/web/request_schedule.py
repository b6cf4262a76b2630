"""The request method ``request.schedule``, which schedules jobs."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pyramid.request import Request
from pyramid_tm import is_tm_active
from transaction.interfaces import NoTransaction

from ..database.application import RequestConnections
from ..database.begun_transactions import IN_REQUEST, was_begun
from ..exceptions import TransactionRequired
from ..interfaces import Connections, IScheduler
from ..jobs.bulk import normalised_calls
from ..jobs.given_options import NONE_GIVEN, merged
from ..jobs.option_checks import checked, checked_spread
from .authorization import owner_of

__all__ = ["Schedule"]


class Schedule:
    """``request.schedule``: schedules a call of a function as a job.

    The job is part of the request's transaction: if that commits, the
    function is called afterwards; if not, there is no job.

    Args:
        request: the request.
        options: the options of the jobs, as ``checked`` returns them.
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
        """Return an object that schedules jobs with some options.

        It is called like this one:
        ``request.schedule.with_options(delay=60)(remind, user)``.

        Args:
            options: the options of :func:`~pyramid_zodb_async.job`. They take
                precedence over those of the function; ``None`` stands for the
                default, also if the function has another value. A further
                option is *at*, an aware ``datetime``: when the job is to run,
                instead of *delay*.

        Raises:
            TypeError: there is no such option, or its value is of a wrong
                type.
            ValueError: the value is of the right type, but not allowed.
        """
        return Schedule(self._request, merged(self._options, checked(options)))

    def __call__(
        self, function: Callable[..., Any], /, *args: Any, **kw: Any
    ) -> str:
        """Schedule ``function(*args, **kw)``, and return the job's sid.

        Persistent objects may be arguments, and may be in lists, tuples,
        dicts and sets at any depth: the job loads them through its own
        connection, as the request has committed them. Plain values are taken
        as they are now: a list that is filled after this call is not filled
        for the job. The owner of the job is ``request.authenticated_userid``.

        Args:
            function: what the job calls.
            args: its positional arguments.
            kw: its named arguments.

        Raises:
            TypeError: *function* cannot be a job, or cannot be called with
                these arguments; or the userid has no text.
            ArgumentNotTransferable: an argument cannot go to another thread.
            TransactionRequired: there is no transaction that would commit the
                job.
            QueueFull: too many jobs wait.
        """
        request = self._request
        _require_transaction(request)
        connections = self._connections
        sid: str = request.registry.getUtility(IScheduler).schedule_call(
            function,
            args,
            kw,
            connections,
            owner=owner_of(request),
            base_url=_application_url(request),
            options=self._options,
        )
        return sid

    def many(
        self,
        function: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """Schedule many calls of *function*, and return the jobs' sids.

        All are scheduled or, if this raises, none. It takes much less time
        than to schedule them one by one.

        Args:
            function: what the jobs call.
            calls: the calls; an iterable, which may be a generator and is
                iterated over once. Each call is a tuple of positional
                arguments, or a pair of such a tuple and a dict of named ones.
                So two arguments of which the first is a tuple and the second
                a dict have to be written ``((first, second), {})``.
            spread: the time over which the beginnings of the jobs are spread
                evenly, in seconds or as a ``timedelta``. The first begins at
                once, or when the options *delay* or *at* say.

        Returns:
            The sids in the order of the calls, as a sequence that cannot be
            changed.

        Raises:
            TypeError: *function* cannot be a job, or a call is none or does
                not fit; the text has the index of the call, from 0.
            ValueError: *spread* is negative, or more than a thousand years.
            ArgumentNotTransferable: an argument cannot go to another thread;
                the text has the index of its call.
            TransactionRequired: there is no transaction that would commit the
                jobs.
            BulkTooLarge: there are more calls than the setting
                ``zodb_async.max_bulk`` allows.
            QueueFull: too many jobs wait in memory.
            Exception: whatever *calls* raises.
        """
        request = self._request
        seconds = checked_spread(spread)
        _require_transaction(request)
        scheduler = request.registry.getUtility(IScheduler)
        sids: Sequence[str] = scheduler.schedule_calls(
            function,
            normalised_calls(calls, scheduler.max_bulk),
            self._connections,
            owner=owner_of(request),
            base_url=_application_url(request),
            options=self._options,
            spread=seconds,
        )
        return sids


def _application_url(request: Any) -> Any:
    """Return ``request.application_url``, which is seldom made anew."""
    kind: Any = type(request)
    if (
        getattr(kind, "application_url", None) is Request.application_url
        and kind.host_url is Request.host_url
        and kind.script_name is Request.script_name
        and kind.url_encoding is Request.url_encoding
    ):
        return _url_of(*map(request.environ.get, _PARTS_OF_URL))
    return request.application_url  # the application has one of its own


#: What WebOb makes the URL of an application of.
_PARTS_OF_URL = (
    "wsgi.url_scheme",
    "HTTP_HOST",
    "SERVER_NAME",
    "SERVER_PORT",
    "SCRIPT_NAME",
    "webob.url_encoding",
)


# bounded, since a client says what the host is
@functools.lru_cache(maxsize=256)
def _url_of(*parts: str | None) -> str:
    """Return the URL of the application for these parts of an environ."""
    given = zip(_PARTS_OF_URL, parts, strict=True)
    environ = {name: part for name, part in given if part is not None}
    url: str = Request(environ).application_url
    return url


def _require_transaction(request: Any) -> None:
    """Raise an error if no transaction would commit a job of the request."""
    if not hasattr(request, "tm"):
        raise TransactionRequired(
            "request.schedule() needs a transaction that commits the job:"
            " config.include('pyramid_tm')"
        )
    if not _will_commit(request, request.tm):
        raise TransactionRequired(
            "request.schedule() was called outside a transaction, so nothing"
            " would commit the job. Either pyramid_tm is not active for this"
            " request, or its transaction was ended before, as in a response"
            " callback; there, and in a script, schedule inside `with"
            " request.tm:`"
        )


def _will_commit(request: Any, manager: Any) -> bool:
    """Return whether there is a transaction that somebody is to commit."""
    if is_tm_active(request) and not manager.explicit:
        return True  # begins a transaction when it is asked for one
    if not has_transaction(manager):
        return False
    # In a request that pyramid_tm has done with, or does nothing for, a
    # transaction that nobody has begun is one that nobody commits. A script
    # may leave the begin to the manager.
    return (
        manager.explicit
        or IN_REQUEST not in request.environ
        or was_begun(manager, request.environ[IN_REQUEST])
    )


def has_transaction(manager: Any) -> bool:
    """Return whether a transaction manager has a transaction, and begin none.

    Args:
        manager: the transaction manager.
    """
    if manager.explicit:
        try:
            manager.get()
        except NoTransaction:
            return False
        return True
    # get() would begin one, which nothing would commit
    witness = _Witness()
    manager.registerSynch(witness)
    manager.unregisterSynch(witness)
    return witness.has_seen_one


class _Witness:
    """A synchronizer that sees whether it is added during a transaction."""

    has_seen_one = False

    def newTransaction(self, _transaction: Any) -> None:  # noqa: N802 - the interface's name
        self.has_seen_one = True
