"""Sends word of jobs from a thread of its own, until the broker has it."""

import atexit
import logging
import threading
from collections.abc import Callable

from ...concurrency.forks import call_after_fork
from ..queue import Entry, JobQueue

__all__ = ["Publisher"]

log = logging.getLogger(__name__)

#: How long to wait before the second and each further attempt at a message,
#: while the broker is away, in seconds.
PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0)

#: How long the end of the process may wait for messages to be sent, in s.
PATIENCE = 2.0


#: A queue, and who would like to know how many messages wait there.
_Question = tuple[str, Callable[[int], None]]


class Publisher:
    """Keeps messages that are to be sent, each at its time.

    Whoever puts one in waits for nothing. What is not sent when the process
    ends is lost, and will be missed by those who look for jobs that wait.

    Args:
        publish: sends a message; raises if that is not certain.
        close: lets go of what that needs, when no more is to be sent.
        count: counts the messages that wait in a queue; raises if it cannot.
    """

    def __init__(
        self,
        publish: Callable[[Entry], None],
        close: Callable[[], None],
        count: Callable[[str], int],
    ) -> None:
        self._publish = publish
        self._close = close
        self._count = count
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Know of no message and no thread; in a child they are others'."""
        self._condition = threading.Condition()
        self._queue = JobQueue()
        #: The sids of what is in the queue, or being sent.
        self._known: set[str] = set()
        #: By queue, who would like to know how many messages wait there.
        self._asked: dict[str, Callable[[int], None]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        #: How often in a row a message could not be sent.
        self._failures = 0

    def put(self, message: Entry, due: float | None = None) -> None:
        """Have a message sent at once, or when it is *due*.

        That is in seconds since the epoch. If word of its job is to be sent
        anyway, this is no news.
        """
        with self._condition:
            if message.sid in self._known:
                return
            self._known.add(message.sid)
            self._queue.put(message, due)
            self._stopping = False
            self._start_thread()
            self._condition.notify_all()

    def count(self, queue: str, tell: Callable[[int], None]) -> None:
        """Have *tell* told how many messages wait in a queue of the broker.

        That is when this process has none to send, and not at all if the
        broker does not answer, or if somebody else asks before.
        """
        with self._condition:
            self._asked[queue] = tell
            self._stopping = False
            self._start_thread()
            self._condition.notify_all()

    def __len__(self) -> int:
        return len(self._known)

    def withdraw(self, sid: str) -> None:
        """Forget a message, unless it is being sent."""
        with self._condition:
            if sid in self._known:
                self._queue.remove(sid)
                self._known.discard(sid)

    def stop(self, patience: float = PATIENCE) -> None:
        """Send what is due, but for *patience* seconds at most.

        While the broker is away nothing is waited for. What is left waits
        for the next message that is put in.
        """
        atexit.unregister(self.stop)
        with self._condition:
            self._stopping = True
            thread = self._thread
            self._condition.notify_all()
        if thread is not None:
            thread.join(patience)

    def _start_thread(self) -> None:
        if self._thread is not None:
            return
        thread = threading.Thread(
            target=self._work, name="zodb_async-publisher", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            log.exception(
                "A thread that sends word of jobs cannot be started now; the"
                " next job will try again.",
                extra={"action": "publisher_not_started"},
            )
            return
        self._thread = thread
        atexit.register(self.stop)

    def _work(self) -> None:
        while (task := self._take()) is not None:
            if isinstance(task, Entry):
                self._send(task)
            else:
                self._answer(*task)

    def _send(self, message: Entry) -> None:
        try:
            self._publish(message)
        except Exception as error:  # noqa: BLE001 - of any library
            self._note_failure(message, error)
        else:
            self._note_success(message)

    def _answer(self, queue: str, tell: Callable[[int], None]) -> None:
        try:
            tell(self._count(queue))
        except Exception:
            log.info(
                "The messages in the queue %s cannot be counted now.",
                queue,
                exc_info=True,
                extra={"action": "messages_not_counted"},
            )

    def _take(self) -> Entry | _Question | None:
        """Wait for a message that is due, or a question that can be asked.

        ``None`` to end the thread.
        """
        with self._condition:
            while True:
                if not self._failures or self._may_try_again():
                    message = self._queue.take()
                    if message is not None:
                        return message
                if self._stopping:
                    self._asked.clear()
                    self._close()
                    self._thread = None
                    return None
                if self._asked:
                    return self._asked.popitem()
                self._condition.wait(self._queue.pause())

    def _may_try_again(self) -> bool:
        """Wait as long as the broker is given; whether to go on then."""
        pause = PAUSES[min(self._failures, len(PAUSES)) - 1]
        self._condition.wait_for(lambda: self._stopping, pause)
        return not self._stopping

    def _note_failure(self, message: Entry, error: Exception) -> None:
        with self._condition:
            self._failures += 1
            failures = self._failures
            self._queue.put(message)
        if failures == len(PAUSES):
            log.warning(
                "The broker cannot be told of job %s; %d jobs wait for it,"
                " and it is tried again every %g s.",
                message.sid,
                len(self),
                PAUSES[-1],
                exc_info=error,
                extra={"action": "broker_away", "sid": message.sid},
            )

    def _note_success(self, message: Entry) -> None:
        with self._condition:
            failures, self._failures = self._failures, 0
            self._known.discard(message.sid)
            self._condition.notify_all()
        if failures >= len(PAUSES):
            log.info(
                "The broker is back, and is told of %d jobs.",
                len(self) + 1,
                extra={"action": "broker_back"},
            )

    def wait(self, timeout: float) -> bool:
        """Wait until all is sent; whether that came to pass in *timeout* s."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._known, timeout)
