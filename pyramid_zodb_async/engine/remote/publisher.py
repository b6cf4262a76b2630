"""The publisher, a thread that sends messages until the broker has them."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Sequence

from ...concurrency.exits import call_at_exit, forget_at_exit
from ...concurrency.forks import call_after_fork
from ...concurrency.loggers import get_logger
from ...concurrency.threads import start_thread
from ..queue import Entry, JobQueue
from .messages import Batch, Message

__all__ = ["Publisher"]

log = get_logger(__name__)

#: The pauses after one, two and more failures in a row to send a message, in
#: seconds. The last one is also that after further failures.
PAUSES = (0.0, 0.25, 0.5, 1.0, 2.0)

#: How long the end of the process may wait for messages to be sent, in
#: seconds.
PATIENCE = 2.0

#: The name of a queue, and what to call with the number of its messages.
_CountRequest = tuple[str, Callable[[int], None]]


class Publisher:
    """Sends messages on a thread of its own, each when it is due.

    Its callers do not wait for the broker, except for those of :meth:`stop`
    and :meth:`wait`. Messages that are not sent when the process ends are
    lost; the maintenance threads of other processes find their jobs in the
    database, and send new ones.

    Args:
        publish: sends a message; raises if the broker may not have it.
        close: closes the connection to the broker, when no more is to be
            sent.
        count: returns the number of messages that wait in a queue of the
            broker; raises if that cannot be found out.
    """

    def __init__(
        self,
        publish: Callable[[Message], None],
        close: Callable[[], None],
        count: Callable[[str], int],
    ) -> None:
        self._publish = publish
        self._close = close
        self._count = count
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with no messages and no thread.

        Called again in a forked child: there the thread does not run, the
        lock may be locked for ever, and the parent sends the messages.
        """
        self._condition = threading.Condition()
        self._queue = JobQueue()
        #: The sids of the messages in the queue, and of the one being sent,
        #: each with its serial; see :class:`~.messages.Word`.
        self._known: dict[str, bytes | None] = {}
        #: How many of these are of many jobs, and do not count.
        self._others = 0
        #: Those for many jobs, none of which is empty; sent when none of the
        #: queue is due.
        self._batches: deque[Batch] = deque()
        #: By queue, what to call with the number of its messages.
        self._asked: dict[str, Callable[[int], None]] = {}
        self._thread: threading.Thread | None = None
        self._stopping = False
        #: Whether the log has the number of messages that the last stop left,
        #: to which none was added.
        self._has_told = False
        #: How many attempts in a row to send any message have failed.
        self._failures = 0

    def put(self, message: Message, due: float | None = None) -> None:
        """Add a message, unless there is one for its job.

        Args:
            message: the message, for one job.
            due: when it is to be sent, in seconds since the epoch; ``None``
                for at once.
        """
        with self._condition:
            if message.sid not in self._known:
                self._known[message.sid] = message.serial
                self._queue.put(Entry(*message[:3]), due)
            # also for a known one, for which no thread could be started before
            self._go_on()

    def put_batch(
        self,
        sids: Sequence[str],
        *,
        queue: str,
        priority: int = 0,
        serial: bytes | None = None,
    ) -> None:
        """Add messages for many jobs, which are to be sent at once.

        They are sent when no other message is due, so that they hold up none.
        However many there are, this takes no longer. They do not count in
        ``len()``, and cannot be withdrawn. One message may be for several.

        Args:
            sids: the sids of the jobs, each of which is asked for when its
                message is to be sent; they must not change.
            queue: the name of the queue of the jobs.
            priority: the priority of the jobs.
            serial: that of all their records, see :class:`~.messages.Word`.
        """
        if not sids:
            return
        with self._condition:
            self._batches.append(Batch(sids, priority, queue, serial))
            self._go_on()

    def count(self, queue: str, callback: Callable[[int], None]) -> None:
        """Have the messages in a queue of the broker counted.

        This is done when no message is due to be sent.

        Args:
            queue: the name of the queue.
            callback: called with the number, on the publisher's thread. It is
                not called if the broker does not answer, or if this is called
                again for the queue before.
        """
        with self._condition:
            self._asked[queue] = callback
            self._go_on()

    def __len__(self) -> int:
        return len(self._known) - self._others

    def _in_batches(self) -> int:
        """Return how many messages the batches have."""
        return sum(map(len, self._batches))

    def withdraw(self, sid: str) -> None:
        """Remove the message for a job, unless it is being sent.

        Args:
            sid: the sid of the job.
        """
        with self._condition:
            if sid in self._known:
                self._queue.remove(sid)
                del self._known[sid]

    def take_back(self, sid: str) -> bool:
        """Remove the message for a job; return whether it was not sent.

        Args:
            sid: the sid of the job.
        """
        with self._condition:
            if not self._queue.remove(sid):
                return False  # it is sent, or is being sent
            del self._known[sid]
            return True

    def stop(self, patience: float = PATIENCE) -> None:
        """Send what is due, and end the thread.

        If the last attempt to send a message has failed, no more is sent.
        What is left is logged, and is sent when there is a new message.

        Args:
            patience: how long to wait for the thread at most, in seconds.
        """
        forget_at_exit(self.stop)
        with self._condition:
            self._stopping = True
            thread = self._thread
            self._condition.notify_all()
        if thread is not None:
            thread.join(patience)
        with self._condition:
            left = self._queue.ready() + self._in_batches()
            has_told, self._has_told = self._has_told, bool(left)
        # once: at the end of the process, this is called twice, as the
        # scheduler stops its engine as well
        if left and not has_told:
            log.warning(
                "The broker has no word of %d %s; other processes send it when"
                " the lease is over.",
                left,
                "job" if left == 1 else "jobs",
                extra={"action": "messages_left"},
            )

    def _go_on(self) -> None:
        """Have what was added seen to, also after a stop; in the lock."""
        # a thread that stops has not seen it, or has ended: in the first case
        # it goes on, in the second another one is started
        self._stopping = self._has_told = False
        self._start_thread()
        self._condition.notify_all()

    def _start_thread(self) -> None:
        """Start the thread unless there is one; to be called in the lock."""
        if self._thread is not None:
            return
        self._thread = start_thread(
            "publisher",
            self._work,
            action="publisher_not_started",
            missing="A thread that sends word of jobs cannot be started now;"
            " the next job will try again.",
        )
        if self._thread is None:
            return
        # the scheduler stops this as well at the end of the interpreter, but
        # not in a script, which does not start it, and may end right after
        # the commit whose messages are here
        call_at_exit(self.stop)

    def _work(self) -> None:
        """Send messages and count those of queues, until this is stopped."""
        while (task := self._take()) is not None:
            if isinstance(task, Message):
                self._send(task)
            else:
                self._answer(*task)

    def _send(self, message: Message) -> None:
        """Send a message, outside of the lock: the broker may be slow."""
        try:
            self._publish(message)
        except BaseException as error:  # noqa: BLE001 - of any library
            self._note_failure(message, error)
        else:
            self._note_success(message)

    def _answer(self, queue: str, callback: Callable[[int], None]) -> None:
        """Call *callback* with the number of messages in a queue."""
        try:
            callback(self._count(queue))
        except BaseException:
            log.info(
                "The messages in the queue %s cannot be counted now.",
                queue,
                exc_info=True,
                extra={"action": "messages_not_counted"},
            )

    def _take(self) -> Message | _CountRequest | None:
        """Wait for what is to be done next, and return it; ``None`` to end."""
        with self._condition:
            while True:
                if not self._failures or self._may_try_again():
                    message = self._take_due() or self._take_of_batch()
                    if message is not None:
                        return message
                # after what is due, so that a stop sends that; before counts,
                # which are not worth a wait at the end of the process
                if self._stopping:
                    self._asked.clear()
                    # in the lock, so that put() finds a thread that sees its
                    # message, or none; first, so that it finds none also if
                    # the connection cannot be closed
                    self._thread = None
                    # on this thread, which uses the connection alone
                    with contextlib.suppress(BaseException):
                        self._close()
                    return None
                if self._asked:
                    return self._asked.popitem()
                self._condition.wait(self._queue.pause())

    def _take_due(self) -> Message | None:
        """Remove and return the next message that is due, if any."""
        entry = self._queue.take()
        return entry and Message(*entry, self._known.get(entry.sid))

    def _take_of_batch(self) -> Message | None:
        """Remove and return the next message for some of many, if any."""
        while self._batches:
            batch = self._batches[0]
            # there may be one for a job, which is sent when it is due
            words = [
                word for word in batch.take() if word.sid not in self._known
            ]
            if not batch:
                self._batches.popleft()
            self._known.update(words)
            if words:
                (sid, serial), *others = words
                self._others = len(others)
                return Message(sid, *batch.rank, serial, tuple(others))
        return None

    def _may_try_again(self) -> bool:
        """Wait after a failure; return whether to send again after that."""
        pause = PAUSES[min(self._failures, len(PAUSES)) - 1]
        self._condition.wait_for(lambda: self._stopping, pause)
        return not self._stopping

    def _note_failure(self, message: Message, error: BaseException) -> None:
        """Put a message back that could not be sent, one for each job."""
        with self._condition:
            self._failures += 1
            failures = self._failures
            self._others = 0
            # the broker may have it nevertheless, so the next one is not the
            # first
            self._known[message.sid] = None
            self._queue.put(Entry(*message[:3]))
            if message.others:
                sids = [sid for sid, _ in message.others]
                for sid in sids:
                    self._known.pop(sid, None)
                self._batches.appendleft(Batch(sids, *message[1:3], None))
        # once for each outage, and not for a short one
        if failures == len(PAUSES):
            log.warning(
                "The broker cannot be told of job %s; %d jobs wait for it,"
                " and it is tried again every %g s.",
                message.sid,
                len(self) + self._in_batches(),
                PAUSES[-1],
                exc_info=error,
                extra={"action": "broker_away", "sid": message.sid},
            )

    def _note_success(self, message: Message) -> None:
        """Forget a message that the broker has."""
        with self._condition:
            failures, self._failures = self._failures, 0
            self._others = 0
            for sid, _ in message.words():
                self._known.pop(sid, None)
            self._condition.notify_all()
        if failures >= len(PAUSES):
            log.info(
                "The broker is back, and is told of %d jobs.",
                len(self) + self._in_batches() + 1,
                extra={"action": "broker_back"},
            )

    def wait(self, timeout: float) -> bool:
        """Wait until all messages are sent.

        Args:
            timeout: how long to wait at most, in seconds.

        Returns:
            Whether all messages are sent.
        """
        with self._condition:
            return self._condition.wait_for(
                lambda: not (self._known or self._batches), timeout
            )
