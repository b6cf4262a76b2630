"""Reports of the progress of running jobs, which other processes can read.

They are stored on the beat of the process and not on the records: a write of
the record of a running job would conflict with the commit of the job.

Of a job that runs without a claim, a report also says who runs it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ...jobs.model import JobState, Progress, stored_progress
from ..records import Beat, Store, StoredJob
from .assigned_job import AssignedJob

__all__ = [
    "ProgressReport",
    "UnclaimedRuns",
    "report_of",
    "runs_unclaimed",
    "write_reports",
]


#: The numbers in reports on runs without a claim: only the first run of a job
#: needs none, and whoever writes its record from then on counts on.
_FIRST = (0, ~0)


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
    if job.record.state != JobState.PENDING:
        return None
    if runner is None:
        beats = [beat for _, beat in _unclaimed_on(job)]
    else:
        beat = job.store.runners.get(runner)
        beats = [beat] if beat and _tells_of(beat, job) else []
    if not beats:
        return None
    # several processes may have got word of a job that needs no claim
    beat = max(beats, key=lambda beat: _changes(beat.reports[job.sid]))
    parts = beat.reports[job.sid]
    report = ProgressReport(*parts)
    progress: Any = report.progress
    return report._replace(
        run_number=number,
        progress=progress
        and Progress.load(progress, beat.translations.get(job.sid)),
        changes=_changes(parts),
        starts=0,
    )


def _changes(parts: tuple[Any, ...]) -> int:
    report = ProgressReport(*parts)
    return report.changes + report.starts


def _tells_of(beat: Beat, job: StoredJob) -> bool:
    """Return whether a beat has a report of a run that nothing has replaced.

    The beat is not written when a run ends.
    """
    parts, number = beat.reports.get(job.sid), job.run_number
    return parts is not None and parts[0] in (number, ~number)


def _unclaimed_on(job: StoredJob) -> Iterator[tuple[str, Beat]]:
    """Return who runs a job without a claim, and their beats."""
    if job.run_number:
        return
    for incarnation, beat in job.store.runners.items("", excludemin=True):
        if _tells_of(beat, job):
            yield incarnation, beat


def runs_unclaimed(job: StoredJob) -> bool:
    """Return whether a process has told that it runs a job without a claim.

    Args:
        job: the job, which is pending, and has no runner.
    """
    return next(_unclaimed_on(job), None) is not None


class UnclaimedRuns:
    """The processes that have told what they run without a claim.

    For who asks about many jobs: each beat is read once. It is plain data.

    Args:
        beats: those of all incarnations.
    """

    def __init__(self, beats: Mapping[str, Beat]) -> None:
        self._by_sid: dict[str, list[str]] = defaultdict(list)
        for incarnation, beat in beats.items():
            for sid, (number, *_) in beat.reports.items():
                if number in _FIRST:
                    self._by_sid[sid].append(incarnation)

    def runner_of(self, job: StoredJob, besides: str) -> str | None:
        """Return an incarnation that runs a job without a claim.

        Args:
            job: the job, which is pending, and has no runner.
            besides: an incarnation that does not count.
        """
        if job.run_number:
            return None
        runners = self._by_sid.get(job.sid, ())
        return next((name for name in runners if name != besides), None)


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
        jobs: all jobs that it runs, or has run and is to repeat, and those
            that it is about to run without a claim.
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
