"""The search for unfinished jobs that may need this process."""

import math
import time
from collections.abc import Callable, Collection, Iterator

from ...jobs.model import JobState
from ...jobs.options import Options
from ..process.assigned_job import AssignedJob
from ..process.progress_reports import UnclaimedRuns
from ..process.this_process import ThisProcess
from ..records import Store, StoredJob
from .bulk_claims import BulkClaims
from .findings import MOST_READ, Findings
from .heartbeat import Heartbeat
from .lost_jobs import LostJob
from .orderly_ends import ended_in_order
from .resending import Resender
from .shard_keeping import ShardKeeper
from .shard_watch import ShardWatch
from .unfinished_jobs import UnfinishedJobs

__all__ = ["JobSearch"]

#: With how many unfinished jobs another slice is opened before its time. All
#: of those in the newest slice are looked at three times in a lease.
FULL = 5000

#: The longest part of a lease that one look may take to read those jobs, so
#: that signs of life come in time; and the seconds that it has in any case.
SHARE, LEAST = 1 / 6, 0.1

#: How many jobs are read until it is asked whether a sign of life is due. A
#: look may take long, on a storage that is busy.
BETWEEN_BEATS = 500


class JobSearch:
    """Reads what is unfinished, and as little of it as possible.

    Args:
        process: this process.
        heartbeat: its signs of life.
        resender: what it knows of jobs that wait for messages.
        shards: the shards that it keeps.
        bulks: gets the bulks with jobs that nobody has claimed.
        is_gone: returns whether another process seems to have ended.
    """

    def __init__(  # noqa: PLR0913 - the parts of a takeover
        self,
        process: ThisProcess,
        *,
        heartbeat: Heartbeat,
        resender: Resender,
        shards: ShardKeeper,
        bulks: BulkClaims,
        is_gone: Callable[[str], bool],
    ) -> None:
        self._process = process
        self._location = process.location
        self._assigned = process.assigned_jobs
        self._dispatcher = process.dispatcher
        self._heartbeat = heartbeat
        self._resender = resender
        self._shards = shards
        self._bulks = bulks
        #: See :class:`Takeover`.
        self._lease = process.lease if process.is_shared else None
        self._unfinished = UnfinishedJobs()
        self.shard_watch = ShardWatch(process, shards.settled, is_gone)
        #: How many times more than usual one search may read. It grows as
        #: long as what it reads is no use.
        self._patience = 1
        #: What is read again whatever is known: what runs here, and the sids
        #: of what was dropped here and has not ended.
        self._held: Collection[AssignedJob] = ()
        #: What others run that nobody has claimed.
        self._unclaimed = UnclaimedRuns({})
        self._unsettled: Collection[str] = ()

    def find(
        self, held: Collection[AssignedJob], unsettled: Collection[str]
    ) -> Findings:
        """Read what is unfinished, and note what need not be read again.

        Args:
            held: the jobs of this process that are to be compared with their
                records.
            unsettled: the sids of those that were dropped here, and have not
                ended.
        """
        self._held, self._unsettled = held, unsettled
        unfinished = self._unfinished
        # several transactions at the start only, when all slices are new
        while self._location.read(unfinished.check_slices, default=False):
            self._heartbeat.beat_if_due()
        found = self._location.read(self._find, Findings())
        # after the read, which may need several tries
        for sid in found.settled:
            unfinished.leave(sid)
        for sid, due in found.later.items():
            unfinished.leave_until(sid, due)
        self._shards.settled.update(found.settled_shards)
        self._shards.leave_old(unfinished.newest)
        self._bulks.note(found.bulks)
        self._bulks.forget_all_but(unfinished.known_blocks)
        self._process.is_newest_slice_full = unfinished.in_newest > FULL
        return found

    def note_use(self, found: Findings, *, is_used: bool) -> None:
        """Have the next search read more, if nothing came of what was read.

        Else it would read the same again, and never the others.

        Args:
            found: what this search has found.
            is_used: whether something was done with it.
        """
        if not found.is_cut:
            self._patience = 1
        elif not is_used:
            self._patience *= 2

    def unload(self, store: Store, jobs: Collection[StoredJob]) -> None:
        """Have the slices of jobs leave the memory.

        Args:
            store: the store, as a transaction sees it.
            jobs: the jobs, which that has changed.
        """
        self._unfinished.unload(store, {job.place.number for job in jobs})

    def _find(self, store: Store) -> Findings:
        """Sort the unfinished jobs, and load as few records as possible."""
        runners = dict(store.runners.items("", excludemin=True))
        self._unclaimed = UnclaimedRuns(runners)
        found = Findings(
            runners={name: beat.count for name, beat in runners.items()},
            ended=ended_in_order(runners),
            room=MOST_READ * self._patience,
            until=time.monotonic()
            + max(SHARE * self._process.lease, LEAST) * self._patience,
        )
        found.stale = [
            assigned
            for assigned in self._held
            if not store.has_fence(assigned.sid, assigned.fence)
        ]
        stale = {assigned.sid for assigned in found.stale}
        now, postponed = time.time(), self._resender.postponed()
        self._unfinished.check_slices(store)

        def is_known(sid: str) -> bool:
            if sid in self._assigned and sid not in stale:
                return True  # it runs here, or will
            if sid in postponed:
                found.left_out.add(sid)
                return True
            return False

        self.shard_watch.begin(found.runners, is_known)
        for count, seen in enumerate(
            self._seen(store, found, self._horizon(now))
        ):
            if count % BETWEEN_BEATS == BETWEEN_BEATS - 1:
                self._heartbeat.beat_if_due()
            if not isinstance(seen, str):
                self._sort(found, store, seen, now)
            elif not is_known(seen):
                job = store.locate(seen)
                if job is None or job.record.state != JobState.PENDING:
                    found.settled.append(seen)
                else:
                    self._sort(found, store, job, now)
        return found

    def _seen(
        self, store: Store, found: Findings, horizon: float
    ) -> Iterator[str | StoredJob]:
        """Return the jobs that may need this process, or their sids."""
        # a job that was dropped here is found in its place too
        dropped = set(self._unsettled)
        yield from dropped
        for seen in self._seen_in_place(store, found, horizon):
            sid = seen if isinstance(seen, str) else seen.sid
            if sid not in dropped:
                yield seen

    def _seen_in_place(
        self, store: Store, found: Findings, horizon: float
    ) -> Iterator[str | StoredJob]:
        """Return those that slices, blocks and shards tell of.

        Of those that are listed, the records need not be loaded.
        """
        yield from self._unfinished.sids(store, horizon)
        for number, key in self._unfinished.blocks(store):
            yield from self.shard_watch.block(store, found, number, key)
        for shard in self._unfinished.shards(store):
            yield from self.shard_watch.jobs(store, found, shard)

    def _sort(
        self, found: Findings, store: Store, job: StoredJob, now: float
    ) -> None:
        """Add a job to what a search has found."""
        sid = job.sid
        incarnation, due = job.runner, job.due or now
        own = self._process.incarnation
        if incarnation == own:
            # Its commit may have raised here, but succeeded on the server. Or
            # it has ended since this transaction began: see _really_lost().
            found.lost.append(AssignedJob.of(job))
            return
        if incarnation is None:
            incarnation = self._unclaimed.runner_of(job, besides=own)
        queue = Options.load(job.definition.options).queue
        if self._dispatcher.leaves(queue):
            found.settled.append(sid)
            return
        if due > self._horizon(now):
            found.later[sid] = due
            return
        if (
            incarnation is not None
            and self._lease is not None
            and due > now
            and not job.record.begun
            and incarnation not in found.ended
        ):
            return  # its process will run it; it is not late yet
        if incarnation is None and not self._dispatcher.runs(queue):
            # only a worker can claim it, for a message
            found.waiting.append(AssignedJob.of(job))
            return
        found.others.setdefault(incarnation, []).append(
            LostJob.of(job, self._process.attempts)
        )
        if incarnation is not None:
            found.note_beat(store, incarnation)

    def _horizon(self, now: float) -> float:
        """Return the time until which a job must be due to be assigned now.

        It is in seconds since the epoch. A process with assigned jobs must
        write signs of life, so jobs that are due much later have no runner.
        A lease leaves time for some checks before such a job is due.
        """
        return math.inf if self._lease is None else now + self._lease
