"""What a process tells the others of the jobs that it runs.

It is on the process's beat, not on the records: to write on the record of a
job that runs would conflict with the job.
"""

from typing import Any, NamedTuple

from ...jobs.model import JobState
from ..records import Record, Store
from .assigned_jobs import AssignedJob

__all__ = ["ProgressReport", "report_of", "write_reports"]


class ProgressReport(NamedTuple):
    """How far a job has come, as plain data."""

    run_number: int
    attempt: int
    started: float
    #: Done, total and message.
    progress: tuple[float, float | None, str | None] | None
    #: How often the job has told of its progress, and how often it began.
    reports: int
    starts: int

    def history(self) -> dict[str, Any]:
        """Tell what the record has to know of the run when that is over."""
        return {
            "attempt": self.attempt,
            "started": self.started,
            "progress": self.progress,
        }


def report_of(store: Store, sid: str, record: Record) -> ProgressReport | None:
    """Give what the process that runs the job has told of it."""
    if record.state != JobState.PENDING or record.runner is None:
        return None
    beat = store.runners.get(record.runner)
    parts = beat.reports.get(sid) if beat else None
    if parts is None or parts[0] != record.run_number:
        return None  # of a run that was given up
    return ProgressReport(*parts)


def write_reports(
    store: Store, incarnation: str, jobs: list[AssignedJob]
) -> None:
    """Tell of *jobs*, which *incarnation* runs, and of no others."""
    beat = store.beat_of(incarnation)
    beat.count += 1  # it is a sign of life as well
    beat.reports = {job.sid: tuple(_report(job)) for job in jobs}


def _report(job: AssignedJob) -> ProgressReport:
    progress = job.progress
    return ProgressReport(
        run_number=job.fence.run_number,
        attempt=job.attempt,
        started=job.started.timestamp() if job.started else 0.0,
        progress=progress.as_tuple() if progress else None,
        reports=job.reports,
        starts=job.starts,
    )
