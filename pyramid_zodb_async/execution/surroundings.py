"""What surrounds a job that runs: its transaction and its connections."""

import abc
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import transaction
from transaction.interfaces import NoTransaction, TransientError

from ..database.connections import OpenedConnections
from ..database.storages import storage_failed
from ..interfaces import Connections, IRun
from ..transactional import TransactionManager

__all__ = [
    "OwnTransaction",
    "Surroundings",
    "SurroundingsFactory",
    "annotate",
    "bare_thread",
    "thread_transaction",
]


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
    def ensure_transaction(self) -> None:
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
SurroundingsFactory = Callable[[IRun], AbstractContextManager[Surroundings]]


class _BareThread(Surroundings):
    def ensure_transaction(self) -> None:
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


class OwnTransaction(Surroundings):
    """Surroundings whose run is one transaction, begun before it."""

    def ensure_transaction(self) -> None:
        """See :class:`Surroundings`."""
        # the job may have ended its transaction; an explicit manager has
        # none then
        try:
            self.transaction_manager.get()
        except NoTransaction:
            self.transaction_manager.begin()

    def may_repeat(self, error: BaseException) -> bool:
        """See :class:`Surroundings`."""
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
        annotate(TransactionManager.begin(manager), run)
        yield OwnTransaction(connections)


def annotate(current: Any, run: IRun) -> None:
    """Let the history of an object tell which job changed it."""
    if run.owner is not None:
        current.user = run.owner
    current.note(f"job {run.sid}, attempt {run.attempt}: {run.function}")
