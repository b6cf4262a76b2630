"""The repetition of messages for jobs that still wait for a worker."""

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..process.assigned_job import AssignedJob
from ..process.dispatch import Dispatcher
from ..records import Fence

__all__ = ["Resender"]

#: The longest pause in seconds before a message for a job that still waits is
#: sent again. The job may wait only because there are many before it.
LONGEST_PAUSE = 3600.0

#: How many of the jobs that are known to wait are read by one check. So one
#: check sends no more messages than that.
MOST = 1000


@dataclass(slots=True)
class _Seen:
    """A job that was pending without a runner at the last check."""

    run_number: int
    queue: str
    #: When to send a message, on the monotonic clock.
    again: float
    #: The pause before that, in seconds.
    pause: float


class Resender:
    """Sends messages again for jobs that wait for a worker to claim them.

    A message can be lost: with the process that was to send it, with the
    broker, or because it came before the job could be seen. A message is
    sent again when the job has waited for a lease since it was first seen,
    then after two leases, four and so on.

    A job may also wait only because many are before it, and each process sees
    the same jobs. If all of them sent messages for these jobs, workers would
    be busy with finding that a job has ended. So the broker is asked how many
    messages it has, and no more are sent than are missing.

    When many jobs wait, a check reads the records of some of them only, so
    that its duration does not grow: of those for which a message is due, and
    of those that were not read for the longest time.

    Args:
        dispatcher: sends the messages.
        lease: the first pause, in seconds.
        end_undone: ends those of some jobs whose end was undone, and returns
            their sids; it gets the fences by sid. Else a message would be sent
            for such a job.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        lease: float,
        end_undone: Callable[[dict[str, Fence]], set[str]],
    ) -> None:
        self._end_undone = end_undone
        self._dispatcher = dispatcher
        self._lease = lease
        #: The jobs that wait, by sid; those that were read last come last.
        self._seen: dict[str, _Seen] = {}

    def postponed(self) -> AbstractSet[str]:
        """Return the sids of the jobs that the next check need not read."""
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
        """Send the messages that are missing for jobs that wait.

        Args:
            jobs: the jobs that a check has read, which are due within a lease
                and have no runner.
            left_out: the sids of the jobs that still wait, but were not read.
        """
        now, seen = time.monotonic(), self._seen
        # Those that were not read come first, so that the next check reads
        # them. Jobs that do not wait any more are in neither argument.
        self._seen = {sid: seen[sid] for sid in seen if sid in left_out}
        forgotten: dict[str, list[tuple[AssignedJob, _Seen]]] = {}
        for job in jobs:
            # the seconds until it is due
            ahead = max(0.0, (job.due or 0.0) - time.time())
            known = seen.get(job.sid)
            # A greater run number: it has failed, or was freed, since then.
            # Its first message is sent by the process that did that.
            if known is None or known.run_number != job.fence.run_number:
                # One that was due later than a lease got no message so far.
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
        # Asked for all jobs of a queue at once. The answer comes later, by
        # another thread, so what it needs is passed along.
        for queue, late in forgotten.items():
            self._dispatcher.remote.count(
                queue,
                functools.partial(self._send_missing, late, waiting[queue]),
            )

    def _send_missing(
        self,
        late: list[tuple[AssignedJob, _Seen]],
        waiting: int,
        messages: int,
    ) -> None:
        """Send messages again, if fewer *messages* than jobs are *waiting*.

        One is always sent: the messages may be for jobs that have ended.
        """
        # those that have waited longest first
        late.sort(key=lambda job_and_known: job_and_known[1].again)
        now = time.monotonic()
        late = late[: max(1, waiting - messages)]
        undone = self._end_undone({job.sid: job.fence for job, _ in late})
        for job, known in late:
            if job.sid in undone:
                continue
            self._dispatcher.send(job)
            known.pause = min(2 * known.pause, LONGEST_PAUSE)
            known.again = now + known.pause
