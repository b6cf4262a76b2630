"""The maintenance thread, which does chores at intervals."""

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
    """Something that is done at intervals."""

    do: Callable[[], None]
    #: The seconds from one beginning to the next.
    interval: float
    #: The least seconds from one beginning to the next if it failed.
    patience: float = 0.0
    #: Returns whether there is anything to do. If not, the thread does not
    #: wake for this chore.
    is_wanted: Callable[[], bool] = _always
    #: When it is to be done next, on the monotonic clock.
    due: float = 0.0


class Housekeeper:
    """Does chores when they are due, on a thread of its own.

    If a chore fails, that is logged, and the others are done all the same.

    Args:
        chores: the chores. Those that are due at the same time are done in
            this order.
    """

    def __init__(self, chores: list[Chore]) -> None:
        self._chores = chores
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is not None:
            return
        self._stopping = False
        self._thread = threading.Thread(
            target=self._work, name="zodb_async-housekeeper", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)

    def wake(self) -> None:
        """Check again which chores are wanted: there may be one more."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread after the chore that it is doing.

        This waits for that, but no longer than the longest interval.
        """
        atexit.unregister(self.stop)
        # The flag before the event, which makes the thread read the flag.
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(max(chore.interval for chore in self._chores))
            self._thread = None

    def _work(self) -> None:
        while True:
            # Cleared before anything is checked: stop() and wake() change
            # something first and set the event then, so neither is missed.
            self._woken.clear()
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
        """Do a chore, and return the seconds to its next beginning."""
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
