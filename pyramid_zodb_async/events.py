"""The events of jobs, which the subscribers of an application get."""

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
    """Base of the events; subscribe to it to get all of them.

    Subscribers are called after the commit that the event is about, in the
    process and on the thread of that commit. There is no open transaction: a
    subscriber that writes to the database needs a transaction of its own.
    What a subscriber raises is logged, and does not affect the job.
    """

    #: The job as it was at that time, without its result. Ask
    #: ``request.jobs`` or the scheduler for the result.
    job: JobView


class JobScheduled(JobEvent):
    """The transaction that has scheduled the job has committed.

    The thread of that transaction calls the subscribers, and goes on when
    they have returned.
    """


class JobStarted(JobEvent):
    """A run of the job begins."""


class JobRetried(JobEvent):
    """The job will run again, as an attempt or the whole job has failed.

    After a failed attempt, ``job.due`` is the time of the next one. A failed
    job runs again because a user has retried it.
    """


class JobSucceeded(JobEvent):
    """The job has returned, and its effects are committed."""


class JobFailed(JobEvent):
    """The job has failed, and has no effects; ``job.failure`` says why."""


class JobWasCancelled(JobEvent):
    """The job was cancelled, and has no effects.

    If it has cancelled itself, subscribers are called when its run is over.
    They are called too if what it did was undone; its failure says so.
    """


class JobExpired(JobEvent):
    """The time to store the outcome of the job is over, and it is gone."""


# The earlier name of the class, which databases of applications may contain.
# It is not in __all__, because JobCancelled is also the name of an exception.
JobCancelled = JobWasCancelled
