"""Lets requests wait for a job to change, as ``Prefer: wait`` asks."""

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IRoutesMapper

from ..interfaces import IWaiter
from ..jobs.model import Version
from ..settings import ISettings
from .resources import COLLECTION_ROUTE, ROUTE

__all__ = ["WaitRequest", "wait_for_change_factory", "wait_request_of"]

#: Where the view finds the wish, and a second look finds that it had one.
WISH = "pyramid_zodb_async.wish"

#: One preference of RFC 7240: a token, its value, and parameters.
_WAIT = re.compile(
    r'\s*wait\s*=\s*(?:"\s*(\d+)\s*"|(\d+))\s*(?:;.*)?', re.IGNORECASE
)

#: How often to see whether the client is still there, in seconds.
LISTEN_INTERVAL = 1.0

#: A client that has waited for so long, in seconds, need not pause as well.
LEAST_PAUSE = 0.4


class WaitRequest:
    """What a request that would wait says to the view, and the view to it."""

    def __init__(self) -> None:
        self.watch: IWaiter | None = None
        self._seen: dict[str, Version] | None = None
        self._has_news = False

    def begin(self, scheduler: Any, sids: list[str]) -> None:
        """Miss nothing from now on; the view looks at the jobs after it."""
        self.watch = scheduler.watch(sids)

    def grant(
        self, seen: dict[str, Version], *, has_new_progress: bool
    ) -> None:
        """Let the request wait for what is new beyond what was seen.

        With *has_new_progress* the client does not know of some progress, and
        is told of it as soon as the pace allows. Else a job that tells of its
        progress often would have each request answered at once, and none
        waiting when it ends.
        """
        self._seen = seen
        self._has_news = has_new_progress

    def begin_waiting(self) -> IWaiter | None:
        """Give what to wait at, if the view lets the request wait."""
        if self.watch is None or self._seen is None:
            return None
        self.watch.seen = self._seen
        if self._has_news:
            self.watch.notify(is_progress=True)
        return self.watch


def wait_request_of(request: Any) -> WaitRequest | None:
    """Give the wish of a request to wait, if it may."""
    wish: WaitRequest | None = request.environ.get(WISH)
    return wish


def wait_for_change_factory(
    handler: Callable[[Any], Any], registry: Any
) -> Callable[[Any], Any]:
    """Make a tween that lets requests for jobs wait.

    It is over pyramid_tm's, and asks the view before the wait and after it
    by requests of their own. So no transaction goes on meanwhile, and no
    connection is open.
    """
    settings = registry.getUtility(ISettings)
    places = threading.BoundedSemaphore(settings.max_waiting)
    mapper = registry.getUtility(IRoutesMapper)

    def wait_for_change_tween(request: Any) -> Any:
        seconds = min(_asked_for(request), settings.max_wait)
        if not (
            seconds > 0
            and WISH not in request.environ
            and _is_ours(request, mapper)
            and places.acquire(blocking=False)
        ):
            return handler(request)
        try:
            return _answer(request, seconds)
        finally:
            places.release()

    return wait_for_change_tween


def _asked_for(request: Any) -> int:
    """Give the seconds that a request would wait; 0 if it would not."""
    if "HTTP_PREFER" not in request.environ or request.method != "GET":
        return 0
    # of a preference that is given twice, the first counts
    for preference in request.headers["Prefer"].split(","):
        found = _WAIT.fullmatch(preference)
        if found:
            digits: str = found[1] or found[2]
            return int(digits[:9])
    return 0


def _is_ours(request: Any, mapper: Any) -> bool:
    try:
        route = mapper(request)["route"]
    except UnicodeDecodeError:
        return False
    return route is not None and route.name in {ROUTE, COLLECTION_ROUTE}


def _answer(request: Any, seconds: float) -> Any:
    wish = WaitRequest()
    waited = 0.0
    try:
        response = _ask(request, wish)
        if granted := wish.begin_waiting():
            waited = _wait(request, granted, seconds)
            response = _ask(request, None)
    finally:
        if wish.watch is not None:
            wish.watch.close()
    if response.status_int in {200, 304}:
        response.headers["Preference-Applied"] = f"wait={seconds:g}"
    if waited >= LEAST_PAUSE and "Retry-After" in response.headers:
        response.headers["Retry-After"] = "0"
    return response


def _wait(request: Any, watch: IWaiter, seconds: float) -> float:
    """Wait as long as there is somebody who does; for how many seconds."""
    has_gone = request.environ.get("waitress.client_disconnected", bool)
    begin = time.monotonic()
    left = seconds
    while left > 0 and not has_gone():
        if watch.wait(min(left, LISTEN_INTERVAL)):
            break
        left = begin + seconds - time.monotonic()
    return time.monotonic() - begin


def _ask(request: Any, wish: WaitRequest | None) -> Any:
    """Ask the view by a request of its own."""
    question = request.copy_get()
    question.environ[WISH] = wish
    return request.invoke_subrequest(question, use_tweens=True)
