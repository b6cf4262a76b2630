"""Sends word again of jobs that seem to have been forgotten."""

import functools
import itertools
import time
from collections import Counter
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..process.assigned_jobs import AssignedJob
from ..process.dispatch import Dispatcher

__all__ = ["Resender"]

#: The longest time after which word of a job that still waits is sent again,
#: in seconds. It may just be that there are many before it.
LONGEST_PAUSE = 3600.0

#: How many of the jobs that were seen to wait are looked at again in one look.
#: So word is sent again of no more.
MOST = 1000


@dataclass(slots=True)
class _Seen:
    run_number: int
    queue: str
    #: When to send word, on the monotonic clock.
    again: float
    #: For how long to wait then.
    pause: float


class Resender:
    """Watches jobs that wait for a process that gets word of them.

    A message can be lost: with the process that was to send it, with the
    broker, or because it came before its job could be seen. Word of a job
    is sent again when it has waited for a lease since it was first seen, and
    then after twice the time each time.

    It may just be that many wait before it, and each process watches the same
    jobs: if all sent word for that, workers would have little time for
    anything else than to find that a job has ended. So the broker is asked
    how much word it has, and no more is sent than is missing.

    When many wait, a look is at some of them only, so that it does not take
    the longer the more there are: at those that word is to be sent of, and
    at those that were not looked at for the longest time.

    Args:
        dispatcher: what sends word.
        lease: a lease, in seconds.
    """

    def __init__(self, dispatcher: Dispatcher, lease: float) -> None:
        self._dispatcher = dispatcher
        self._lease = lease
        #: By sid; what was looked at last is last.
        self._seen: dict[str, _Seen] = {}

    def postponed(self) -> AbstractSet[str]:
        """Give the sids that the next look may leave out."""
        seen = self._seen
        if len(seen) <= MOST:
            return frozenset()
        now = time.monotonic()
        due = (sid for sid, known in seen.items() if known.again <= now)
        return seen.keys() - set(
            itertools.islice(itertools.chain(due, seen), MOST)
        )

    def check(
        self,
        jobs: Iterable[AssignedJob],
        left_out: AbstractSet[str] = frozenset(),
    ) -> None:
        """Take note of the jobs that wait, due or soon due.

        Args:
            jobs: those that were looked at.
            left_out: the sids of further ones.
        """
        now, seen = time.monotonic(), self._seen
        self._seen = {sid: seen[sid] for sid in seen if sid in left_out}
        forgotten: dict[str, list[tuple[AssignedJob, _Seen]]] = {}
        for job in jobs:
            ahead = max(0.0, (job.due or 0.0) - time.time())
            known = seen.get(job.sid)
            if known is None or known.run_number != job.fence.run_number:
                if ahead and self._dispatcher.sends_ahead:
                    self._dispatcher.send(job)
                known = _Seen(
                    job.fence.run_number,
                    job.options.queue,
                    now + ahead + self._lease,
                    self._lease,
                )
            elif known.again <= now:
                forgotten.setdefault(known.queue, []).append((job, known))
            self._seen[job.sid] = known
        waiting = Counter(
            known.queue
            for known in self._seen.values()
            if known.again - known.pause <= now  # else it is not due yet
        )
        for queue, late in forgotten.items():
            self._dispatcher.count(
                queue,
                functools.partial(self._send_missing, late, waiting[queue]),
            )

    def _send_missing(
        self,
        late: list[tuple[AssignedJob, _Seen]],
        waiting: int,
        messages: int,
    ) -> None:
        """Send word again, if fewer *messages* than jobs are *waiting*.

        But always of one: others may be of jobs that have ended.
        """
        late.sort(key=lambda job_and_known: job_and_known[1].again)
        now = time.monotonic()
        for job, known in late[: max(1, waiting - messages)]:
            self._dispatcher.send(job)
            known.pause = min(2 * known.pause, LONGEST_PAUSE)
            known.again = now + known.pause
