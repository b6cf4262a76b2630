"""What surrounds a job that runs: a bare thread, or a request of its own."""

import abc
import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import transaction
from pyramid.interfaces import IRequestFactory
from pyramid.request import Request, apply_request_extensions
from pyramid.scripting import prepare
from pyramid.threadlocal import manager as threadlocals
from pyramid_tm import create_tm
from transaction.interfaces import NoTransaction, TransientError

from .connections import Connections, OpenedConnections
from .interfaces import IRun
from .request_connections import RequestConnections
from .transactional import TransactionManager

__all__ = ["Environment", "RequestEnvironment", "Surroundings", "bare_thread"]


log = logging.getLogger(__name__)


class Surroundings(abc.ABC):
    """The transaction and the connections of a job that runs."""

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.transaction_manager = connections.transaction_manager

    @abc.abstractmethod
    def settle(self) -> None:
        """Have a transaction to record the job's success in."""

    @abc.abstractmethod
    def may_repeat(self, error: BaseException) -> bool:
        """Tell whether to run the job again because of *error*.

        To be asked before the transaction is aborted.
        """


#: Gives a run its surroundings, and clears them away afterwards.
Environment = Callable[[IRun], AbstractContextManager[Surroundings]]


class _BareThread(Surroundings):
    def settle(self) -> None:
        # what the function left uncommitted is aborted by this
        self.transaction_manager.begin()

    def may_repeat(self, error: BaseException) -> bool:
        return False


@contextlib.contextmanager
def bare_thread(run: IRun) -> Iterator[Surroundings]:  # noqa: ARG001
    """Surround a run with nothing but the thread's transaction manager.

    The function sees to its transactions by itself; what it did not commit
    when it returns is aborted.
    """
    manager = transaction.manager
    connections = OpenedConnections(manager)
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(connections.close)
        cleaning.callback(manager.abort)
        manager.begin()
        yield _BareThread(connections)


class _OwnRequest(Surroundings):
    def settle(self) -> None:
        # the job may have ended its transaction; an explicit manager has
        # none then
        try:
            self.transaction_manager.get()
        except NoTransaction:
            self.transaction_manager.begin()

    def may_repeat(self, error: BaseException) -> bool:
        try:
            current = self.transaction_manager.get()
        except NoTransaction:
            return isinstance(error, TransientError)
        return bool(current.isRetryableError(error))


class RequestEnvironment:
    """Surrounds a run with a request of its own, as ``bootstrap`` has it.

    It is the current request of the thread; it has the application's
    registry, request methods, root, and URL as of the request that
    scheduled, but no user and no session. Its transaction manager is the one
    that the application uses, ``tm.manager_hook`` included. The whole run
    is one transaction, which notes the owner, the sid, the attempt and the
    function.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    @contextlib.contextmanager
    def __call__(self, run: IRun) -> Iterator[Surroundings]:
        """Give *run* its surroundings."""
        request = self._make_request(run)
        # the application's tm.manager_hook may need its request methods
        apply_request_extensions(request)
        manager = create_tm(request)
        request.environ["tm.manager"] = manager
        request.environ["tm.active"] = True
        depth = len(threadlocals.stack)
        with contextlib.ExitStack() as cleaning:
            cleaning.callback(_cut, threadlocals.stack, depth)
            cleaning.callback(_finish, request)
            cleaning.callback(_abort, manager)
            # a connection opened outside a transaction of an explicit
            # manager cannot load, and a root factory may want to
            _annotate(TransactionManager.begin(manager), run)
            prepare(request=request, registry=self._registry)
            yield _OwnRequest(RequestConnections(request))

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


def _annotate(current: Any, run: IRun) -> None:
    """Let the history of an object tell which job changed it."""
    if run.owner is not None:
        current.user = run.owner
    current.note(f"job {run.sid}, attempt {run.attempt}: {run.function}")


def _abort(manager: Any) -> None:
    # an explicit manager has nothing to abort after a commit
    with contextlib.suppress(NoTransaction):
        manager.abort()


def _finish(request: Any) -> None:
    while request.finished_callbacks:  # one that raises keeps none waiting
        try:
            request._process_finished_callbacks()  # noqa: SLF001 - as prepare()
        except Exception:
            log.exception(
                "A finished callback of %s failed.",
                request.path,
                extra={"action": "callback_failed"},
            )


def _cut(stack: list[Any], depth: int) -> None:
    # prepare() leaves its entry behind when it raises
    del stack[depth:]
