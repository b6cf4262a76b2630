"""Notices runs that take longer than they may."""

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

from ..concurrency.deadlines import Deadlines
from ..concurrency.forks import call_after_fork

__all__ = ["Watchdog"]

log = logging.getLogger(__name__)

#: How long its thread stays when there is nothing to watch, in seconds.
IDLE = 5.0

#: The longest time to wait at once, in seconds: a limit may be longer than
#: any lock can wait.
LONGEST_PAUSE = 3600.0


class Watchdog:
    """Calls a function when a block of code has taken too long.

    It has a thread as long as there is something to watch.
    """

    def __init__(self) -> None:
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Watch nothing; in a child it is the parent's."""
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        #: When to call what, by the monotonic clock.
        self._deadlines: Deadlines[int] = Deadlines()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(
        self, seconds: float, on_timeout: Callable[[], None]
    ) -> Iterator[None]:
        """Call *on_timeout*, on another thread, if the block takes that long.

        It may be called when the block has just ended.
        """
        number = self._expect(seconds, on_timeout)
        try:
            yield
        finally:
            with self._condition:
                self._callbacks.pop(number, None)
                self._deadlines.discard(number)

    def _expect(self, seconds: float, on_timeout: Callable[[], None]) -> int:
        with self._condition:
            number = next(self._numbers)
            self._callbacks[number] = on_timeout
            self._deadlines.set(number, time.monotonic() + seconds)
            if self._thread is None:
                thread = threading.Thread(
                    target=self._work, name="zodb_async-watchdog", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    log.exception(
                        "A thread that watches jobs cannot be started now;"
                        " the next job with a time limit will try again.",
                        extra={"action": "watchdog_not_started"},
                    )
                else:
                    self._thread = thread
            self._condition.notify()
        return number

    def _work(self) -> None:
        while (on_timeout := self._next()) is not None:
            try:
                on_timeout()
            except Exception:
                log.exception(
                    "Something failed when a job had run for too long.",
                    extra={"action": "watchdog_failed"},
                )

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next that is due; ``None`` if nothing is watched."""
        with self._condition:
            while True:
                number = self._deadlines.pop(time.monotonic())
                if number is not None:
                    return self._callbacks.pop(number)
                first = self._deadlines.first()
                pause = IDLE if first is None else first - time.monotonic()
                is_told = self._condition.wait(
                    min(max(0, pause), LONGEST_PAUSE)
                )
                if first is None and not is_told:
                    self._thread = None
                    return None
