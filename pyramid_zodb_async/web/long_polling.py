"""The tween that lets requests with ``Prefer: wait`` wait for a job."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IRoutesMapper

from ..contracts import IWaiter
from ..settings import ISettings
from .answer_headers import keep_cookies
from .resources import COLLECTION_ROUTE, ROUTE

__all__ = ["WaitRequest", "wait_for_change_factory", "wait_request_of"]

#: The key, in the environ of a subrequest, of its :class:`WaitRequest`;
#: ``None`` if the wait is over. In other requests there is no such key.
WAIT_REQUEST = "pyramid_zodb_async.wait_request"

#: One preference of RFC 7240: a token, its value, and parameters.
_WAIT = re.compile(
    r'\s*wait\s*=\s*(?:"\s*(\d+)\s*"|(\d+))\s*(?:;.*)?', re.IGNORECASE
)

#: How many preferences of a request are read.
MOST_PREFERENCES = 100

#: How often to check whether the client is still connected, in seconds.
LISTEN_INTERVAL = 1.0

#: A client whose request has waited at least this long, in seconds, need not
#: pause before its next request.
LEAST_PAUSE = 0.4


class WaitRequest:
    """What the tween and the view tell each other about one wait.

    The tween makes it for a request that asks to wait. The view registers a
    waiter in it, reads the jobs, and decides whether the request waits.
    """

    def __init__(self) -> None:
        #: The waiter for the jobs; ``None`` before :meth:`watch`.
        self.waiter: IWaiter | None = None
        self._seen: dict[str, int] | None = None
        self._has_new_progress = False

    def watch(self, scheduler: Any, sids: list[str]) -> None:
        """Have changes of the jobs noted from now on.

        To be called before the jobs are read: then no change between that and
        the wait is missed.

        Args:
            scheduler: the scheduler of the application.
            sids: the sids of the jobs.
        """
        self.waiter = scheduler.watch(sids)

    def allow_wait(
        self, seen: dict[str, int], *, has_new_progress: bool
    ) -> None:
        """Let the request wait for changes that are newer than *seen*.

        Args:
            seen: the versions that the view has read, by sid; of at least
                one job, and only of those that the client may see.
            has_new_progress: whether the client does not know the latest
                progress. It gets that as soon as the pace of progress allows,
                and not at once: otherwise a job that reports progress often
                would have each request answered at once, and none would be
                waiting when it ends.
        """
        self._seen = seen
        self._has_new_progress = has_new_progress

    def allowed_waiter(self) -> IWaiter | None:
        """Return the waiter, or ``None`` if the view allows no wait."""
        if self.waiter is None or self._seen is None:
            return None
        # all that were asked for were watched, before it was known which of
        # them the client may see
        self.waiter.limit(self._seen)
        self.waiter.seen = self._seen
        if self._has_new_progress:
            # of whichever: ends the wait as soon as the pace of progress
            # allows
            self.waiter.notify(next(iter(self._seen)), is_progress=True)
        return self.waiter


def wait_request_of(request: Any) -> WaitRequest | None:
    """Return the wait request that the tween has made for a view.

    Args:
        request: the request that the view gets.

    Returns:
        The wait request, or ``None`` if this request may not wait.
    """
    wait_request: WaitRequest | None = request.environ.get(WAIT_REQUEST)
    return wait_request


def wait_for_change_factory(
    handler: Callable[[Any], Any], registry: Any
) -> Callable[[Any], Any]:
    """Return a tween that lets requests for jobs wait.

    The tween is over that of pyramid_tm. It calls the view in a subrequest
    before the wait, and in another one after it. So during the wait no
    transaction and no connection is open.

    Args:
        handler: what handles the request below the tween.
        registry: the registry of the application.
    """
    settings = registry.getUtility(ISettings)
    # Each waiting request takes a thread of the server. When there are as many
    # as there may be, further requests are answered at once.
    waiting_requests = threading.BoundedSemaphore(settings.max_waiting)
    mapper = registry.getUtility(IRoutesMapper)

    def wait_for_change_tween(request: Any) -> Any:
        seconds = min(_preferred_wait(request), settings.max_wait)
        if not (
            seconds > 0
            # the key is in the subrequests below, which pass this tween again
            and WAIT_REQUEST not in request.environ
            and _is_for_jobs(request, mapper)
            # last, so that a permit is taken only by a request that may wait
            and waiting_requests.acquire(blocking=False)
        ):
            return handler(request)
        try:
            return _answer_after_wait(request, seconds)
        finally:
            waiting_requests.release()

    return wait_for_change_tween


def _preferred_wait(request: Any) -> int:
    """Return for how many seconds a request asks to wait; 0 for none."""
    if "HTTP_PREFER" not in request.environ or request.method != "GET":
        return 0
    # if a preference is given twice, RFC 7240 has the first one count
    preferences = request.headers["Prefer"].split(",", MOST_PREFERENCES)
    for preference in preferences[:MOST_PREFERENCES]:
        found = _WAIT.fullmatch(preference)
        if found:
            digits: str = found[1] or found[2]
            return int(digits[:9])
    return 0


def _is_for_jobs(request: Any, mapper: Any) -> bool:
    """Return whether the request is for the resource of one or more jobs."""
    try:
        route = mapper(request)["route"]
    except UnicodeDecodeError:
        return False  # the router will refuse this path as malformed
    return route is not None and route.name in {ROUTE, COLLECTION_ROUTE}


def _answer_after_wait(request: Any, seconds: float) -> Any:
    """Return the response of the view, after a wait if the view allows it."""
    # of this request itself, which tweens over this one may ask for its user;
    # those below have keep_cookies() of their own
    keep_cookies(request)
    wait_request = WaitRequest()
    waited = 0.0
    try:
        # The transaction of this subrequest ends with it, before the wait. A
        # later one sees what has changed during the wait.
        response = _call_view(request, wait_request)
        if waiter := wait_request.allowed_waiter():
            waited = _wait(request, waiter, seconds)
            response = _call_view(request, None)
    finally:
        if wait_request.waiter is not None:
            wait_request.waiter.close()
    if response.status_int in {200, 304}:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    if waited >= LEAST_PAUSE and "Retry-After" in response.headers:
        response.headers["Retry-After"] = "0"
    return response


def _wait(request: Any, waiter: IWaiter, seconds: float) -> float:
    """Wait for a change while the client is connected.

    Returns for how many seconds it has waited.
    """
    # Servers other than waitress do not set this. Then bool() returns False:
    # the client counts as connected.
    has_gone = request.environ.get("waitress.client_disconnected", bool)
    begin = time.monotonic()
    left = seconds
    while left > 0 and not has_gone():
        if waiter.wait(min(left, LISTEN_INTERVAL)):
            break
        left = begin + seconds - time.monotonic()
    return time.monotonic() - begin


def _call_view(request: Any, wait_request: WaitRequest | None) -> Any:
    """Return the response to a copy of the request.

    It passes the tweens, so it has its own transaction and connections.
    """
    subrequest = request.copy_get()
    subrequest.environ[WAIT_REQUEST] = wait_request
    return request.invoke_subrequest(subrequest, use_tweens=True)
