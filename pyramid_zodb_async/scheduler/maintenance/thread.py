"""The maintenance thread, which does chores at intervals."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...concurrency.exits import call_at_exit, forget_at_exit
from ...concurrency.loggers import get_logger
from ...concurrency.threads import start_thread

__all__ = ["Chore", "Housekeeper"]

log = get_logger(__name__)

#: How long the thread waits after a failure in what is around the chores, in
#: seconds.
PAUSE = 1.0


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
    """

    def __init__(self) -> None:
        self._chores: list[Chore] = []
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, chores: list[Chore]) -> bool:
        """Do chores from now on, in place of those that were done so far.

        Args:
            chores: the chores. Those that are due at the same time are done
                in this order.

        Returns:
            Whether there is a thread that does them. If none can be started,
            that is logged.
        """
        self._chores = chores
        # it does not run in a forked child
        if self._thread is not None and self._thread.is_alive():
            self.wake()
            return True
        self._stopping = False
        self._thread = start_thread(
            "housekeeper",
            self._work,
            action="housekeeper_not_started",
            missing="A thread that looks after jobs cannot be started now.",
        )
        if self._thread is None:
            return False
        call_at_exit(self.stop)
        return True

    def wake(self) -> None:
        """Check again which chores are wanted: there may be one more."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread after the chore that it is doing.

        This waits for that, but no longer than the longest interval.
        """
        forget_at_exit(self.stop)
        # The flag before the event, which makes the thread read the flag.
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(max(chore.interval for chore in self._chores))
            self._thread = None

    def _work(self) -> None:
        while not self._stopping:
            try:
                self._do_what_is_due()
            except BaseException:
                # for example, there is no memory left; nothing would start
                # another thread, so this one must go on
                log.warning(
                    "Looking after jobs failed, and will be tried again in"
                    " %g s.",
                    PAUSE,
                    exc_info=True,
                    extra={"action": "housekeeping_failed"},
                )
                self._woken.wait(PAUSE)

    def _do_what_is_due(self) -> None:
        """Do the chores that are due, and wait until another one is."""
        # Cleared before anything is checked: stop() and wake() change
        # something first and set the event then, so neither is missed.
        self._woken.clear()
        wanted = [chore for chore in self._chores if chore.is_wanted()]
        for chore in wanted:
            if self._stopping:
                return
            if chore.due <= time.monotonic():
                chore.due = time.monotonic() + self._do(chore)
        if not self._stopping:
            self._woken.wait(self._pause(wanted))

    def _pause(self, wanted: list[Chore]) -> float | None:
        now = time.monotonic()
        return min((max(0, chore.due - now) for chore in wanted), default=None)

    def _do(self, chore: Chore) -> float:
        """Do a chore, and return the seconds to its next beginning."""
        try:
            chore.do()
        except BaseException:  # SystemExit would end this thread only
            pause = max(chore.interval, chore.patience)
            log.warning(
                "Looking after jobs failed, and will be tried again in %g s.",
                pause,
                exc_info=True,
                extra={"action": "housekeeping_failed"},
            )
            return pause
        return chore.interval
