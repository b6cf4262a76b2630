"""The runs of jobs that a test makes with the engine ``manual``."""

import time
from typing import Any

from ..engine.fault_injection import (
    Crash,
    IInterventions,
    Interventions,
    Pause,
)
from ..engine.manual import ManualEngine, StartedRun, WaitingJob
from ..interfaces import IEngine, IScheduler
from ..jobs.model import JobView
from ..scheduler.zodb import ZODBScheduler
from .inspection import describe_job, inspect_job

__all__ = ["ManualRuns", "halt", "manual_engine"]

#: How long to wait at most before checking again for a job to run, in seconds.
PACE = 0.05


def manual_engine(registry: Any) -> ManualEngine:
    """Return the engine of an application, which must be ``manual``.

    Args:
        registry: the registry of the application.

    Raises:
        RuntimeError: the application has another engine.
    """
    engine: Any = registry.getUtility(IEngine)
    if not isinstance(engine, ManualEngine):
        raise RuntimeError(  # noqa: TRY004 - it is about a setting
            "To run jobs by hand, the application needs the setting"
            " zodb_async.engine = manual; its engine is a"
            f" {type(engine).__name__}"
        )
    return engine


def halt(scheduler: Any) -> None:
    """End a scheduler as a kill of its process does.

    Args:
        scheduler: the scheduler of the application.
    """
    if isinstance(scheduler, ZODBScheduler):
        scheduler.halt(0)  # which does not tell of an end in order
    else:
        scheduler.stop(0)


class ManualRuns:
    """Runs jobs of an application, within a time limit.

    Args:
        registry: the registry of the application.
        timeout: how long that may take, in seconds from now on.

    Raises:
        RuntimeError: the application has another engine.
    """

    def __init__(self, registry: Any, timeout: float) -> None:
        self.engine = manual_engine(registry)
        self.interventions: Interventions = registry.getUtility(IInterventions)
        self._scheduler = registry.getUtility(IScheduler)
        self._timeout = timeout
        self.restart_timeout()

    def restart_timeout(self) -> None:
        """Count the seconds of the timeout from now on."""
        self._end = time.monotonic() + self._timeout

    def _left(self) -> float:
        """Return how many seconds of the timeout are left."""
        return max(0, self._end - time.monotonic())

    def _start(self) -> None:
        """Start the scheduler, unless it was stopped."""
        if self.engine.is_stopped:
            raise RuntimeError(
                "The scheduler was stopped, or its process is dead;"
                " restart() begins anew"
            )
        self._scheduler.start()

    def _waiting(self) -> list[WaitingJob]:
        """Return the jobs that wait, without those that need not be run."""
        waiting = []
        for job in self.engine.waiting():
            # it was cancelled, removed, or has gone to another process
            if self._scheduler.glance(job.sid) is None:
                self.engine.withdraw(job.sid)
            else:
                waiting.append(job)
        return waiting

    def choose(self, sid: str | None, *, early: bool = False) -> WaitingJob:
        """Return the job to run, after waiting for it if necessary.

        Args:
            sid: the sid of the job; ``None`` for the next one.
            early: whether the job need not be due.

        Raises:
            LookupError: no such job waits, or it is not due and not *early*.
        """
        self._start()
        while not (
            waiting := [
                job for job in self._waiting() if sid in {None, job.sid}
            ]
        ):
            unfinished = self._scheduler.unfinished()
            is_known = sid in unfinished if sid else bool(unfinished)
            if not is_known or not self._left():
                raise LookupError(self._describe_absence(sid))
            # this process is about to take the job over, or the job to end
            self.engine.wait_for_more(min(PACE, self._left()))
        if waiting[0].pause(time.time()) and not early:
            raise LookupError(self._describe_undue(waiting))
        return waiting[0]

    def _describe_absence(self, sid: str | None) -> str:
        """Return the text of the error if the job does not wait."""
        if sid is None:
            return (
                "No job waits to be run: was one scheduled, and did its"
                " request commit?"
            )
        view = inspect_job(self._scheduler, sid)
        if view is None:
            return f"There is no job {sid!r}: did its request commit?"
        return f"It does not wait to be run: {describe_job(view)}"

    def _describe_undue(self, waiting: list[WaitingJob]) -> str:
        """Return the text of the error if no job is due."""
        now = time.time()
        views = (
            (job, inspect_job(self._scheduler, job.sid)) for job in waiting
        )
        waits = [
            f"{job.sid} ({view.function}) in {job.pause(now):.2f} s"
            for job, view in views
            if view is not None
        ]
        return (
            f"No job is due yet: {', '.join(waits)}; run_next(early=True)"
            " runs it all the same"
        )

    def run(self, waiting: WaitingJob) -> JobView:
        """Run a job, and return a view of it when the run has ended.

        Args:
            waiting: the job.

        Raises:
            TimeoutError: see :meth:`end`.
            AssertionError: see :meth:`end`.
            LookupError: see :meth:`inspect`.
        """
        started = self.engine.begin(waiting)
        self.end(started)
        return self.inspect(started.sid)

    def end(self, started: StartedRun) -> None:
        """Wait for the end of a run, and check that all planned has happened.

        Args:
            started: the run.

        Raises:
            TimeoutError: the run has not ended in time.
            AssertionError: the run has ended before the moment of one of its
                interventions.
        """
        if not started.wait(self._left()):
            raise TimeoutError(
                f"After {self._timeout} s the job runs on:"
                f" {describe_job(self.inspect(started.sid))}"
            )
        last = self.interventions.take_last()
        # before the check, which may raise: after a crash no other job may run
        if any(
            isinstance(intervention, Crash) and intervention.has_come
            for intervention in last
        ):
            halt(self._scheduler)
        for intervention in last:
            if not intervention.has_come:
                raise AssertionError(
                    self._describe_missed(started, intervention.moment)
                )

    def _describe_missed(self, started: StartedRun, moment: str) -> str:
        """Return the text of the error if a run ended before a moment."""
        return (
            f"The run was over before its {moment!r}, where something was to"
            f" happen: {describe_job(self.inspect(started.sid))}"
        )

    def wait_for(self, pause: Pause, started: StartedRun) -> None:
        """Wait until a run pauses.

        Args:
            pause: the pause.
            started: the run.

        Raises:
            TimeoutError: the run does not pause in time.
            AssertionError: the run has ended without the pause.
        """
        while not pause.reached.wait(min(0.01, self._left())):
            if started.wait(0):
                # so that the next run does not get what is left of this one
                self.interventions.take_last()
                raise AssertionError(
                    self._describe_missed(started, pause.moment)
                )
            if not self._left():
                raise TimeoutError(
                    f"After {self._timeout} s the run has not come to its"
                    f" {pause.moment!r}:"
                    f" {describe_job(self.inspect(started.sid))}"
                )

    def inspect(self, sid: str) -> JobView:
        """Return a view of a job.

        Args:
            sid: the sid of the job.

        Raises:
            LookupError: the job was removed, or its outcome has expired.
        """
        view = inspect_job(self._scheduler, sid)
        if view is None:
            raise LookupError(
                f"The job {sid} was forgotten: it was removed, or"
                " zodb_async.result_timeout is over"
            )
        return view

    def run_all(self) -> bool:
        """Run all jobs, each when it is due, until none is unfinished.

        Returns whether all have ended in time.
        """
        while self._scheduler.unfinished():
            if not self._left():
                return False
            self._start()
            waiting = self._waiting()
            if waiting and not waiting[0].pause(time.time()):
                self.run(waiting[0])
            else:
                self.engine.wait_for_more(min(PACE, self._left()))
        return True
