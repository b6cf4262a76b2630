"""The thread that looks after jobs and slices from time to time."""

import atexit
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Chore", "Housekeeper"]

log = logging.getLogger(__name__)


def _always() -> bool:
    return True


@dataclass(slots=True)
class Chore:
    """Something to be done again and again."""

    do: Callable[[], None]
    #: The time between two goes at it, in seconds.
    interval: float
    #: The least time after it failed, in seconds.
    patience: float = 0.0
    #: Tells whether there is anything to do: nobody is woken for nothing.
    is_wanted: Callable[[], bool] = _always
    #: When it is to be done next, on the monotonic clock.
    due: float = 0.0


class Housekeeper:
    """Does chores when they are due, on a thread of its own.

    One that fails is logged, and keeps none from the others.

    Args:
        chores: what to do.
    """

    def __init__(self, chores: list[Chore]) -> None:
        self._chores = chores
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is not None:
            return
        self._stopping = False
        self._thread = threading.Thread(
            target=self._work, name="zodb_async-housekeeper", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)

    def wake(self) -> None:
        """Look again for what is wanted: something may be that was not."""
        self._woken.set()

    def stop(self) -> None:
        """End, when the chore at hand is done."""
        atexit.unregister(self.stop)
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(max(chore.interval for chore in self._chores))
            self._thread = None

    def _work(self) -> None:
        while True:
            self._woken.clear()  # before the look: who stops us wakes us last
            if self._stopping:
                return
            wanted = [chore for chore in self._chores if chore.is_wanted()]
            for chore in wanted:
                if self._stopping:
                    return
                if chore.due <= time.monotonic():
                    chore.due = time.monotonic() + self._do(chore)
            self._woken.wait(self._pause(wanted))

    def _pause(self, wanted: list[Chore]) -> float | None:
        now = time.monotonic()
        return min((max(0, chore.due - now) for chore in wanted), default=None)

    def _do(self, chore: Chore) -> float:
        """Do it, and tell for how many seconds that is enough."""
        try:
            chore.do()
        except Exception:
            pause = max(chore.interval, chore.patience)
            log.warning(
                "Looking after jobs failed, and will be tried again in %g s.",
                pause,
                exc_info=True,
                extra={"action": "housekeeping_failed"},
            )
            return pause
        return chore.interval
