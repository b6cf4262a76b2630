"""The jobs of one priority that are due, in the order of their submission."""

from collections import deque

__all__ = ["Line"]

#: How many sids that were removed a line may have, besides as many as there
#: are others, before they are taken out.
MOST_OLD = 100


class Line:
    """Sids, of which the first to come is the first to be taken.

    A sid may be in it several times. To remove one from the middle would be
    slow, so it stays until it comes to the front, or there are many of those.

    Args:
        priority: the priority of the jobs.
    """

    __slots__ = ("_old", "_removed", "_sids", "as_place", "priority")

    def __init__(self, priority: int) -> None:
        self.priority = priority
        #: The line alone in a tuple, which all its jobs share.
        self.as_place = (self,)
        self._sids: deque[str] = deque()
        #: How often a sid was removed that is still there; of a sid, those
        #: that came first are meant.
        self._removed: dict[str, int] = {}
        #: How many these are.
        self._old = 0

    def __len__(self) -> int:
        return len(self._sids) - self._old

    def add(self, sid: str) -> None:
        """Add a job behind the others.

        Args:
            sid: the sid of the job.
        """
        self._sids.append(sid)

    def add_first(self, sid: str) -> None:
        """Add a job before the others.

        Args:
            sid: the sid of the job.
        """
        self._sids.appendleft(sid)

    def first(self) -> str:
        """Return the first sid; there must be one."""
        while self._removed and self._is_old(self._sids[0]):
            self._sids.popleft()
        return self._sids[0]

    def take(self) -> str:
        """Remove and return the first sid; there must be one."""
        self.first()
        return self._sids.popleft()

    def remove(self, sid: str) -> None:
        """Remove a job; if it is there several times, one of these.

        Args:
            sid: the sid of the job, which must be there.
        """
        self._removed[sid] = self._removed.get(sid, 0) + 1
        self._old += 1
        if self._old > len(self) + MOST_OLD:
            self._sids = deque(
                sid for sid in self._sids if not self._is_old(sid)
            )

    def clear(self) -> None:
        """Forget what was removed, when there is nothing else."""
        self._sids.clear()
        self._removed.clear()
        self._old = 0

    def _is_old(self, sid: str) -> bool:
        """Return whether the first of those of a sid was removed.

        It does not count as such any more.
        """
        times = self._removed.get(sid, 0)
        if not times:
            return False
        self._old -= 1
        if times == 1:
            del self._removed[sid]
        else:
            self._removed[sid] = times - 1
        return True
