"""The surroundings of a run in a Pyramid application: its own request."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import transaction
from pyramid.interfaces import IRequestFactory
from pyramid.request import Request
from pyramid.threadlocal import manager as threadlocals
from pyramid_tm import create_tm
from transaction.interfaces import NoTransaction

from ..concurrency.loggers import get_logger
from ..contracts import IRun
from ..database.application import RequestConnections, make_root
from ..database.begun_transactions import (
    IN_REQUEST,
    of_thread,
    watch_begins,
    watch_of,
)
from ..interfaces import IJobWrappers
from .job_request import Extender, blank_request, withhold_session
from .surroundings import OwnTransaction, Surroundings, begin_transaction

__all__ = [
    "InRequest",
    "RequestSurroundings",
    "abort",
    "find_root",
    "finish",
    "manager_of",
    "restore_threadlocals",
]

log = get_logger(__name__)


class InRequest(OwnTransaction):
    """The surroundings of a run that has a request."""

    def __init__(self, request: Any) -> None:
        super().__init__(RequestConnections(request))
        self._request = request

    def call(self, function: Callable[[], Any]) -> Any:
        """Call the job's function inside the application's job wrappers."""
        # from the last to the first, so that the first added is outermost
        wrappers = self._request.registry.queryUtility(IJobWrappers) or ()
        for wrap in reversed(wrappers):
            function = functools.partial(wrap, self._request, function)
        return function()


class RequestSurroundings:
    """A factory of surroundings with a request, as ``bootstrap`` makes one.

    The request is the current one of the thread. It has the registry, the
    request methods and the root of the application, and the URL that the
    application had in the request that scheduled the job, but no user and no
    session. The wrappers that ``config.add_job_wrapper()`` has added are
    called around the job's function. The transaction manager is the one that
    the application uses in requests, so ``tm.manager_hook`` counts. The run
    is one transaction; its owner, sid, attempt and function are recorded as
    the transaction's user and description.

    Args:
        registry: the registry of the application.
    """

    def __init__(self, registry: Any) -> None:
        self.registry = registry
        self.extend = Extender().extend

    @contextlib.contextmanager
    def __call__(self, run: IRun) -> Iterator[Surroundings]:
        """Surround *run* with a request and a transaction for the block.

        Args:
            run: the run that is about to begin.

        Returns:
            A context manager, whose value is the surroundings. At its end,
            what is not committed is aborted.
        """
        request = self.make_request(run)
        depth = len(threadlocals.stack)
        # by hand, which takes a fraction of the work of an ExitStack: the
        # transaction is aborted before finished callbacks close its
        # connections, and these may still use the current request
        try:
            # what pyramid.scripting.prepare() does, with a transaction in
            # between: tm.manager_hook may need the request methods of the
            # application, so these come before it; the root factory may need
            # a connection, which cannot load anything if it was opened
            # before the transaction of an explicit manager began
            threadlocals.push({"registry": self.registry, "request": request})
            self.extend(request)
            manager = manager_of(request)
            try:
                begin_transaction(manager, run)
                find_root(request)
                yield InRequest(request)
            finally:
                abort(request)
        finally:
            try:
                finish(request)
            finally:
                restore_threadlocals(threadlocals.stack, depth)

    def make_request(self, run: IRun) -> Any:
        """Return a new request, which knows the registry.

        Args:
            run: the run that it is for.
        """
        factory = self.registry.queryUtility(IRequestFactory, default=Request)
        try:
            request = blank_request(factory, run.sid, run.base_url)
        except ValueError:
            log.warning(
                "Job %s has no URL: its request had the bad one %r.",
                run.sid,
                run.base_url,
                extra={"action": "job_without_url", "sid": run.sid},
            )
            request = blank_request(factory, run.sid, None)
        request.registry = self.registry
        withhold_session(request)
        return request


def manager_of(request: Any) -> Any:
    """Return the transaction manager of a request, which knows it then.

    Args:
        request: the request.
    """
    manager = create_tm(request)
    # as the tween of pyramid_tm sets them: request.tm is the manager, and
    # subrequests see that there is a transaction already
    request.environ["tm.manager"] = manager
    request.environ["tm.active"] = True
    if of_thread.watch is None:
        watch_begins()
    known = manager.explicit or manager is transaction.manager
    request.environ[IN_REQUEST] = None if known else watch_of(manager)
    return manager


def find_root(request: Any) -> None:
    """Set ``request.context`` to the application's root, if not set.

    Args:
        request: the request, whose transaction has begun.
    """
    root = make_root(request)
    if getattr(request, "context", None) is None:
        request.context = root


def abort(request: Any) -> None:
    """Abort the current transaction, if there is one.

    Args:
        request: the request that has its manager.
    """
    # as pyramid_tm does: what finished callbacks schedule would be lost
    del request.environ["tm.active"]
    # after a commit, an explicit manager has no transaction and raises
    with contextlib.suppress(NoTransaction):
        request.environ.pop("tm.manager").abort()


def finish(request: Any) -> None:
    """Call all finished callbacks, also after one of them has failed.

    Args:
        request: the request, which is over.
    """
    # Pyramid would stop at the first that raises, and one of those left may be
    # the one by which pyramid_zodbconn closes the connection
    while request.finished_callbacks:
        try:
            request.finished_callbacks.popleft()(request)
        except BaseException:
            log.exception(
                "A finished callback of %s failed.",
                request.path,
                extra={"action": "callback_failed"},
            )


def restore_threadlocals(stack: list[Any], depth: int) -> None:
    """Remove what was pushed onto the stack, by us or by the job.

    Args:
        stack: the stack.
        depth: how many there were before.
    """
    del stack[depth:]
