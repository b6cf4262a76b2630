"""A job as a process has it in memory while it is to be run."""

from dataclasses import dataclass

from ..concurrency.moments import EndOfPause
from ..jobs.model import Progress
from ..jobs.options import NO_OPTIONS, Options

__all__ = ["RunnableJob"]


@dataclass(kw_only=True, slots=True)
class RunnableJob:
    """What both schedulers know in memory of a job that has not ended."""

    sid: str
    #: The name of what it calls, as ``module:qualname``.
    function: str
    owner: str | None
    base_url: str | None
    #: When it was scheduled, in seconds since the epoch.
    scheduled: float
    options: Options = NO_OPTIONS
    #: When its next run is to begin, in seconds since the epoch.
    due: float | None = None
    #: The same on the monotonic clock of this process, if a pause ends then.
    counted_due: float | None = None
    #: The number of the attempt, from 1.
    attempt: int = 0
    #: How often this attempt was repeated after a conflict.
    conflicts: int = 0
    #: How often the storage refused what this attempt did.
    refusals: int = 0
    #: How many attempts have failed since it was scheduled, or retried.
    failures: int = 0
    #: When its run began, in seconds since the epoch; ``None`` while none is
    #: under way.
    started: float | None = None
    progress: Progress | None = None
    #: Whether it is to be run in no batch: one that it was in has failed.
    is_single: bool = False
    #: How often a run of it began here, has reported progress, or was set
    #: back to be repeated.
    changes: int = 0

    def wait_until(self, due: float | None) -> None:
        """Set when the next run is to begin.

        Args:
            due: the time in seconds since the epoch, or the end of a pause;
                ``None`` stands for at once.
        """
        self.due, self.counted_due = due, None
        if isinstance(due, EndOfPause):
            self.due, self.counted_due = float(due), due.counted
