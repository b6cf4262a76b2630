"""Tells what is known of a job that is in memory."""

import functools
from typing import Any

from ...interfaces import Connections
from ...jobs.model import JobView, moment
from ...transfer.references import Dumped
from .table import Job

__all__ = ["load", "view_of"]


def view_of(job: Job, connections: Connections | None) -> JobView:
    """Make the view of *job*; its result is loaded through *connections*."""
    due = job.due
    return JobView(
        sid=job.sid,
        state=job.state,
        function=job.function,
        owner=job.owner,
        attempt=job.attempt,
        progress=job.progress,
        scheduled=job.scheduled,
        due=None if due is None else moment(due),
        started=job.started,
        finished=job.finished,
        expires=job.expires,
        failure=job.failure,
        options=job.options,
        version=job.version,
        load_result=functools.partial(load, job.value, connections),
    )


def load(dumped: Dumped | None, connections: Connections | None) -> Any:
    """Load a result, if there is one, and a connection to load it."""
    if dumped is None or connections is None:
        return None
    return dumped.load(connections)
