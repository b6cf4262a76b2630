"""What the tests of an application need to see its jobs through.

With the setting ``zodb_async.engine = inline`` a job has run when the request
that scheduled it returns. With ``threads`` a test waits for its jobs by the
functions here.
"""

import contextlib
import dataclasses
import functools
from typing import Any

import transaction
from transaction.interfaces import NoTransaction

from .connections import OpenedConnections
from .interfaces import IEngine, IScheduler
from .job import JobView

__all__ = ["drain", "wait_for"]


def drain(app: Any, timeout: float = 10) -> None:
    """Wait until no job of *app* waits or runs.

    Jobs that jobs schedule are waited for as well.

    Args:
        app: a WebTest ``TestApp``, a Pyramid WSGI application, a request, or
            a registry.
        timeout: the longest wait, in seconds.

    Raises:
        TimeoutError: there are unfinished jobs all the same; names them.
    """
    registry = _registry(app)
    scheduler = registry.getUtility(IScheduler)
    ended = scheduler.wait(timeout=timeout)
    if not (ended and registry.getUtility(IEngine).idle(timeout)):
        views = [_look_at(scheduler, sid) for sid in scheduler.unfinished()]
        raise TimeoutError(
            f"After {timeout} s these jobs have not ended: "
            + ", ".join(_tell(view) for view in views if view)
        )


def wait_for(app: Any, sid: str, timeout: float = 10) -> JobView:
    """Wait until the job has ended, and return what is known of it.

    Args:
        app: as for :func:`drain`.
        sid: the id of the job; its transaction has committed.
        timeout: the longest wait, in seconds.

    Raises:
        LookupError: there is no such job.
        TimeoutError: it has not ended.
    """
    scheduler = _registry(app).getUtility(IScheduler)
    ended = scheduler.wait(sid, timeout)
    view = _look_at(scheduler, sid)
    if view is None:
        raise LookupError(f"There is no job {sid!r}: did its request commit?")
    if not ended:
        raise TimeoutError(f"After {timeout} s the job {_tell(view)}")
    return view


def _look_at(scheduler: Any, sid: str) -> JobView | None:
    """Tell what is known of a job now, whatever the test has seen before."""
    manager = transaction.TransactionManager(explicit=True)
    connections = OpenedConnections(manager)
    manager.begin()
    try:
        view: JobView | None = scheduler.get(sid, connections)
    finally:
        manager.abort()
        connections.close()
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


def _registry(app: Any) -> Any:
    app = getattr(app, "app", app)
    return getattr(app, "registry", app)


def _tell(view: JobView) -> str:
    return f"{view.sid} ({view.function}) is {view.state}"
