"""Reports of the progress of running jobs, which other processes can read.

They are stored on the beat of the process and not on the records: a write of
the record of a running job would conflict with the commit of the job.
"""

from typing import Any, NamedTuple

from ...jobs.model import JobState, Progress, stored_progress
from ..records import Store, StoredJob
from .assigned_job import AssignedJob

__all__ = ["ProgressReport", "report_of", "write_reports"]


class ProgressReport(NamedTuple):
    """How far the run of a job has come, as plain data.

    While a cluster is being replaced, processes of the build that had no
    numbers as versions read it too. These count reports of progress and
    beginnings of runs apart, so there is a field for each. The second can go
    in the version after 0.1, which no such process can be beside.
    """

    #: Of the record; a report with another one is of an older run. It is
    #: stored inverted if the run has ended: that build would show a run that
    #: began in 1970, and so takes the report for one of another run.
    run_number: int
    attempt: int
    #: When the run began, in seconds since the epoch; 0 if it has ended, and
    #: is to be repeated.
    started: float
    #: In the database it is a tuple; what its message is translated by is
    #: beside the reports, where that build does not look.
    progress: Progress | None
    #: How often a run began in its process, has reported progress, or was set
    #: back to be repeated.
    changes: int
    #: What a process of that build has counted apart from the other changes.
    starts: int = 0

    def history(self) -> dict[str, Any]:
        """Return the attributes of the record that describe the run.

        Without a run there are none.
        """
        if not self.started:
            return {}
        return {
            "attempt": self.attempt,
            "started": self.started,
            **stored_progress(self.progress),
        }


def report_of(job: StoredJob) -> ProgressReport | None:
    """Return the report on a job of the process that runs it.

    Args:
        job: the job.

    Returns:
        The report; ``None`` if no run of the job has begun, or its process
        has not reported any progress yet.
    """
    runner, number = job.runner, job.run_number
    if job.record.state != JobState.PENDING or runner is None:
        return None
    beat = job.store.runners.get(runner)
    parts = beat.reports.get(job.sid) if beat else None
    if parts is None or parts[0] not in (number, ~number):
        # The report of a run that another one has replaced: the beat is not
        # written when a run ends.
        return None
    report = ProgressReport(*parts)
    progress: Any = report.progress
    return report._replace(
        run_number=number,
        progress=progress
        and Progress.load(progress, beat.translations.get(job.sid)),
        changes=report.changes + report.starts,
        starts=0,
    )


def write_reports(
    store: Store,
    incarnation: str,
    jobs: list[AssignedJob],
    lease: float | None = None,
) -> None:
    """Replace the reports of a process.

    Args:
        store: the store.
        incarnation: the identity of the process.
        jobs: all jobs that it runs, or has run and is to repeat.
        lease: that of the process, in seconds.
    """
    beat = store.beat_of(incarnation)
    beat.sign(lease)  # this write is a sign of life as well
    reports = {job.sid: _report(job) for job in jobs}
    beat.reports = {sid: _stored(report) for sid, report in reports.items()}
    beat.translations = {
        sid: report.progress.translation
        for sid, report in reports.items()
        if report.progress and report.progress.translation
    }


def _stored(report: ProgressReport) -> tuple[Any, ...]:
    plain: dict[str, Any] = {
        "progress": report.progress and report.progress.as_tuple()
    }
    return tuple(report._replace(**plain))


def _report(job: AssignedJob) -> ProgressReport:
    # First their number: what changes meanwhile is told again with a greater
    # one. The other way round it would have the number of what was not told.
    changes = job.changes
    started, progress = job.started, job.progress
    number = job.fence.run_number
    return ProgressReport(
        run_number=number if started else ~number,
        attempt=job.attempt,
        started=started or 0.0,
        progress=progress,
        changes=changes,
    )
