"""The surroundings of a run: its transaction and its connections."""

import abc
import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import transaction
from transaction.interfaces import NoTransaction, TransientError
from ZODB.DB import DB

from ..contracts import IRun
from ..database.commits import LONGEST_NOTE, may_have_committed
from ..database.connections import OpenedConnections
from ..database.internals import participants_of
from ..database.joinable_transactions import begin_joinable
from ..database.storages import disk_is_full, storage_failed
from ..interfaces import Connections
from ..jobs.exception_groups import is_of

__all__ = [
    "OwnTransaction",
    "Surroundings",
    "SurroundingsFactory",
    "bare_thread",
    "begin_transaction",
    "note_of",
    "thread_transaction",
]


class Surroundings(abc.ABC):
    """The transaction and the connections of one run.

    Args:
        connections: the connections of the run; their transaction manager
            is that of the run.
    """

    #: Whether the call has been loaded: the storage was there then.
    has_loaded = False
    #: Whether the commit of the success has begun.
    is_committing = False

    def __init__(self, connections: Connections) -> None:
        self.connections = connections
        self.transaction_manager = connections.transaction_manager

    def call(self, function: Callable[[], Any]) -> Any:
        """Call the job's function, and return what it returns.

        Args:
            function: the function, with its arguments bound.
        """
        return function()

    @abc.abstractmethod
    def ensure_transaction(self) -> None:
        """Ensure that there is a transaction to record the success in.

        Called after the function, which may have ended its transaction.
        """

    @abc.abstractmethod
    def may_repeat(self, error: BaseException) -> bool:
        """Return whether *error* lets the attempt be repeated.

        To be called before the transaction is aborted: its data managers,
        which an abort removes, are asked whether the error is transient.

        Args:
            error: what the run has raised, or one of several that it has
                raised together.
        """

    def met_outage(self, error: BaseException) -> bool:
        """Return whether the storage was away, so that *error* means nothing.

        Once the call is loaded, the storage was there a moment ago. What it
        refuses then may be the job's own fault, unless the storage says that
        the error is transient, or has no space left.

        Args:
            error: what the run has raised, or one of several that it has
                raised together.
        """
        return storage_failed(error) and (
            not self.has_loaded
            or is_of(error, TransientError)
            or disk_is_full(error)
        )

    def is_refusal(self, error: BaseException) -> bool:
        """Return whether the storage has refused what the run did.

        It may also be an outage that is over by now, or begins.

        Args:
            error: what the run has raised. It is neither transient nor
                clearly an outage.
        """
        return False

    def databases(self) -> tuple[DB, ...]:
        """Return the databases of the run, if they are known."""
        connection = self.connections.sole()
        return (
            ()
            if connection is None
            else tuple(connection.db().databases.values())
        )

    def doubtful_participants(self) -> list[Any]:
        """Return who takes part in a commit that may have succeeded.

        To be called before the transaction is aborted.

        Returns:
            The participants; none if there was no commit, or it has failed
            for sure.
        """
        try:
            current = self.transaction_manager.get()
        except NoTransaction:
            return []
        if may_have_committed(current):
            return participants_of(current)
        return []


#: Makes the surroundings of a run, for a block; at the end of the block,
#: what is not committed is aborted, and connections are closed.
SurroundingsFactory = Callable[[IRun], AbstractContextManager[Surroundings]]


class _BareThread(Surroundings):
    """Surroundings of a function that makes its transactions by itself."""

    def ensure_transaction(self) -> None:
        """See :class:`Surroundings`."""
        # begin() aborts what the function has left uncommitted
        self.transaction_manager.begin()

    def may_repeat(self, error: BaseException) -> bool:
        """See :class:`Surroundings`."""
        return False  # it may have committed, which would be done twice


class OwnTransaction(Surroundings):
    """Surroundings of a run that is one transaction, begun before it."""

    def ensure_transaction(self) -> None:
        """See :class:`Surroundings`."""
        # the function may have committed or aborted; then an explicit manager
        # has no transaction, and others begin one in get()
        try:
            self.transaction_manager.get()
        except NoTransaction:
            self.transaction_manager.begin()

    def may_repeat(self, error: BaseException) -> bool:
        """See :class:`Surroundings`."""
        try:
            current = self.transaction_manager.get()
        except NoTransaction:
            # there are no data managers left that could be asked
            transient = is_of(error, TransientError)
        else:
            transient = bool(current.isRetryableError(error))
        return transient

    def is_refusal(self, error: BaseException) -> bool:
        """See :class:`Surroundings`."""
        return storage_failed(error)


@contextlib.contextmanager
def _thread_connections() -> Iterator[OpenedConnections]:
    """Give connections of the thread's transaction manager for a block.

    At its end, what is not committed is aborted, and they are closed.
    """
    manager = transaction.manager
    connections = OpenedConnections(manager)
    with contextlib.ExitStack() as cleaning:
        # called last: a connection can be closed only when the transaction
        # that it takes part in is over
        cleaning.callback(connections.close)
        cleaning.callback(manager.abort)
        yield connections


@contextlib.contextmanager
def bare_thread(run: IRun) -> Iterator[Surroundings]:  # noqa: ARG001
    """Surround a run with nothing but the thread's transaction manager.

    The function begins and commits transactions by itself. What it has not
    committed when it returns is aborted.

    Args:
        run: the run that is about to begin.

    Returns:
        A context manager, whose value is the surroundings.
    """
    with _thread_connections() as connections:
        connections.transaction_manager.begin()
        yield _BareThread(connections)


@contextlib.contextmanager
def thread_transaction(run: IRun) -> Iterator[Surroundings]:
    """Surround a run with a transaction of the thread's manager.

    Functions that :func:`~pyramid_zodb_async.transactional` decorates join
    it.

    Args:
        run: the run that is about to begin.

    Returns:
        A context manager, whose value is the surroundings.
    """
    with _thread_connections() as connections:
        begin_transaction(connections.transaction_manager, run)
        yield OwnTransaction(connections)


def begin_transaction(manager: Any, run: IRun) -> None:
    """Begin the transaction of a run.

    It tells of the job in the history of the database, and functions that
    :func:`~pyramid_zodb_async.transactional` decorates join it.

    Args:
        manager: the transaction manager.
        run: the run; its owner becomes the user of the transaction.
    """
    current = begin_joinable(manager)
    if run.owner is not None:
        current.user = run.owner[:LONGEST_NOTE]
    current.note(note_of(run))


def note_of(run: IRun) -> str:
    """Return what the history of the database tells of a run.

    Args:
        run: the run.
    """
    return f"job {run.sid}, attempt {run.attempt}: {run.function}"
