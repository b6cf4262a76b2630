"""Gives an engine jobs, each at its time and with its priority."""

from collections import defaultdict
from collections.abc import Collection
from typing import Protocol

from ..interfaces import IEngine
from ..jobs.options import Options

__all__ = ["submit"]


class _Waiting(Protocol):
    """A job that waits to be run."""

    sid: str
    options: Options
    due: float | None


def submit(engine: IEngine, jobs: Collection[_Waiting]) -> None:
    """Have *engine* run *jobs*, in their order if they have the same rank."""
    if len(jobs) == 1:  # as nearly always
        (job,) = jobs
        priority = job.options.priority
        engine.submit([job.sid], due=job.due, priority=priority)
        return
    ranks = defaultdict(list)
    for job in jobs:
        ranks[job.due, job.options.priority].append(job.sid)
    for (due, priority), sids in ranks.items():
        engine.submit(sids, due=due, priority=priority)
