"""Tells a test what is known of jobs now, whatever it has seen before."""

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
    """Give connections that see what is in the database now."""
    manager = transaction.TransactionManager(explicit=True)
    connections = OpenedConnections(manager)
    manager.begin()
    try:
        yield connections
    finally:
        manager.abort()
        connections.close()


def inspect_job(scheduler: Any, sid: str) -> JobView | None:
    """Tell what is known of a job, or ``None``."""
    with fresh_connections() as connections:
        view: JobView | None = scheduler.get(sid, connections)
    return view and dataclasses.replace(
        view, load_result=functools.partial(_load_result, scheduler, sid)
    )


def _load_result(scheduler: Any, sid: str) -> Any:
    """Load a result for as long as the test's transaction lasts."""
    manager = transaction.TransactionManager(explicit=True)
    connections = OpenedConnections(manager)

    def close(_committed: bool = False) -> None:  # noqa: FBT001, FBT002 - a hook
        # hooks of both kinds are called after a commit that failed
        with contextlib.suppress(NoTransaction):
            manager.abort()
        connections.close()

    manager.begin()
    transaction.get().addAfterCommitHook(close)
    transaction.get().addAfterAbortHook(close)
    view = scheduler.get(sid, connections)
    return view and view.result


def describe_job(view: JobView) -> str:
    """Name a job and its state, for errors."""
    return f"{view.sid} ({view.function}) is {view.state}"


def pending_jobs(scheduler: Any) -> list[JobView]:
    """List the jobs that wait, in the order of their scheduling."""
    views = [inspect_job(scheduler, sid) for sid in scheduler.unfinished()]
    pending = [
        view
        for view in views
        if view is not None and view.state is JobState.PENDING
    ]
    return sorted(pending, key=lambda view: view.scheduled)


def load_call(
    scheduler: Any, sid: str, connections: Connections
) -> "functools.partial[Any]":
    """Give the call that an unfinished job makes."""
    if isinstance(scheduler, MemoryScheduler):
        job: Any = scheduler.table.get(sid)
        call: functools.partial[Any] = job.call.load(connections)
        return call
    record = scheduler.location.of(connections).find(sid)
    form, args, named_args = record.parts()
    return functools.partial(callable_of(form), *args, **named_args)
