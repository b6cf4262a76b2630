"""Changes to things in memory that follow a transaction's fate."""

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from transaction.interfaces import (
    IDataManagerSavepoint,
    ISavepointDataManager,
    NoTransaction,
)
from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..exceptions import QueueFull, TransactionRequired

__all__ = ["CertainChange", "Change", "Changes", "OpenChanges"]


class Change(Protocol):
    """Something that happens if a transaction commits."""

    #: How many places in a queue it takes up until then.
    pending_jobs: int

    def prepare(self) -> None:
        """Do what may fail; whatever is raised aborts the transaction."""

    def apply(self) -> None:
        """Make the change, now that nothing can stop the commit."""

    def abandon(self) -> None:
        """Undo what :meth:`prepare` did, if it was called: it is over."""


class CertainChange:
    """A base for changes that nothing can stop, and that prepare nothing."""

    pending_jobs = 0

    def prepare(self) -> None:
        """Nothing can fail."""

    def abandon(self) -> None:
        """Nothing was done."""


@implementer(ISavepointDataManager)
class Changes:
    """The changes of one transaction, which it takes part in.

    They are prepared after all other participants have stored what they
    have, and before the first of them votes: some commit with their vote.
    They are made after all others have committed. An abort drops them, a
    rolled back savepoint drops those that came after it.

    Args:
        transaction: the transaction to take part in.
        after_commit: called when the transaction has committed.
    """

    def __init__(
        self, transaction: Any, after_commit: Callable[[], None]
    ) -> None:
        self.transaction_manager = None
        self._transaction = transaction
        self._after_commit = after_commit
        self._changes: list[Change] = []
        #: The places that the changes take up together.
        self.pending_jobs = 0
        self._joined = False
        self._hooked = False

    def add(self, change: Change) -> None:
        """Have *change* made when the transaction commits.

        Raises:
            TransactionRequired: the transaction is committing, or is over.
        """
        if not self._joined:
            self._join()
        self._changes.append(change)
        self.pending_jobs += change.pending_jobs

    def _join(self) -> None:
        try:
            self._transaction.join(self)
        except ValueError as error:
            raise TransactionRequired(
                "The transaction is being committed, or is over: schedule"
                " before its commit, or in a transaction of your own"
            ) from error
        self._joined = True
        if not self._hooked:
            self._transaction.addAfterCommitHook(self._hook)
            self._hooked = True

    def _hook(self, committed: bool) -> None:  # noqa: FBT001 - a hook's signature
        if committed:
            self._after_commit()

    def discard(self, change: Change) -> None:
        """Forget a change that was added."""
        self.keep([kept for kept in self._changes if kept is not change])

    def keep(self, changes: list[Change]) -> None:
        """Forget all changes but those."""
        self._changes[:] = changes
        self.pending_jobs = sum(change.pending_jobs for change in changes)

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def sortKey(self) -> str:  # noqa: N802 - the interface's name
        """Give the greatest of keys, to be the last of all participants."""
        return chr(0x10FFFF)

    def savepoint(self) -> "_Savepoint":
        """See :class:`~transaction.interfaces.ISavepointDataManager`."""
        return _Savepoint(self)

    def abort(self, transaction: Any) -> None:
        """Drop all changes; also called when all is done already."""
        for change in self._changes:
            change.abandon()
        self.keep([])
        self._joined = False

    def tpc_begin(self, transaction: Any) -> None:
        """Wait for :meth:`commit`."""

    def commit(self, transaction: Any) -> None:
        """Prepare all changes."""
        for change in self._changes:
            change.prepare()

    def tpc_vote(self, transaction: Any) -> None:
        """Wait for :meth:`tpc_finish`."""

    def tpc_finish(self, transaction: Any) -> None:
        """Make all changes."""
        for change in self._changes:
            change.apply()
        self.keep([])
        # what the hooks after the commit add would never be made
        self._joined = False

    def tpc_abort(self, transaction: Any) -> None:
        """Drop all changes."""
        self.abort(transaction)


@implementer(IDataManagerSavepoint)
class _Savepoint:
    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._before = list(changes)

    def rollback(self) -> None:
        """See :class:`~transaction.interfaces.IDataManagerSavepoint`.

        What was discarded since stays so.
        """
        before = {id(change) for change in self._before}
        self._changes.keep(
            [change for change in self._changes if id(change) in before]
        )


class OpenChanges:
    """The changes of all transactions that have not ended.

    Args:
        after_commit: called when a transaction that has some has committed.
    """

    def __init__(self, after_commit: Callable[[], None]) -> None:
        self._after_commit = after_commit
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of no transaction; in a child they are the parent's."""
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[Changes] = weakref.WeakSet()

    def of(self, transaction_manager: Any) -> Changes:
        """Give those of the current transaction."""
        current = transaction_manager.get()
        try:
            changes: Changes = current.data(self)
        except KeyError:
            changes = Changes(current, self._after_commit)
            current.set_data(self, changes)
            with self._lock:
                self._open.add(changes)
        return changes

    def known(self, transaction_manager: Any) -> Iterable[Change]:
        """Give those of the current transaction, if there is one."""
        try:
            changes: Changes = transaction_manager.get().data(self)
        except (NoTransaction, KeyError):
            return ()
        return changes

    def add_unless_full(
        self,
        transaction_manager: Any,
        change: Change,
        *,
        pending: Callable[[], int],
        max_pending: int,
    ) -> None:
        """Add a change that takes up places, unless there are too few.

        Args:
            transaction_manager: that of the transaction to add to.
            change: the change.
            pending: counts the places that are taken up already.
            max_pending: how many there are.

        Raises:
            QueueFull: there are too few.
        """
        changes = self.of(transaction_manager)
        with self._lock:
            taken = pending() + sum(other.pending_jobs for other in self._open)
            if taken + change.pending_jobs > max_pending:
                raise QueueFull(
                    f"{taken} jobs are waiting, and no more than"
                    f" {max_pending} may; try again later"
                )
            changes.add(change)
