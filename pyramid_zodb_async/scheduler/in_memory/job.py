"""The state of a job in memory, and the view of it."""

import functools
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

from ...interfaces import Connections
from ...jobs.model import Failure, JobState, JobView, make_version
from ...transfer.envelopes import Dumped
from ..runnable_job import RunnableJob
from .call import Loadable

__all__ = ["NO_JOB", "Job", "load", "view_of"]


@dataclass(kw_only=True, slots=True)
class Job(RunnableJob):
    """A job in memory. Only its table changes it, under the table's lock.

    Its ``attempt`` is the last that has begun.
    """

    sid: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    scheduled: float = field(default_factory=time.time)
    call: Loadable | None = None
    state: JobState = JobState.PENDING
    #: Whether it counts against the bound of the queue.
    is_new: bool = False
    #: Whether the next run repeats the attempt.
    repeats: bool = False
    #: Grows with each run: an earlier run that still goes on has another one,
    #: and cannot change the job any more.
    run_number: int = 0
    #: Whether its effects may be committed already: too late to cancel.
    committing: bool = False
    #: How often it was set back to pending after a failure.
    retries: int = 0
    #: When it ended, and when it expires, in seconds since the epoch.
    finished: float | None = None
    expires: float | None = None
    value: Dumped | None = None
    failure: Failure | None = None
    exception: bytes | None = None

    def reset(self) -> None:
        """Set it back to pending, for another attempt."""
        self.state = JobState.PENDING
        self.retries += 1
        self.conflicts, self.refusals, self.repeats = 0, 0, False
        self.progress = self.started = self.finished = self.expires = None
        self.failure = self.exception = None

    def end(self, state: JobState, timeout: float) -> None:
        """Set how it has ended.

        Args:
            state: how.
            timeout: for how long its outcome is stored, in seconds.
        """
        self.state = state
        self.committing = False
        self.due = None
        if state is not JobState.FAILED:  # a failed job can be retried
            self.call = None
        self.finished = time.time()
        self.expires = self.finished + timeout

    @property
    def version(self) -> int:
        """The version of a view of the job as it is now."""
        done = self.state.done
        changes = 0 if done else self.changes
        return make_version(self.retries, done=done, changes=changes)


#: Stands for a job that does not exist, so that to look for it is the same
#: work as to look for a job.
NO_JOB = Job(sid="", function="", owner=None, base_url=None)


def view_of(job: Job, connections: Connections | None) -> JobView:
    """Return the view of a job as it is now.

    Args:
        job: the job; a copy, if other threads may change the job.
        connections: those by which the view loads the result; ``None`` for a
            view without the result.
    """
    return JobView(
        sid=job.sid,
        state=job.state,
        function=job.function,
        owner=job.owner,
        attempt=job.attempt,
        progress=job.progress,
        scheduled_at=job.scheduled,
        due_at=job.due,
        started_at=job.started,
        finished_at=job.finished,
        expires_at=job.expires,
        failure=job.failure,
        options=job.options,
        version=job.version,
        load_result=functools.partial(load, job.value, connections),
    )


def load(dumped: Dumped | None, connections: Connections | None) -> Any:
    """Return a result, with persistent objects from *connections*.

    Args:
        dumped: the pickled result; ``None`` if there is none.
        connections: those by which it is loaded; ``None`` if it cannot be.

    Returns:
        The result; ``None`` if one of the two is ``None``.

    Raises:
        JobNotLoadable: something that the result refers to is gone.
    """
    if dumped is None or connections is None:
        return None
    return dumped.load(connections)
