"""What happens to jobs, told to the subscribers of an application."""

import dataclasses

from .jobs.model import JobView

__all__ = [
    "JobEvent",
    "JobExpired",
    "JobFailed",
    "JobRetried",
    "JobScheduled",
    "JobStarted",
    "JobSucceeded",
    "JobWasCancelled",
]


@dataclasses.dataclass(frozen=True, slots=True)
class JobEvent:
    """Base of the events; subscribe to it for all of them.

    Subscribers are called in the process, and on the thread, that made it
    true, after the commit that did. There is no transaction of a request or
    a job for them to take part in: one that writes to the database does so
    in a transaction of its own. What they raise is logged, and harms no job.
    """

    #: The job as it was at that moment, without its result, for which to ask
    #: ``request.jobs`` or the scheduler.
    job: JobView


class JobScheduled(JobEvent):
    """A transaction has committed that scheduled the job.

    It is on the thread of that transaction, which waits meanwhile.
    """


class JobStarted(JobEvent):
    """A run of the job begins."""


class JobRetried(JobEvent):
    """An attempt has failed, and the job waits for the next one.

    ``job.due`` tells until when.
    """


class JobSucceeded(JobEvent):
    """The job has returned, and its effects are committed."""


class JobFailed(JobEvent):
    """The job has failed, and left no effects; ``job.failure`` tells why."""


class JobWasCancelled(JobEvent):
    """The job was cancelled, and leaves no effects."""


class JobExpired(JobEvent):
    """The outcome of the job was kept for its time, and is gone."""


# databases of applications may hold one by this path; everybody else takes
# the exception of this name for what is meant
JobCancelled = JobWasCancelled
