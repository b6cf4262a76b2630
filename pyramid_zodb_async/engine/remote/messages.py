"""Messages, which bring workers word of one job or of several."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ...jobs.options import DEFAULT_QUEUE

__all__ = ["HEADER", "Batch", "Message", "Word", "words_of"]

#: The name of the header that says more than the sid. Workers of versions
#: that do not know it run the job of the sid, and no other.
HEADER = "zodb_async_jobs"

#: For how many jobs one message is at most, and among how many such messages
#: at least those that wait are divided: there may be as many workers.
MOST_TOGETHER, SHARE = 10, 10


class Word(NamedTuple):
    """What a message says of one job."""

    sid: str
    #: The serial that the record of the job has since it was scheduled, if
    #: this is the first message for it. Else the job is to be claimed.
    serial: bytes | None = None


class Message(NamedTuple):
    """A message for one job, and perhaps for others after that."""

    sid: str
    priority: int = 0
    #: The name of the queue of the jobs, which decides what workers run them.
    queue: str = DEFAULT_QUEUE
    #: See :class:`Word`.
    serial: bytes | None = None
    #: What it says of others, which have the same priority and queue.
    others: tuple[Word, ...] = ()

    def words(self) -> Iterator[Word]:
        """Return what it says, of one job after the other."""
        yield Word(self.sid, self.serial)
        yield from self.others

    def headers(self) -> dict[str, Any]:
        """Return the headers that say more than the sid, if there is more."""
        if self.serial is None and not self.others:
            return {}
        jobs = [
            [sid, "" if serial is None else serial.hex()]
            for sid, serial in self.words()
        ]
        return {HEADER: [self.priority, self.queue, jobs]}


def words_of(
    sid: str, header: Any, *, is_redelivered: bool = False
) -> list[Message]:
    """Return what a message says, as a message for each job.

    Args:
        sid: the content of the message.
        header: that of the name :data:`HEADER`; ``None`` if it has none. One
            that cannot be understood is left aside.
        is_redelivered: whether the broker has delivered the message before.
            Then it is the first one for none of its jobs: a run may have
            begun, and its process have ended.
    """
    try:
        priority, queue, jobs = header or (0, DEFAULT_QUEUE, [])
        messages = [
            Message(str(sid), int(priority), str(queue), bytes.fromhex(serial))
            for sid, serial in jobs
        ]
    except (TypeError, ValueError):
        messages = []
    if not messages or messages[0].sid != sid:
        messages = [Message(sid)]
    return [
        message
        if message.serial and not is_redelivered
        else message._replace(serial=None)
        for message in messages
    ]


class Batch:
    """What is to be said of many jobs, each named when it is to be sent.

    Args:
        sids: the sids of the jobs.
        priority: that of all of them.
        queue: the name of their queue.
        serial: that of all their records, see :class:`Word`.
    """

    def __init__(
        self,
        sids: Sequence[str],
        priority: int,
        queue: str,
        serial: bytes | None,
    ) -> None:
        self._sids = sids
        self._next = 0
        #: What all its messages have in common.
        self.rank = priority, queue
        self._serial = serial

    def __len__(self) -> int:
        return len(self._sids) - self._next

    def take(self) -> list[Word]:
        """Remove and return what the next message is to say.

        There must be something left. The fewer are left, the fewer it takes.
        """
        first = self._next
        self._next += min(MOST_TOGETHER, max(1, len(self) // SHARE))
        return [
            Word(self._sids[index], self._serial)
            for index in range(first, self._next)
        ]
