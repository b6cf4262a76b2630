"""The pace of polls: how long clients pause before they ask again."""

import math
import time
from collections.abc import Callable, Iterable

from zope.interface import Interface, implementer

from ..jobs.model import JobState, JobView

__all__ = ["SHORTEST", "IPollPacer", "PollPacer"]

#: How many polls a second all clients of a process together may send.
MOST_QUESTIONS = 50

#: Over how many seconds the count of polls decays.
MEMORY = 10.0

#: The older an unfinished job is, the longer it is likely to take. So clients
#: pause for this part of its age, up to the second number in seconds.
PART_OF_AGE, LONGEST_BY_AGE = 0.1, 5

#: How many pending jobs a worker may run in a second.
JOBS_PER_SECOND = 20

#: The shortest pause, which is also the first, and the longest, in seconds.
SHORTEST, LONGEST = 1, 30


class IPollPacer(Interface):
    """The pace of polls in an application; a registry utility."""


@implementer(IPollPacer)
class PollPacer:
    """Computes pauses that limit the polls of all clients together.

    Each poll adds the pause that it is answered with to a sum, which decays.
    A client that is told to pause longer polls less often, but adds more, so
    the sum shows how many clients there are, however often they poll.

    Args:
        workers: how many jobs run at a time; ``None`` if that is unknown,
            which counts as one.
        clock: returns the seconds since any fixed time.
    """

    def __init__(
        self,
        workers: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers or 1
        self._clock = clock
        self._sum = 0.0
        # when the sum has decayed last
        self._decayed_at = clock()

    def retry_after(self, jobs: Iterable[JobView], backlog: int) -> int:
        """Return after how many seconds to ask for unfinished jobs again.

        Args:
            jobs: the unfinished jobs that the poll has asked for, at least
                one.
            backlog: how many jobs are pending in this process.
        """
        pause = min(self._pause(job, backlog) for job in jobs)
        pause = max(pause, self._clients() / MOST_QUESTIONS)
        seconds = min(max(SHORTEST, math.ceil(pause)), LONGEST)
        # Without a lock: if two threads add at the same time, one summand may
        # be lost, but the sum is only used for an estimate.
        self._sum += seconds
        return seconds

    def _pause(self, job: JobView, backlog: int) -> float:
        """Return the pause that one job calls for, in seconds."""
        age = time.time() - job.scheduled_at
        pause = min(PART_OF_AGE * age, LONGEST_BY_AGE)
        if job.state is JobState.PENDING:
            pause = max(pause, backlog / self._workers / JOBS_PER_SECOND)
        return pause

    def _clients(self) -> float:
        """Estimate how many clients have polled lately."""
        now = self._clock()
        self._sum *= math.exp((self._decayed_at - now) / MEMORY)
        self._decayed_at = now
        return self._sum / MEMORY
