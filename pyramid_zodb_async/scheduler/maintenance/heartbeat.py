"""The signs of life that a process gives while it has jobs."""

import time
from collections.abc import Collection, Mapping

from ..process.progress_reports import write_reports
from ..process.this_process import ThisProcess
from ..records import Store

__all__ = ["Heartbeat"]

#: After how many seconds without a job a process gives a sign of life as soon
#: as it has one: others may have removed its beat, and with it its lease.
LONG_IDLE = 1800.0

#: For how many seconds at least a beat stands there without a job.
LONGEST_IDLE = 3600.0

#: After how many checks that found no job of an incarnation, and no new sign
#: of life, its beat is removed at the earliest. If the incarnation is alive
#: and needs it, it makes a new one.
FORGOTTEN_AFTER = 100


class Heartbeat:
    """Counts up the beat of this process, and removes those of others.

    On a storage that only one process can have open nobody watches for signs
    of life, and nothing is written.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        self._location = process.location
        self._assigned = process.assigned_jobs
        self._incarnation = process.incarnation
        self._lease = process.lease if process.is_shared else None
        #: When :meth:`beat` was called last, on the monotonic clock.
        self._last_beat = 0.0
        #: When it last gave a sign of life, or there was no job; and how many
        #: jobs had been dropped by then.
        self._last_sign, self._drops = time.monotonic(), 0
        #: Since when there has been no job.
        self._idle_since: float | None = None
        #: Whether this process was silent since its jobs were last compared.
        self.was_silent = False
        #: Whether it looks after jobs of processes that may be gone. If it
        #: gave no sign, it would be taken for dead by another one that does
        #: so then, and that one by this one.
        self.keeps_for_others = False
        #: Whether its last sign told of jobs that run without a claim.
        self._has_told = False
        #: How many checks in a row have found no job of an incarnation, by its
        #: name and its beat.
        self._unused: dict[tuple[str, int], int] = {}

    def beat(self) -> None:
        """Give a sign of life, if this process has jobs, or keeps some.

        Without them no process checks for it, and nothing is written. But if
        it was silent for its lease while there was a job, others may have
        taken that over, and must learn that this process has not ended.
        """
        # Set before the write: if that fails, it is not repeated at once.
        self._last_beat = now = time.monotonic()
        if self._lease is None:
            return
        drops = self._assigned.drops
        is_idle = not (len(self._assigned) or self.keeps_for_others)
        if now - self._last_sign >= self._lease:
            self.was_silent = True
            is_idle = is_idle and drops == self._drops
        if is_idle:
            self._stay_idle(now)
        else:
            self._idle_since = None
            tells = self._assigned.run_unclaimed()
            sign = self._report if tells or self._has_told else self._sign
            self._location.write(
                sign, note=f"incarnation {self._incarnation} is alive"
            )
            self._has_told = tells
            self._assigned.needs_sign = False
        self._last_sign, self._drops = now, drops

    def _sign(self, store: Store) -> None:
        store.beat_of(self._incarnation).sign(self._process.lease)

    def _report(self, store: Store) -> None:
        """Give a sign that tells of the jobs that run without a claim.

        Others leave these alone as long as signs come. It takes no longer than
        a third of the lease until the first one that tells of a job.
        """
        jobs, lease = self._assigned.begun(), self._process.lease
        write_reports(store, self._incarnation, jobs, lease)

    def _stay_idle(self, now: float) -> None:
        """Note that there is no job to give signs of life for."""
        if self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since >= LONG_IDLE:
            self._assigned.needs_sign = True

    def beat_if_due(self) -> None:
        """Give a sign of life while a takeover keeps the thread busy."""
        silence = time.monotonic() - self._last_beat
        if self._lease is not None and silence >= self._lease / 3:
            self.beat()

    def forget(self, unused: Mapping[str, int]) -> None:
        """Remove the beats of incarnations that ended long ago.

        To be called at each look. An incarnation may run jobs that this
        process does not look at. But then it gives signs of life, and its
        beat stays.

        Args:
            unused: the beats of the incarnations of which this process knows
                no job now.
        """
        self._unused = {
            known: self._unused.get(known, 0) + 1 for known in unused.items()
        }
        # there are three looks in a lease
        least = max(FORGOTTEN_AFTER, 3 * LONGEST_IDLE / self._process.lease)
        old = [
            incarnation
            for (incarnation, _), looks in self._unused.items()
            if looks > least
        ]

        self.remove(old)

    def remove(self, incarnations: Collection[str]) -> None:
        """Remove the beats of some incarnations, if there are any.

        Args:
            incarnations: the incarnations.
        """

        def remove(store: Store) -> None:
            for incarnation in incarnations:
                store.runners.pop(incarnation, None)

        if incarnations:
            self._location.write(remove, note="incarnations that ended")
