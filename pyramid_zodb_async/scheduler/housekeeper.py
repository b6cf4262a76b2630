"""The thread that looks after jobs and slices from time to time."""

import atexit
import logging
import threading
from collections.abc import Callable

__all__ = ["Housekeeper"]

log = logging.getLogger(__name__)


class Housekeeper:
    """Does chores at once and then regularly, on a thread of its own.

    One that fails is logged, and keeps none from the others.

    Args:
        chores: what to do.
        interval: the time between two rounds, in seconds.
    """

    def __init__(
        self, chores: list[Callable[[], None]], interval: float
    ) -> None:
        self._chores = chores
        self._interval = interval
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._thread = threading.Thread(
            target=self._work, name="zodb_async-housekeeper", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End, when the chore at hand is done."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(self._interval)
            self._thread = None

    def _work(self) -> None:
        while True:
            for chore in self._chores:
                if self._stopping.is_set():
                    return
                self._do(chore)
            if self._stopping.wait(self._interval):
                return

    def _do(self, chore: Callable[[], None]) -> None:
        try:
            chore()
        except Exception:
            log.warning(
                "Looking after jobs failed, and will be tried again in %g s.",
                self._interval,
                exc_info=True,
                extra={"action": "housekeeping_failed"},
            )
