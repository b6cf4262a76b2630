"""Tells clients how long to wait before they ask again."""

import math
import time
from collections.abc import Callable, Iterable

from zope.interface import Interface, implementer

from ..jobs.model import JobState, JobView

__all__ = ["SHORTEST", "IPollPacer", "PollPacer"]

#: How many questions a second all clients of a process together may ask.
MOST_QUESTIONS = 50

#: Over so many seconds questions are counted.
MEMORY = 10.0

#: A job that is unfinished after a while is likely to take longer: clients
#: wait for this part of its age, up to so many seconds.
PART_OF_AGE, LONGEST_BY_AGE = 0.1, 5

#: How many waiting jobs a worker may get through in a second.
JOBS_PER_SECOND = 20

#: The shortest pause, which is also the first, and the longest, in seconds.
SHORTEST, LONGEST = 1, 30


class IPollPacer(Interface):
    """The pace of an application; a registry utility."""


@implementer(IPollPacer)
class PollPacer:
    """Spreads the questions of many clients.

    Each question counts with the pause that it was answered with. So the sum
    over a while tells how many clients there are, however often they ask.

    Args:
        workers: how many jobs run at a time, or ``None``.
        clock: gives the seconds since some moment.
    """

    def __init__(
        self,
        workers: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers or 1
        self._clock = clock
        self._sum = 0.0
        self._as_of = clock()

    def retry_after(self, jobs: Iterable[JobView], backlog: int) -> int:
        """Tell after how many seconds to ask for unfinished jobs again.

        *backlog* is the number of jobs that wait in this process.
        """
        pause = min(self._pause(job, backlog) for job in jobs)
        pause = max(pause, self._clients() / MOST_QUESTIONS)
        seconds = min(max(SHORTEST, math.ceil(pause)), LONGEST)
        self._sum += seconds  # an estimate; two threads may lose one
        return seconds

    def _pause(self, job: JobView, backlog: int) -> float:
        age = time.time() - job.scheduled.timestamp()
        pause = min(PART_OF_AGE * age, LONGEST_BY_AGE)
        if job.state is JobState.PENDING:
            pause = max(pause, backlog / self._workers / JOBS_PER_SECOND)
        return pause

    def _clients(self) -> float:
        """Estimate how many clients have asked lately."""
        now = self._clock()
        self._sum *= math.exp((self._as_of - now) / MEMORY)
        self._as_of = now
        return self._sum / MEMORY
