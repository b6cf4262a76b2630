"""The submission of jobs to an engine, each with its time and priority."""

from collections import defaultdict
from collections.abc import Collection
from typing import Protocol

from ..concurrency.moments import EndOfPause
from ..interfaces import IEngine
from ..jobs.options import Options

__all__ = ["submit"]


class _Waiting(Protocol):
    """What is used of a job that waits to be run."""

    sid: str
    options: Options
    due: float | None
    counted_due: float | None


def submit(engine: IEngine, jobs: Collection[_Waiting]) -> None:
    """Have *engine* run *jobs*.

    Jobs of the same time and priority are run in the order of *jobs*.

    Args:
        engine: the engine.
        jobs: the jobs, whose commit is over.
    """
    if len(jobs) == 1:  # the usual case, made fast
        (job,) = jobs
        priority = job.options.priority
        engine.submit([job.sid], due=_moment(job), priority=priority)
        return
    ranks = defaultdict(list)
    for job in jobs:
        ranks[_moment(job), job.options.priority].append(job.sid)
    for (due, priority), sids in ranks.items():
        engine.submit(sids, due=due, priority=priority)


def _moment(job: _Waiting) -> float | None:
    """Return when a job is due, by both clocks if it pauses."""
    if job.due is None or job.counted_due is None:
        return job.due
    return EndOfPause(job.due, job.counted_due)
