"""Views and calls of jobs for a test, read in transactions of their own."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import transaction
from transaction.interfaces import NoTransaction

from ..database.connections import OpenedConnections
from ..interfaces import Connections
from ..jobs.model import JobState, JobView
from ..scheduler.memory import MemoryScheduler
from ..transfer.callables import callable_of

__all__ = [
    "describe_job",
    "fresh_connections",
    "inspect_job",
    "load_call",
    "pending_jobs",
]


@contextlib.contextmanager
def fresh_connections() -> Iterator[OpenedConnections]:
    """Begin a transaction for a ``with`` block, and abort it afterwards.

    It sees what is in the database now. The test's own transaction may have
    begun before the jobs ran.

    Returns:
        A context manager, whose value is the connections.
    """
    manager = transaction.TransactionManager(explicit=True)
    connections = OpenedConnections(manager)
    manager.begin()
    try:
        yield connections
    finally:
        # before the close, which needs the transaction to have ended
        manager.abort()
        connections.close()


def inspect_job(scheduler: Any, sid: str) -> JobView | None:
    """Return a view of a job as it is now.

    Its result is loaded when it is asked for, and can be used until the
    transaction of the test ends.

    Args:
        scheduler: the scheduler of the application.
        sid: the sid of the job.

    Returns:
        The view, or ``None`` if there is no such job.
    """
    with fresh_connections() as connections:
        view: JobView | None = scheduler.get(sid, connections)
    return view and dataclasses.replace(
        view, load_result=functools.partial(_load_result, scheduler, sid)
    )


def _load_result(scheduler: Any, sid: str) -> Any:
    """Return a result that can be used until the test's transaction ends."""
    manager = transaction.TransactionManager(explicit=True)
    connections = OpenedConnections(manager)

    def close(_committed: bool = False) -> None:  # noqa: FBT001, FBT002 - a hook
        # a commit that fails calls the hooks of both kinds, so there may be
        # no transaction any more
        with contextlib.suppress(NoTransaction):
            manager.abort()
        connections.close()

    manager.begin()
    transaction.get().addAfterCommitHook(close)
    transaction.get().addAfterAbortHook(close)
    view = scheduler.get(sid, connections)
    return view and view.result


def describe_job(view: JobView) -> str:
    """Return the sid, function and state of a job, for the text of an error.

    Args:
        view: a view of the job.
    """
    return f"{view.sid} ({view.function}) is {view.state}"


def pending_jobs(scheduler: Any) -> list[JobView]:
    """Return views of the pending jobs, in the order of their scheduling.

    Args:
        scheduler: the scheduler of the application.
    """
    views = [inspect_job(scheduler, sid) for sid in scheduler.unfinished()]
    pending = [
        view
        for view in views
        if view is not None and view.state is JobState.PENDING
    ]
    return sorted(pending, key=lambda view: view.scheduled_at)


def load_call(
    scheduler: Any, sid: str, connections: Connections
) -> "functools.partial[Any]":
    """Return the call of an unfinished job.

    Args:
        scheduler: the scheduler of the application.
        sid: the sid of the job.
        connections: where persistent objects in the call are loaded from.
    """
    if isinstance(scheduler, MemoryScheduler):
        job: Any = scheduler.jobs.table.get(sid)
        call: functools.partial[Any] = job.call.load(connections)
        return call
    stored = scheduler.process.location.of(connections).locate(sid)
    form, args, named_args = stored.parts()
    return functools.partial(callable_of(form), *args, **named_args)
