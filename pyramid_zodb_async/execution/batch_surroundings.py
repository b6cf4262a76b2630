"""The surroundings of the runs of a batch: one transaction, a request each."""

import contextlib
from collections.abc import Iterator
from typing import Any

from pyramid.threadlocal import manager as threadlocals

from ..contracts import IRun
from ..database.application import connections_of, share_connections
from ..database.begun_transactions import IN_REQUEST
from ..database.commits import LONGEST_NOTE, has_committed
from ..database.internals import participants_of
from ..database.joinable_transactions import (
    begin_joinable,
    current_transaction,
)
from .request_surroundings import (
    InRequest,
    RequestSurroundings,
    abort,
    find_root,
    finish,
    manager_of,
    restore_threadlocals,
)
from .surroundings import note_of

__all__ = ["BatchSurroundings", "surround_batch"]

#: What the modules of those participants begin with of which a transaction
#: may have several. Others may hold locks, as a session of SQL does, that a
#: second one of the same thread would wait for for ever.
HARMLESS = ("pyramid_zodb_async.", "repoze.sendmail.", "zope.sendmail.")


@contextlib.contextmanager
def surround_batch(
    environment: RequestSurroundings, first: IRun
) -> Iterator["BatchSurroundings"]:
    """Surround the runs of a batch with one transaction for the block.

    Args:
        environment: makes the requests.
        first: the first of the runs.

    Returns:
        A context manager, whose value gives each run a request. At the end of
        the block, what is not committed is aborted.
    """
    request = environment.make_request(first)
    depth = len(threadlocals.stack)
    requests = [request]
    # in the order that RequestSurroundings has, for the same reasons
    try:
        threadlocals.push(
            {"registry": environment.registry, "request": request}
        )
        environment.extend(request)
        manager = manager_of(request)
        try:
            begin_joinable(manager)
            yield BatchSurroundings(environment, requests, manager)
        finally:
            for made in requests[1:]:
                del made.environ["tm.active"], made.environ["tm.manager"]
            abort(request)
    finally:
        try:
            # that of the first run last, which closes the connections
            for made in reversed(requests):
                finish(made)
        finally:
            restore_threadlocals(threadlocals.stack, depth)


class BatchSurroundings:
    """The transaction that the runs of a batch have together.

    Args:
        environment: makes the requests.
        requests: the requests of the runs, of which there is the first one.
        manager: the transaction manager; the transaction has begun.
    """

    def __init__(
        self,
        environment: RequestSurroundings,
        requests: list[Any],
        manager: Any,
    ) -> None:
        self.transaction_manager = manager
        self._environment = environment
        self._requests = requests
        self._transaction = manager.get()
        #: Whether no run has had its turn.
        self._is_new = True
        self._owners: set[str | None] = set()

    @contextlib.contextmanager
    def turn(self, run: IRun) -> Iterator[InRequest]:
        """Give a run its request for the block, and the transaction.

        Args:
            run: the run.

        Returns:
            A context manager, whose value is the surroundings of the run.
        """
        request = self._requests[0] if self._is_new else self._another(run)
        depth = len(threadlocals.stack)
        try:
            threadlocals.push(
                {"registry": self._environment.registry, "request": request}
            )
            self._note(run)
            find_root(request)
            yield InRequest(request)
        finally:
            restore_threadlocals(threadlocals.stack, depth)

    def _note(self, run: IRun) -> None:
        """Have the history of the database tell of the run.

        It tells whose the transaction is if all of its jobs are his.
        """
        self._is_new = False
        self._owners.add(run.owner)
        is_his = len(self._owners) == 1 and run.owner is not None
        self._transaction.user = run.owner[:LONGEST_NOTE] if is_his else ""
        self._transaction.note(note_of(run))

    def _another(self, run: IRun) -> Any:
        """Return the request of a run that is not the first one."""
        request = self._environment.make_request(run)
        first = self._requests[0]
        # before the request's methods are called, which may use it
        for key in ("tm.manager", "tm.active", IN_REQUEST):
            request.environ[key] = first.environ[key]
        self._requests.append(request)
        share_connections(first, request)
        self._environment.extend(request)
        return request

    def is_over(self) -> bool:
        """Return whether a function has ended the transaction."""
        current = current_transaction(self.transaction_manager)
        return current is not self._transaction

    def has_committed(self) -> bool:
        """Return whether the transaction is over, and has committed."""
        return has_committed(self._transaction)

    def may_go_on(self) -> bool:
        """Return whether another run may use the transaction.

        It may not if a function has had another participant join than the
        connections of the batch.
        """
        connections = {*map(id, connections_of(self._requests[0]))}
        return all(
            id(participant) in connections
            or type(participant).__module__.startswith(HARMLESS)
            for participant in participants_of(self._transaction)
        )
