"""Drives a manual engine for the functions of :mod:`.testing`."""

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
from .inspection import describe_job, inspect_job

__all__ = ["ManualRuns", "manual_engine"]

#: The time between two looks for jobs that are about to come, in seconds.
PACE = 0.05


def manual_engine(registry: Any) -> ManualEngine:
    """Give the engine of an application.

    Raises:
        RuntimeError: it is another.
    """
    engine: Any = registry.getUtility(IEngine)
    if not isinstance(engine, ManualEngine):
        raise RuntimeError(  # noqa: TRY004 - it is about a setting
            "To run jobs by hand, the application needs the setting"
            " zodb_async.engine = manual; its engine is a"
            f" {type(engine).__name__}"
        )
    return engine


class ManualRuns:
    """Runs jobs for a test, within *timeout* seconds.

    Raises:
        RuntimeError: the engine is another.
    """

    def __init__(self, registry: Any, timeout: float) -> None:
        self.engine = manual_engine(registry)
        self.interventions: Interventions = registry.getUtility(IInterventions)
        self._scheduler = registry.getUtility(IScheduler)
        self._timeout = timeout
        self.have_time()

    def have_time(self) -> None:
        """Count the seconds from now on."""
        self._end = time.monotonic() + self._timeout

    def _left(self) -> float:
        return max(0, self._end - time.monotonic())

    def _start(self) -> None:
        if self.engine.is_stopped:
            raise RuntimeError(
                "The scheduler was stopped, or its process is dead;"
                " restart() begins anew"
            )
        self._scheduler.start()

    def _waiting(self) -> list[WaitingJob]:
        """List the jobs that wait, without those that need not be run."""
        waiting = []
        for job in self.engine.waiting():
            if self._scheduler.glance(job.sid) is None:
                self.engine.withdraw(job.sid)
            else:
                waiting.append(job)
        return waiting

    def choose(self, sid: str | None, *, early: bool = False) -> WaitingJob:
        """Choose the job to run: the next, or that of *sid*.

        Raises:
            LookupError: no such job waits, or, without *early*, is due.
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
                raise LookupError(self._tell_none(sid))
            # it is about to be taken over, or to end
            self.engine.wait_for_more(min(PACE, self._left()))
        if waiting[0].pause(time.time()) and not early:
            raise LookupError(self._tell_early(waiting))
        return waiting[0]

    def _tell_none(self, sid: str | None) -> str:
        if sid is None:
            return (
                "No job waits to be run: was one scheduled, and did its"
                " request commit?"
            )
        view = inspect_job(self._scheduler, sid)
        if view is None:
            return f"There is no job {sid!r}: did its request commit?"
        return f"It does not wait to be run: {describe_job(view)}"

    def _tell_early(self, waiting: list[WaitingJob]) -> str:
        now = time.time()
        views = (
            (job, inspect_job(self._scheduler, job.sid)) for job in waiting
        )
        told = [
            f"{job.sid} ({view.function}) in {job.pause(now):.2f} s"
            for job, view in views
            if view is not None
        ]
        return (
            f"No job is due yet: {', '.join(told)}; run_next(early=True)"
            " runs it all the same"
        )

    def run(self, waiting: WaitingJob) -> JobView:
        """Run a job to its end."""
        started = self.engine.begin(waiting)
        self.end(started)
        return self.inspect(started.sid)

    def end(self, started: StartedRun) -> None:
        """Wait for the end of a run, and see whether all has happened.

        Raises:
            TimeoutError: it runs on.
            AssertionError: not all has happened.
        """
        if not started.wait(self._left()):
            raise TimeoutError(
                f"After {self._timeout} s the job runs on:"
                f" {describe_job(self.inspect(started.sid))}"
            )
        last = self.interventions.take_last()
        if any(isinstance(what, Crash) and what.has_come for what in last):
            self._scheduler.stop(0)
        for what in last:
            if not what.has_come:
                raise AssertionError(self._tell_missed(started, what.moment))

    def _tell_missed(self, started: StartedRun, moment: str) -> str:
        return (
            f"The run was over before its {moment!r}, where something was to"
            f" happen: {describe_job(self.inspect(started.sid))}"
        )

    def wait_for(self, pause: Pause, started: StartedRun) -> None:
        """Wait until a run pauses.

        Raises:
            TimeoutError: it runs on.
            AssertionError: it is over.
        """
        while not pause.reached.wait(min(0.01, self._left())):
            if started.wait(0):
                self.interventions.take_last()
                raise AssertionError(self._tell_missed(started, pause.moment))
            if not self._left():
                raise TimeoutError(
                    f"After {self._timeout} s the run has not come to its"
                    f" {pause.moment!r}:"
                    f" {describe_job(self.inspect(started.sid))}"
                )

    def inspect(self, sid: str) -> JobView:
        """Tell what is known of a job.

        Raises:
            LookupError: it was forgotten.
        """
        view = inspect_job(self._scheduler, sid)
        if view is None:
            raise LookupError(
                f"The job {sid} was forgotten: it was removed, or"
                " zodb_async.result_timeout is over"
            )
        return view

    def run_all(self) -> bool:
        """Run what waits, when it is due, until nothing does.

        Returns whether that came to pass in time.
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
