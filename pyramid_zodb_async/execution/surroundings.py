"""What surrounds a job that runs: a bare thread, or a request of its own."""

import abc
import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import transaction
from pyramid.interfaces import IRequestFactory, IRootFactory
from pyramid.request import Request, apply_request_extensions
from pyramid.threadlocal import manager as threadlocals
from pyramid.traversal import DefaultRootFactory
from pyramid_tm import create_tm
from transaction.interfaces import NoTransaction, TransientError

from ..database.application import RequestConnections
from ..database.connections import Connections, OpenedConnections
from ..database.storages import storage_failed
from ..interfaces import IJobWrappers, IRun
from ..transactional import TransactionManager

__all__ = [
    "Environment",
    "RequestEnvironment",
    "Surroundings",
    "bare_thread",
    "thread_transaction",
]


log = logging.getLogger(__name__)


class Surroundings(abc.ABC):
    """The transaction and the connections of a job that runs."""

    #: Whether the call was loaded, so that the storage was there.
    has_loaded = False

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.transaction_manager = connections.transaction_manager

    def call(self, function: Callable[[], Any]) -> Any:
        """Call the job's function."""
        return function()

    @abc.abstractmethod
    def settle(self) -> None:
        """Have a transaction to record the job's success in."""

    @abc.abstractmethod
    def may_repeat(self, error: BaseException) -> bool:
        """Tell whether to run the job again because of *error*.

        To be asked before the transaction is aborted.
        """

    def met_outage(self, error: BaseException) -> bool:
        """Tell whether nothing but an absent storage is the cause of *error*.

        What a storage refuses that was there a moment ago may be the job's
        own doing, unless the storage says that it is not.
        """
        return storage_failed(error) and (
            not self.has_loaded or isinstance(error, TransientError)
        )


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


class _OwnTransaction(Surroundings):
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
            transient = isinstance(error, TransientError)
        else:
            transient = bool(current.isRetryableError(error))
        return transient or storage_failed(error)


@contextlib.contextmanager
def thread_transaction(run: IRun) -> Iterator[Surroundings]:
    """Surround a run with a transaction of the thread's manager.

    Functions that :func:`~pyramid_zodb_async.transactional` decorates join
    it.
    """
    manager = transaction.manager
    connections = OpenedConnections(manager)
    with contextlib.ExitStack() as cleaning:
        cleaning.callback(connections.close)
        cleaning.callback(manager.abort)
        _annotate(TransactionManager.begin(manager), run)
        yield _OwnTransaction(connections)


class _InRequest(_OwnTransaction):
    def __init__(self, request: Any) -> None:
        super().__init__(RequestConnections(request))
        self._request = request

    def call(self, function: Callable[[], Any]) -> Any:
        wrappers = self._request.registry.queryUtility(IJobWrappers) or ()
        for wrap in reversed(wrappers):
            function = functools.partial(wrap, self._request, function)
        return function()


class RequestEnvironment:
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
            _annotate(TransactionManager.begin(manager), run)
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
        except BaseException:
            log.exception(
                "A finished callback of %s failed.",
                request.path,
                extra={"action": "callback_failed"},
            )


def _cut(stack: list[Any], depth: int) -> None:
    del stack[depth:]
