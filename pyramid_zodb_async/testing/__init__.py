"""What the tests of an application need to see its jobs through.

With the setting ``zodb_async.engine = inline`` a job has run when the request
that scheduled it returns. With ``threads`` a test waits for its jobs. With
``manual`` it runs them one by one, and has them fail, break off or pause.
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
from .manual_runs import ManualRuns, manual_engine

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


# -- Waiting ------------------------------------------------------------------


def drain(app: Any, timeout: float = 10) -> None:
    """Wait until no job of *app* waits or runs.

    Jobs that jobs schedule are waited for as well. With the engine
    ``manual`` this runs them, one after the other.

    Args:
        app: a WebTest ``TestApp``, a Pyramid WSGI application, a request, or
            a registry.
        timeout: the longest wait, in seconds.

    Raises:
        TimeoutError: there are unfinished jobs all the same; names them.
    """
    registry = _registry(app)
    scheduler = registry.getUtility(IScheduler)
    if isinstance(registry.getUtility(IEngine), ManualEngine):
        ended = ManualRuns(registry, timeout).run_all()
    else:
        ended = scheduler.wait(timeout=timeout)
    if not (ended and registry.getUtility(IEngine).idle(timeout)):
        views = [inspect_job(scheduler, sid) for sid in scheduler.unfinished()]
        raise TimeoutError(
            f"After {timeout} s these jobs have not ended: "
            + ", ".join(describe_job(view) for view in views if view)
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
    view = inspect_job(scheduler, sid)
    if view is None:
        raise LookupError(f"There is no job {sid!r}: did its request commit?")
    if not ended:
        raise TimeoutError(f"After {timeout} s the job {describe_job(view)}")
    return view


# -- What was scheduled -------------------------------------------------------


def scheduled(app: Any) -> list[JobView]:
    """List the jobs that wait, in the order of their scheduling.

    Args:
        app: as for :func:`drain`.
    """
    return pending_jobs(_registry(app).getUtility(IScheduler))


def assert_scheduled(
    app: Any, function: Callable[..., Any], /, *args: Any, **kw: Any
) -> JobView:
    """Assert that a job waits that calls ``function(*args, **kw)``.

    It does not matter whether an argument was passed by its place or by its
    name. A persistent object is the same if it is so in the database,
    whoever has loaded it.

    Args:
        app: as for :func:`drain`.
        function: what the job calls.
        args: its positional arguments.
        kw: its named arguments.

    Returns:
        The first such job.

    Raises:
        AssertionError: there is none; tells what waits.
        TypeError: *function* cannot be called so.
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


# -- By hand ------------------------------------------------------------------


def run_next(
    app: Any,
    sid: str | None = None,
    *,
    early: bool = False,
    timeout: float = 10,
) -> JobView:
    """Run one job, the next or that of *sid*, to its end.

    It runs on a thread of its own, with a transaction of its own, and this
    returns when it is over. A job that met a conflict waits again then.

    Args:
        app: as for :func:`drain`; with the engine ``manual``.
        sid: the id of the job.
        early: whether to run it also if it is to wait longer.
        timeout: how long the run may take, in seconds.

    Returns:
        What is known of the job then.

    Raises:
        LookupError: no such job waits, or none is due.
        AssertionError: something was to happen in the run, as by
            :func:`fail_next`, and it did not come to that.
        TimeoutError: the job runs on.
        RuntimeError: the engine is another, or was stopped.
    """
    hand = ManualRuns(_registry(app), timeout)
    return hand.run(hand.choose(sid, early=early))


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
            it tells of its progress for the first time; ``"end"``, when it
            has returned; ``"commit"``, when the storage has all its changes.

    Raises:
        TypeError: *error* is no exception.
        ValueError: there is no such moment.
        RuntimeError: the engine is another.
    """
    _plan(app, Error(when, error))


def conflict_next(app: Any) -> None:
    """Have the commit of the next run of a job meet a conflict.

    Args:
        app: as for :func:`run_next`.
    """
    fail_next(app, ConflictError, "commit")


def crash_next(app: Any, when: Moment = "end") -> None:
    """Have the process "die" in the next run of a job.

    Nothing is committed, nothing is recorded, and no job runs any more until
    :func:`restart`.

    Args:
        app: as for :func:`run_next`.
        when: as for :func:`fail_next`.
    """
    _plan(app, Crash(when))


@contextlib.contextmanager
def paused(
    app: Any, when: Moment = "end", *, timeout: float = 10
) -> Iterator[JobView]:
    """Run the next job, and do the block while it pauses.

    Then it goes on, and has ended when this returns.

    Args:
        app: as for :func:`run_next`.
        when: as for :func:`fail_next`, but for ``"commit"``: then the whole
            database waits.
        timeout: how long the run may take before and after, in seconds.

    Raises:
        AssertionError: the run has ended without coming to that.
        ValueError: there is no such moment.
        Exception: others as :func:`run_next`.
    """
    if when == "commit":
        raise ValueError(
            "A run cannot pause at its commit: the whole database would wait"
        )
    pause = Pause(when)
    hand = ManualRuns(_registry(app), timeout)
    next_job = hand.choose(None)
    hand.interventions.pause(pause)
    started = hand.engine.begin(next_job)
    try:
        hand.wait_for(pause, started)
        yield hand.inspect(started.sid)
    finally:
        hand.interventions.pause(None)
        pause.resume()
    hand.have_time()
    hand.end(started)


def restart(app: Any, timeout: float = 10) -> None:
    """Have *app* go on as after a kill of its process and another start.

    Jobs in the database are taken over by the "new process". On a storage
    that several processes can have open that takes ``zodb_async.lease``, as
    it does in production. Jobs in memory are gone.

    Args:
        app: as for :func:`run_next`.
        timeout: how long the takeover may take, in seconds.

    Raises:
        TimeoutError: it takes longer.
        RuntimeError: the engine is another.
    """
    registry = _registry(app)
    manual_engine(registry)
    old = registry.getUtility(IScheduler)
    old.stop(0)
    assemble(registry)
    new = registry.getUtility(IScheduler)
    new.start()
    if not isinstance(new, ZODBScheduler):
        return
    end = time.monotonic() + timeout
    nothing: list[str] = []
    while lost := new.location.read(
        lambda store: _lost(store, old, new), nothing
    ):
        if time.monotonic() > end:
            raise TimeoutError(
                f"After {timeout} s nobody has taken over {', '.join(lost)}:"
                " where other processes may have the storage open, that"
                " takes zodb_async.lease"
            )
        time.sleep(0.01)  # paces the loop; the condition decides


def _lost(store: Store, old: ZODBScheduler, new: ZODBScheduler) -> list[str]:
    """List the jobs of the old process that the new one does not run yet."""
    found = ((sid, store.find(sid)) for sid in store.unfinished())
    return [
        sid
        for sid, record in found
        if record is not None
        and (
            record.runner == old.incarnation
            or (
                record.runner == new.incarnation
                and sid not in new.assigned_jobs
            )
        )
    ]


def _plan(app: Any, intervention: Intervention) -> None:
    registry = _registry(app)
    manual_engine(registry)
    registry.getUtility(IInterventions).plan(intervention)


def _registry(app: Any) -> Any:
    app = getattr(app, "app", app)
    return getattr(app, "registry", app)
