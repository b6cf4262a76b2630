"""The suspects of a process, and which of them may run at the same time."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

__all__ = ["HEAD_START", "LONGEST_AFTER_DROP", "Suspects"]

#: For how many seconds a suspect runs before another one may begin.
HEAD_START = 1.0

#: For how many seconds from its beginning a run holds up others although its
#: job has ended, by its time limit say, or is another process's. It may hang,
#: and never end.
LONGEST_AFTER_DROP = 60.0


class _Suspect(Protocol):
    """What is used of a job that is assigned to this process."""

    started: float | None
    begun: float | None
    crashes: int

    @property
    def runs_alone(self) -> bool:
        """Whether no other suspect may run beside it."""


J = TypeVar("J", bound=_Suspect)


class Suspects(Generic[J]):
    """Decides when each suspect is given to the engine.

    A suspect may end its process. If it is the only one that runs then, the
    crash is counted for it. If several run, nobody knows which one it was, and
    they run alone the next time. So they begin one after the other, when the
    one before has ended or has run for :data:`HEAD_START`; and as long as none
    does harm, more and more of them begin together, so that many short ones do
    not take long.

    It is for one thread at a time.
    """

    def __init__(self) -> None:
        #: Those that the engine has not got, by whether they are to run alone
        #: and the number of their crashes. There may be very many.
        self._waiting: dict[tuple[bool, int], deque[J]] = {}
        #: Those that the engine has got, until they are over.
        self._given: list[J] = []
        #: How many have ended and done no harm, since there were none.
        self._harmless = 0

    def __bool__(self) -> bool:
        return bool(self._waiting or self._given)

    def add(self, suspects: Iterable[J]) -> None:
        """Add jobs that are suspects.

        Args:
            suspects: the jobs.
        """
        for job in suspects:
            rank = job.runs_alone, job.crashes
            self._waiting.setdefault(rank, deque()).append(job)

    def wait_for_time(self, is_assigned: Callable[[J], bool]) -> bool:
        """Return whether one may be given just because time passes.

        Args:
            is_assigned: returns whether a job is still this process's.
        """
        if not self._waiting:
            return False
        given = self._given
        return not all(map(is_assigned, given)) or not (
            self._first().runs_alone or any(job.runs_alone for job in given)
        )

    def take(
        self,
        is_assigned: Callable[[J], bool],
        workers: int,
        now: float,
    ) -> list[J]:
        """Return the suspects to give to the engine now.

        Args:
            is_assigned: returns whether a job is still this process's.
            workers: how many jobs the engine runs at a time.
            now: the time on the monotonic clock.
        """
        self._remove_ended(is_assigned, now)
        taken: list[J] = []
        while self._waiting:
            job = self._first()
            # one that was dropped while it waited is skipped
            if is_assigned(job):
                if not self._may_begin(job, workers, now):
                    break
                self._given.append(job)
                taken.append(job)
            self._remove_first()
        return taken

    def _first(self) -> J:
        """Return the one that is next; there must be one.

        Those that need not run alone come first, then those with the fewest
        crashes.
        """
        return self._waiting[min(self._waiting)][0]

    def _remove_first(self) -> None:
        rank = min(self._waiting)
        self._waiting[rank].popleft()
        if not self._waiting[rank]:
            del self._waiting[rank]

    def _remove_ended(
        self, is_assigned: Callable[[J], bool], now: float
    ) -> None:
        """Forget those that are over.

        One that was dropped, because another process has it, say, may still
        run here.
        """
        given = [
            job
            for job in self._given
            if is_assigned(job)
            or (
                job.started is not None
                and job.begun is not None
                and now - job.begun < LONGEST_AFTER_DROP
            )
        ]
        self._harmless += len(self._given) - len(given)
        self._given = given
        if not self._given and not self._waiting:
            self._harmless = 0

    def _may_begin(self, job: J, workers: int, now: float) -> bool:
        if job.runs_alone:
            return not self._given
        if any(other.runs_alone for other in self._given):
            return False
        young = sum(
            other.begun is None or now - other.begun < HEAD_START
            for other in self._given
        )
        return young < min(1 + self._harmless, max(1, workers))
