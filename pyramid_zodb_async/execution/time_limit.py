"""The watchdog, which ends runs that take longer than their time limit."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator

from ..concurrency.deadlines import Deadlines
from ..concurrency.forks import call_after_fork
from ..concurrency.loggers import get_logger
from ..concurrency.threads import start_thread

__all__ = ["Watchdog"]

log = get_logger(__name__)

#: How long the thread of a watchdog waits for something to watch before it
#: ends, in seconds.
IDLE = 5.0

#: The longest single wait, in seconds: a time limit may be longer than
#: ``threading.TIMEOUT_MAX``, with which a wait would raise.
LONGEST_PAUSE = 3600.0


class Watchdog:
    """Calls functions when blocks of code take longer than they may.

    It has one thread for all blocks, only while there is one to watch.
    """

    def __init__(self) -> None:
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with nothing to watch, and without a thread.

        Called again in a forked child: there the thread does not run, and
        the lock may be locked for ever.
        """
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        #: When each block is over its limit, by the monotonic clock.
        self._deadlines: Deadlines[int] = Deadlines()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def limit(
        self, seconds: float, on_timeout: Callable[[], None]
    ) -> Iterator[None]:
        """Call *on_timeout* on another thread if the block takes too long.

        It may still be called when the block has just ended.

        Args:
            seconds: how long the block may take.
            on_timeout: what to call. What it raises is logged. It delays
                the calls for other blocks.

        Returns:
            A context manager.
        """
        number = self._watch(seconds, on_timeout)
        try:
            yield
        finally:
            with self._condition:
                self._callbacks.pop(number, None)
                self._deadlines.discard(number)

    def _watch(self, seconds: float, on_timeout: Callable[[], None]) -> int:
        """Return the number of a block that is watched from now on."""
        with self._condition:
            number = next(self._numbers)
            self._callbacks[number] = on_timeout
            self._deadlines.set(number, time.monotonic() + seconds)
            if self._thread is None:
                self._thread = start_thread(
                    "watchdog",
                    self._work,
                    action="watchdog_not_started",
                    missing="A thread that watches jobs cannot be started now;"
                    " the next job with a time limit will try again.",
                )
            # the thread may be waiting for a later deadline
            self._condition.notify()
        return number

    def _work(self) -> None:
        """Call what is due, until there is nothing to watch."""
        while (on_timeout := self._next()) is not None:
            try:
                on_timeout()
            except BaseException:  # SystemExit would end this thread only
                log.exception(
                    "Something failed when a job had run for too long.",
                    extra={"action": "watchdog_failed"},
                )

    def _next(self) -> Callable[[], None] | None:
        """Return the next function that is due, or ``None`` to end."""
        with self._condition:
            while True:
                number = self._deadlines.pop(time.monotonic())
                if number is not None:
                    return self._callbacks.pop(number)
                first = self._deadlines.first()
                pause = IDLE if first is None else first - time.monotonic()
                is_notified = self._condition.wait(
                    min(max(0, pause), LONGEST_PAUSE)
                )
                if first is None and not is_notified:
                    # within the lock, so that the next block to be watched
                    # finds either a thread that sees it, or none
                    self._thread = None
                    return None
