"""Surrounds a job with a request of its own, in a Pyramid application."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

from pyramid.interfaces import IRequestFactory, IRootFactory
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import manager as threadlocals
from pyramid.traversal import DefaultRootFactory
from pyramid_tm import create_tm
from transaction.interfaces import NoTransaction

from ..database.application import RequestConnections
from ..interfaces import IJobWrappers, IRun
from ..transactional import TransactionManager
from .surroundings import OwnTransaction, Surroundings, annotate

__all__ = ["RequestSurroundings"]

log = logging.getLogger(__name__)


class _InRequest(OwnTransaction):
    def __init__(self, request: Any) -> None:
        super().__init__(RequestConnections(request))
        self._request = request

    def call(self, function: Callable[[], Any]) -> Any:
        wrappers = self._request.registry.queryUtility(IJobWrappers) or ()
        for wrap in reversed(wrappers):
            function = functools.partial(wrap, self._request, function)
        return function()


class RequestSurroundings:
    """Surrounds a run with a request of its own, as ``bootstrap`` has it.

    It is the current request of the thread; it has the application's
    registry, request methods, root, and URL as of the request that
    scheduled, but no user and no session. The wrappers that were added by
    ``config.add_job_wrapper()`` are around the call of the function. Its
    transaction manager is the one that the application uses,
    ``tm.manager_hook`` included. The whole run is one transaction, which
    notes the owner, the sid, the attempt and the function.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    @contextlib.contextmanager
    def __call__(self, run: IRun) -> Iterator[Surroundings]:
        """Give *run* its surroundings."""
        request = self._make_request(run)
        depth = len(threadlocals.stack)
        with contextlib.ExitStack() as cleaning:
            cleaning.callback(_cut, threadlocals.stack, depth)
            cleaning.callback(_finish, request)
            # what prepare() does, in another order and once: the
            # application's tm.manager_hook may need its request methods, and
            # its root factory a connection, which cannot load anything if it
            # was opened before an explicit manager's transaction began
            threadlocals.push({"registry": self._registry, "request": request})
            apply_request_extensions(request)
            manager = create_tm(request)
            request.environ["tm.manager"] = manager
            request.environ["tm.active"] = True
            cleaning.callback(_abort, manager)
            annotate(TransactionManager.begin(manager), run)
            self._find_root(request)
            yield _InRequest(request)

    def _find_root(self, request: Any) -> None:
        make_root = self._registry.queryUtility(
            IRootFactory, default=DefaultRootFactory
        )
        root = make_root(request)
        if getattr(request, "context", None) is None:
            request.context = root

    def _make_request(self, run: IRun) -> Any:
        factory = self._registry.queryUtility(IRequestFactory, default=Request)
        path = f"/jobs/{run.sid}"
        try:
            request = factory.blank(path, base_url=run.base_url)
        except ValueError:
            log.warning(
                "Job %s has no URL: its request had the bad one %r.",
                run.sid,
                run.base_url,
                extra={"action": "job_without_url", "sid": run.sid},
            )
            request = factory.blank(path)
        request.registry = self._registry
        return request


def _abort(manager: Any) -> None:
    # an explicit manager has nothing to abort after a commit
    with contextlib.suppress(NoTransaction):
        manager.abort()


def _finish(request: Any) -> None:
    while request.finished_callbacks:  # one that raises keeps none waiting
        try:
            request._process_finished_callbacks()  # noqa: SLF001 - as prepare()
        except BaseException:
            log.exception(
                "A finished callback of %s failed.",
                request.path,
                extra={"action": "callback_failed"},
            )


def _cut(stack: list[Any], depth: int) -> None:
    del stack[depth:]
