"""Functions by which an application's tests run its jobs and wait for them.

With the setting ``zodb_async.engine = inline`` a job has run when the request
that scheduled it returns. With ``threads`` a test waits for its jobs. With
``manual`` it runs them one by one, and can have them fail, crash or pause.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from ZODB.POSException import ConflictError

from ..config.assembly import assemble
from ..engine.fault_injection import (
    Crash,
    Error,
    IInterventions,
    Intervention,
    Moment,
    Pause,
)
from ..engine.manual import ManualEngine
from ..exceptions import UnknownJob
from ..interfaces import IEngine, IScheduler
from ..jobs.model import JobView
from ..scheduler.records import Store
from ..scheduler.zodb import ZODBScheduler
from .expected_calls import ExpectedCall, describe_call
from .inspection import (
    describe_job,
    fresh_connections,
    inspect_job,
    load_call,
    pending_jobs,
)
from .manual_runs import ManualRuns, halt, manual_engine

__all__ = [
    "assert_scheduled",
    "conflict_next",
    "crash_next",
    "drain",
    "fail_next",
    "paused",
    "restart",
    "run_next",
    "scheduled",
    "wait_for",
]

#: How many jobs an error names.
MOST_NAMED = 20


# -- Waiting ------------------------------------------------------------------


def drain(app: Any, timeout: float = 10) -> None:
    """Wait until no job of *app* is pending or runs.

    This includes jobs that these jobs schedule. With the engine ``manual``,
    it runs the jobs one after the other.

    Args:
        app: a WebTest ``TestApp``, a Pyramid WSGI application, a request, or
            a registry.
        timeout: the longest wait, in seconds.

    Raises:
        TimeoutError: some jobs have not ended by then; the text names them,
            or the first of them.
    """
    registry = _registry(app)
    scheduler = registry.getUtility(IScheduler)
    if isinstance(registry.getUtility(IEngine), ManualEngine):
        ended = ManualRuns(registry, timeout).run_all()
    else:
        ended = scheduler.wait(timeout=timeout)
    if not (ended and registry.getUtility(IEngine).idle(timeout)):
        sids = scheduler.unfinished()
        views = [inspect_job(scheduler, sid) for sid in sids[:MOST_NAMED]]
        named = [describe_job(view) for view in views if view]
        if len(sids) > MOST_NAMED:
            named.append(f"and {len(sids) - MOST_NAMED} more")
        raise TimeoutError(
            f"After {timeout} s these jobs have not ended: {', '.join(named)}"
        )


def wait_for(app: Any, sid: str, timeout: float = 10) -> JobView:
    """Wait until the job has ended, and return a view of it.

    Args:
        app: as for :func:`drain`.
        sid: the sid of the job; the transaction that has scheduled it must
            have committed.
        timeout: the longest wait, in seconds.

    Raises:
        LookupError: there is no such job.
        RuntimeError: a transaction schedules it, and has not ended.
        TimeoutError: the job has not ended by then.
    """
    scheduler = _registry(app).getUtility(IScheduler)
    try:
        ended = scheduler.wait(sid, timeout)
    except UnknownJob:
        ended = True  # and so there is no view
    view = inspect_job(scheduler, sid)
    if view is None:
        raise LookupError(f"There is no job {sid!r}: did its request commit?")
    if not ended:
        raise TimeoutError(f"After {timeout} s the job {describe_job(view)}")
    return view


# -- What was scheduled -------------------------------------------------------


def scheduled(app: Any) -> list[JobView]:
    """Return views of the pending jobs, in the order of their scheduling.

    Args:
        app: as for :func:`drain`.
    """
    return pending_jobs(_registry(app).getUtility(IScheduler))


def assert_scheduled(
    app: Any, function: Callable[..., Any], /, *args: Any, **kw: Any
) -> JobView:
    """Assert that a job is pending that calls ``function(*args, **kw)``.

    It does not matter whether an argument was passed by position or by name.
    Persistent objects are equal if they are the same object in the database,
    whichever connection has loaded them.

    Args:
        app: as for :func:`drain`.
        function: what the job calls.
        args: its positional arguments.
        kw: its named arguments.

    Returns:
        A view of the first such job.

    Raises:
        AssertionError: there is no such job; the text lists the pending ones.
        TypeError: *function* cannot be called with these arguments.
        ValueError: an argument is a persistent object in no database.
    """
    registry = _registry(app)
    scheduler = registry.getUtility(IScheduler)
    expected = ExpectedCall(function, args, kw)
    found = []
    for view in pending_jobs(scheduler):
        with fresh_connections() as connections:
            call = load_call(scheduler, view.sid, connections)
            if expected.equals(call):
                return view
            found.append(describe_call(call))
    lines = [f"No job waits that calls {expected}."]
    if found:
        lines += ["These wait:", *(f"  {call}" for call in found)]
    else:
        lines.append("None waits at all.")
    if not isinstance(registry.getUtility(IEngine), ManualEngine):
        lines.append(
            "Others may have run already: zodb_async.engine = manual has them"
            " wait."
        )
    raise AssertionError("\n".join(lines))


# -- Manual runs --------------------------------------------------------------


def run_next(
    app: Any,
    sid: str | None = None,
    *,
    early: bool = False,
    timeout: float = 10,
) -> JobView:
    """Run one pending job, and return when the run has ended.

    The run has a thread and a transaction of its own. After a conflict the
    job is pending again.

    Args:
        app: as for :func:`drain`, with the engine ``manual``.
        sid: the sid of the job; ``None`` for the next one.
        early: whether to run the job also if it is not due yet.
        timeout: how long the run may take, in seconds.

    Returns:
        A view of the job after the run.

    Raises:
        LookupError: no such job is pending, or none is due.
        AssertionError: something was to happen in the run, for example by
            :func:`fail_next`, and the run ended before that.
        TimeoutError: the run has not ended by then.
        RuntimeError: the application has another engine, or its scheduler was
            stopped.
    """
    runs = ManualRuns(_registry(app), timeout)
    return runs.run(runs.choose(sid, early=early))


def fail_next(
    app: Any,
    error: BaseException | type[BaseException],
    when: Moment = "start",
) -> None:
    """Have the next run of a job raise *error*.

    Args:
        app: as for :func:`run_next`.
        error: the exception, or its class.
        when: ``"start"``, before the function is called; ``"progress"``, when
            it reports progress for the first time; ``"end"``, when it has
            returned; ``"commit"``, when the storage has received all changes
            of the run.

    Raises:
        TypeError: *error* is no exception.
        ValueError: there is no such moment.
        RuntimeError: the application has another engine.
    """
    _plan(app, Error(when, error))


def conflict_next(app: Any) -> None:
    """Have the commit of the next run of a job raise a conflict error.

    Args:
        app: as for :func:`run_next`.

    Raises:
        RuntimeError: the application has another engine.
    """
    fail_next(app, ConflictError, "commit")


def crash_next(app: Any, when: Moment = "end") -> None:
    """Have the next run of a job end as if its process had died.

    Nothing of the run is committed or recorded, and no job runs any more
    until :func:`restart`.

    Args:
        app: as for :func:`run_next`.
        when: as for :func:`fail_next`.

    Raises:
        ValueError: there is no such moment.
        RuntimeError: the application has another engine.
    """
    _plan(app, Crash(when))


@contextlib.contextmanager
def paused(
    app: Any, when: Moment = "end", *, timeout: float = 10
) -> Iterator[JobView]:
    """Run the next job, and execute a ``with`` block while the run pauses.

    After the block the run goes on, and it has ended when this returns.

    Args:
        app: as for :func:`run_next`.
        when: as for :func:`fail_next`, except for ``"commit"``, during which
            the whole database would wait.
        timeout: how long the run may take until the pause, and again after
            it, in seconds.

    Returns:
        A context manager, whose value is a view of the paused job.

    Raises:
        AssertionError: the run has ended before that moment.
        ValueError: there is no such moment, or it is ``"commit"``.
        Exception: others as :func:`run_next`.
    """
    if when == "commit":
        raise ValueError(
            "A run cannot pause at its commit: the whole database would wait"
        )
    pause = Pause(when)
    runs = ManualRuns(_registry(app), timeout)
    next_job = runs.choose(None)
    # before the run begins: the claim of a run fetches its interventions
    runs.interventions.pause(pause)
    try:
        started = runs.engine.begin(next_job)
        runs.wait_for(pause, started)
        yield runs.inspect(started.sid)
    finally:
        # a run that has not begun, because the job is gone, has not used it
        runs.interventions.pause(None)
        pause.resume()
    runs.restart_timeout()
    runs.end(started)


def restart(app: Any, timeout: float = 10) -> None:
    """Simulate that the process of *app* was killed and started again.

    The "new process" takes over jobs in the database. On a storage that
    several processes can have open, that takes ``zodb_async.lease`` seconds,
    as in production. Jobs in memory are lost.

    Args:
        app: as for :func:`run_next`.
        timeout: how long the takeover may take, in seconds.

    Raises:
        TimeoutError: the takeover takes longer.
        RuntimeError: the application has another engine.
    """
    registry = _registry(app)
    manual_engine(registry)
    old = registry.getUtility(IScheduler)
    # first, so that the old scheduler gives no more signs of liveness
    halt(old)
    assemble(registry)
    new = registry.getUtility(IScheduler)
    new.start()
    if not isinstance(new, ZODBScheduler):
        return
    end = time.monotonic() + timeout
    nothing: list[str] = []
    while lost := new.process.location.read(
        lambda store: _lost(store, old, new), nothing
    ):
        if time.monotonic() > end:
            raise TimeoutError(
                f"After {timeout} s nobody has taken over {', '.join(lost)}:"
                " where other processes may have the storage open, that"
                " takes zodb_async.lease"
            )
        time.sleep(0.01)  # until the condition is checked again


def _lost(store: Store, old: ZODBScheduler, new: ZODBScheduler) -> list[str]:
    """Return the jobs of *old* that *new* has not taken over completely.

    The record of a job gets the new incarnation first, and the job becomes an
    assigned job after that commit.
    """
    found = ((sid, store.locate(sid)) for sid in store.unfinished())
    return [
        sid
        for sid, job in found
        if job is not None
        and (
            job.runner == old.process.incarnation
            or (
                job.runner == new.process.incarnation
                and sid not in new.process.assigned_jobs
            )
        )
    ]


def _plan(app: Any, intervention: Intervention) -> None:
    registry = _registry(app)
    manual_engine(registry)
    registry.getUtility(IInterventions).plan(intervention)


def _registry(app: Any) -> Any:
    """Return the registry of a ``TestApp``, application or request."""
    app = getattr(app, "app", app)
    return getattr(app, "registry", app)
