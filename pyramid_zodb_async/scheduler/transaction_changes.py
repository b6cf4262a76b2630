"""Changes in memory that are made if and when a transaction commits."""

import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Protocol

from transaction.interfaces import (
    IDataManagerSavepoint,
    ISavepointDataManager,
    NoTransaction,
)
from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..database.commits import may_have_committed
from ..exceptions import QueueFull, TransactionRequired, UnknownJob

__all__ = ["CertainChange", "Change", "Changes", "OpenChanges"]


class Change(Protocol):
    """A change in memory that is made if a transaction commits."""

    #: How many pending jobs the change will make; they count against the
    #: bound of the queue from now on.
    pending_jobs: int
    #: The sid of a job that the transaction schedules, if it does.
    sid: str | None

    def prepare(self) -> None:
        """Do what may fail; an exception aborts the transaction."""

    def apply(self) -> None:
        """Make the change. It must not fail: the others have committed."""

    def abandon(self) -> None:
        """Undo :meth:`prepare`, if it was called; there is no commit."""

    def leave_in_doubt(self) -> None:
        """Leave what :meth:`prepare` did: there may have been a commit."""


class CertainChange:
    """A base class of changes that cannot fail and need no preparation."""

    pending_jobs = 0
    sid: str | None = None

    def prepare(self) -> None:
        """Do nothing: nothing can fail."""

    def abandon(self) -> None:
        """Do nothing: there is nothing to undo."""

    def leave_in_doubt(self) -> None:
        """Do nothing: nothing was prepared."""


@implementer(ISavepointDataManager)
class Changes:
    """A data manager with the changes of one transaction.

    The changes are prepared after all other participants have stored their
    objects, and before the first of them votes, since some commit with their
    vote. They are applied after all others have committed. An abort drops
    them; the rollback of a savepoint drops those that were added after it.

    Args:
        transaction: the transaction to take part in.
        after_commit: called by an after-commit hook of the transaction, if
            it has committed.
    """

    def __init__(
        self, transaction: Any, after_commit: Callable[[], None]
    ) -> None:
        self.transaction_manager = None
        self._transaction = transaction
        self._after_commit = after_commit
        self._changes: list[Change] = []
        #: The blocks that the transaction schedules jobs in, by their runner.
        self.blocks: dict[str | None, Any] = {}
        #: The connections that have found the store, and it; ``None`` if none.
        self.store: tuple[Any, Any] | None = None
        #: How many pending jobs the changes will make in all.
        self.pending_jobs = 0
        self._joined = False
        self._hooked = False

    def add(self, change: Change) -> None:
        """Have a change made when the transaction commits.

        Args:
            change: the change.

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
        # abort() makes the next add() join again, but the transaction still
        # has the hook.
        if not self._hooked:
            self._transaction.addAfterCommitHook(self._hook)
            self._hooked = True

    def _hook(self, committed: bool) -> None:  # noqa: FBT001 - a hook's signature
        if committed:
            self._after_commit()

    def discard(self, change: Change) -> None:
        """Remove a change.

        Args:
            change: a change that was added.
        """
        self.keep([kept for kept in self._changes if kept is not change])

    def keep(self, changes: list[Change]) -> None:
        """Remove all changes but some.

        Args:
            changes: the changes that stay.
        """
        self._changes[:] = changes
        self.store = None  # a rollback may have undone its making
        self.pending_jobs = sum(change.pending_jobs for change in changes)

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[Change]:
        return iter(self._changes)

    def sortKey(self) -> str:  # noqa: N802 - the interface's name
        """Return a key that is greater than those of other participants.

        A transaction commits, votes and finishes them in the order of their
        keys.
        """
        return chr(0x10FFFF)

    def savepoint(self) -> "_Savepoint":
        """See :class:`~transaction.interfaces.ISavepointDataManager`."""
        return _Savepoint(self)

    def abort(self, transaction: Any) -> None:
        """Drop all changes; there may be none left."""
        # The commit aborts all participants when one has raised, also if
        # others have finished by then.
        is_in_doubt = bool(self._changes) and may_have_committed(transaction)
        for change in self._changes:
            if is_in_doubt:
                change.leave_in_doubt()
            else:
                change.abandon()
        self.keep([])
        self._joined = False

    def tpc_begin(self, transaction: Any) -> None:
        """Do nothing: :meth:`commit` prepares the changes."""

    def commit(self, transaction: Any) -> None:
        """Prepare all changes.

        Here and not in :meth:`tpc_vote`: a transaction calls ``commit()`` of
        all participants before it calls the first ``tpc_vote()``, and some
        participants commit with their vote.
        """
        for change in self._changes:
            change.prepare()

    def tpc_vote(self, transaction: Any) -> None:
        """Do nothing: :meth:`commit` has prepared the changes."""

    def tpc_finish(self, transaction: Any) -> None:
        """Apply all changes."""
        for change in self._changes:
            change.apply()
        self.keep([])
        # So the next add() joins again. If an after-commit hook calls it,
        # that fails; else the change would be added and never be made.
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

        A change that was discarded after the savepoint does not come back.
        """
        before = {id(change) for change in self._before}
        dropped = [
            change for change in self._changes if id(change) not in before
        ]
        self._changes.keep(
            [change for change in self._changes if id(change) in before]
        )
        for change in dropped:
            change.abandon()


class OpenChanges:
    """The changes of all transactions of a process that have not ended.

    Args:
        after_commit: called when a transaction with changes has committed.
    """

    def __init__(self, after_commit: Callable[[], None]) -> None:
        self._after_commit = after_commit
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with no transactions.

        Called again in a forked child, which must not use its parent's.
        """
        self._lock = threading.Lock()
        #: By what id() returns. Weak, so that a transaction that is dropped
        #: without an end does not count any more.
        self._open: Any = weakref.WeakValueDictionary()

    def of(self, transaction_manager: Any) -> Changes:
        """Return the changes of the current transaction, made if needed.

        Args:
            transaction_manager: that of the transaction.
        """
        current = transaction_manager.get()
        try:
            changes: Changes = current.data(self)
        except KeyError:
            changes = Changes(current, self._after_commit)
            current.set_data(self, changes)
            with self._lock:
                self._open[id(changes)] = changes
        return changes

    def known(self, transaction_manager: Any) -> Iterable[Change]:
        """Return the changes of the current transaction, if it has some.

        Args:
            transaction_manager: that of the transaction, of which there may
                be none.
        """
        try:
            changes: Changes = transaction_manager.get().data(self)
        except (NoTransaction, KeyError):
            return ()
        return changes

    def require_committed(
        self, sid: str, is_known: Callable[[], bool]
    ) -> None:
        """Raise an error unless a job is committed.

        Args:
            sid: the sid of the job.
            is_known: returns whether there is such a job.

        Raises:
            RuntimeError: the transaction that schedules it has not ended.
            UnknownJob: there is no such job.
        """
        # first: what commits between these two lines is known then
        is_open = self._have_scheduled(sid)
        if is_known():
            return
        if is_open:
            raise RuntimeError(
                f"The transaction that schedules the job {sid} has not"
                " committed, and the job does not begin before that: wait"
                " after the commit"
            )
        raise UnknownJob(
            f"There is no job {sid!r}: it never was, or was forgotten, or its"
            " transaction was aborted"
        )

    def _have_scheduled(self, sid: str) -> bool:
        """Return whether a transaction schedules a job, and has not ended."""
        with self._lock:
            return any(
                change.sid == sid
                for changes in self._open.values()
                for change in changes
            )

    def add_unless_full(
        self,
        transaction_manager: Any,
        change: Change,
        *,
        pending: Callable[[], int],
        max_pending: int,
    ) -> Changes:
        """Add a change that makes pending jobs, unless there are too many.

        Args:
            transaction_manager: that of the transaction to add to.
            change: the change.
            pending: counts the committed jobs that are pending.
            max_pending: how many jobs may be pending.

        Returns:
            All changes of the transaction.

        Raises:
            QueueFull: there would be more than *max_pending*.
            TransactionRequired: the transaction is committing, or is over.
        """
        changes = self.of(transaction_manager)
        with self._lock:  # as below
            self._require_room(change.pending_jobs, pending, max_pending)
            changes.add(change)
        return changes

    def add_all_unless_full(
        self,
        transaction_manager: Any,
        added: Collection[Change],
        *,
        pending: Callable[[], int],
        max_pending: int,
    ) -> None:
        """Add changes as :meth:`add_unless_full` does, all or none.

        Args:
            transaction_manager: that of the transaction to add to.
            added: the changes.
            pending: counts the committed jobs that are pending.
            max_pending: how many jobs may be pending.

        Raises:
            QueueFull: there would be more than *max_pending*.
            TransactionRequired: the transaction is committing, or is over.
        """
        changes = self.of(transaction_manager)
        new = sum(change.pending_jobs for change in added)
        # Counted and added under the lock: else two threads could both find
        # room for the last job. Jobs that wait for their commit count, so
        # that one large transaction cannot exceed the bound.
        with self._lock:
            self._require_room(new, pending, max_pending)
            for change in added:
                changes.add(change)

    def require_room(
        self, new: int, *, pending: Callable[[], int], max_pending: int
    ) -> None:
        """Refuse jobs for which there is no room now.

        Args:
            new: how many there are.
            pending: counts the committed jobs that are pending.
            max_pending: how many jobs may be pending.

        Raises:
            QueueFull: there would be more than *max_pending*.
        """
        with self._lock:
            self._require_room(new, pending, max_pending)

    def _require_room(
        self, new: int, pending: Callable[[], int], max_pending: int
    ) -> None:
        """Do what :meth:`require_room` does; the lock must be held."""
        waiting = pending()
        for found in self._open.valuerefs():
            waiting += getattr(found(), "pending_jobs", 0)
        if waiting + new > max_pending:
            more = "" if new == 1 else f", and {new} were to be added"
            raise QueueFull(
                f"{waiting} jobs are waiting{more}, and no more than"
                f" {max_pending} may; try again later"
            )
