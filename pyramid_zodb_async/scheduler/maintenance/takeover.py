"""The takeover of jobs whose process is gone."""

import functools
import itertools
import operator
import time
from collections import defaultdict
from collections.abc import Iterator

from ...events import JobFailed
from ...jobs.model import JobState, JobView
from ..process.assigned_job import AssignedJob
from ..process.this_process import ThisProcess
from ..records import Store
from ..store.crash_counts import Death
from .bulk_claims import BulkClaims
from .claiming import Claim, log_takeover
from .findings import Findings, OpenShard
from .heartbeat import Heartbeat
from .job_search import JobSearch
from .live_incarnations import LIVE_INCARNATIONS
from .liveness import LivenessMonitor
from .lost_jobs import LostJob, batches, found_again
from .orderly_ends import forget_beat, unneeded_beats
from .resending import Resender
from .shard_keeping import ShardKeeper
from .undone import UndoneJobs
from .window_moves import Window

__all__ = ["Takeover"]

_scheduled = operator.attrgetter("scheduled")


class Takeover:
    """Finds the unfinished jobs that no process runs, and takes them over.

    Args:
        process: this process. On a storage that only one process can have
            open, the lease does not count: every other incarnation is gone.
    """

    def __init__(self, process: ThisProcess) -> None:
        lease = process.lease if process.is_shared else None
        self._process = process
        self._location = process.location
        self._assigned = process.assigned_jobs
        self._dispatcher = process.dispatcher
        self._incarnation = process.incarnation
        #: The signs of life of this process.
        self.heartbeat = Heartbeat(process)
        self._undone = UndoneJobs(process)
        self._resender = Resender(
            process.dispatcher, lease or 0.0, self._undone.end
        )
        self._liveness = LivenessMonitor(lease) if lease is not None else None
        #: Claimed jobs that were not assigned at the last check; see
        #: ``_assign_lost()``.
        self._unassigned: list[LostJob] = []
        #: Looks after the shards that this process keeps.
        self.shards = ShardKeeper(process)
        #: Takes jobs of bulks in.
        self.bulks = BulkClaims(process, self._undone)
        #: Finds what may be to do.
        self.search = JobSearch(
            process,
            heartbeat=self.heartbeat,
            resender=self._resender,
            shards=self.shards,
            bulks=self.bulks,
            is_gone=self._is_dead,
        )
        #: The sids of jobs that were dropped here, and have not ended. No
        #: other look finds them, so they stay until they are assigned.
        self._unsettled: list[str] = []
        #: The incarnations whose shards this process has taken over.
        self._inherited: set[str] = set()

    def find_unassigned(self) -> None:
        """Assign the jobs of this incarnation that were never handed over.

        A commit may succeed on the server, and raise in the client
        nevertheless: then no hook has handed its jobs over.
        """
        self._assign_lost(self._look())

    def take_over_lost(self) -> None:
        """Do :meth:`find_unassigned`, and take over the jobs of others.

        These are the jobs of incarnations that are gone, and jobs that have
        no runner. For the jobs of queues that this process does not run,
        messages are sent again.

        One look reads some thousand jobs at most, so that these run while the
        next ones are read. Another one follows at once, but for no longer than
        other chores can wait; then the next call goes on.
        """
        try:
            self._take_over_all(time.monotonic() + self._process.lease / 3)
        except BaseException:
            # else the time without a storage would count as silence
            if self._liveness is not None:
                self._liveness.observation_failed()
            raise

    def _take_over_all(self, end: float) -> None:
        """Look again and again, but not after *end* on the monotonic clock."""
        found = self._look()
        self._assign_lost(found)
        if self._liveness is not None:
            self._observe(self._liveness, found)
        goes_on = self._take_over_found(found)
        self._resender.check(found.waiting, found.left_out)
        # a process that is to end takes nothing more
        while goes_on and self._dispatcher.runs_jobs:
            self.heartbeat.beat_if_due()
            self.shards.make_pages()
            found = self._look()
            # one that is claimed may be assigned a moment later: see there
            self._assign_lost(found, frees=False)
            goes_on = self._take_over_found(found) and time.monotonic() < end

    def _observe(self, liveness: LivenessMonitor, found: Findings) -> None:
        """Note which of the others have given signs of life."""
        beats = found.beats
        if found.is_cut:  # it has not met all whose jobs are taken over
            known = {
                name: found.runners.get(name, 0) for name in self._inherited
            }
            beats = {**known, **beats}
        else:
            self._inherited &= beats.keys()
        liveness.observe(beats, time.monotonic(), found.leases)
        in_use = {*found.beats, self._incarnation}
        self.heartbeat.forget(
            {
                incarnation: beat
                for incarnation, beat in found.runners.items()
                if incarnation not in in_use
            }
        )

    def _take_over_found(self, found: Findings) -> bool:
        """Take over what a look has found; return whether to look again."""
        adopted = self._adopt(found)
        # these were alive, as far as that look could know
        newly_dead = any(
            incarnation not in found.others
            and incarnation not in found.gone
            and self._is_dead(incarnation)
            for incarnation in found.beats
        )
        found.is_cut = found.is_cut or adopted or newly_dead
        taken = 0
        for incarnation in list(found.others):
            name = incarnation or ""
            # without a lease it is certain that the process has ended
            beat = found.beats.get(name) if self._liveness else None
            death = Death(incarnation, beat, found.ended.get(name))
            # nothing else keeps them, so they leave the memory bit by bit
            lost = self._lost(death, found.others.pop(incarnation), found)
            if lost:
                taken += self._take_over(death, lost, found)
        goes_on = adopted or newly_dead or (found.is_cut and taken > 0)
        self.search.note_use(found, is_used=goes_on)
        if self._liveness is None and not found.is_cut:
            live = {*LIVE_INCARNATIONS, self._incarnation}
            self.heartbeat.remove(unneeded_beats(found, live))
        return goes_on

    def _adopt(self, found: Findings) -> bool:
        """Keep the shards of processes that are gone; return whether it does.

        The next look reads what is in them. So all jobs of such a process go
        to the one that keeps its shards, and nobody reads them in vain.
        """
        by_keeper: dict[str, list[OpenShard]] = defaultdict(list)
        for shard in found.silent_shards:
            if shard.keeper in found.ended or self._is_dead(shard.keeper):
                by_keeper[shard.keeper].append(shard)
        for keeper, shards in by_keeper.items():
            if self.shards.adopt(keeper, shards):
                self._inherited.add(keeper)
            self.heartbeat.beat_if_due()
        return bool(by_keeper)

    def _look(self) -> Findings:
        """Return what is to be done, and drop the jobs that others have.

        The jobs that run here are compared with their records each time: a
        run may go on for ever, and does not notice that another process has
        taken its job over. All others are compared when their run begins; and
        here, once, if this process was silent for so long that others may
        have taken over what it has.
        """
        # Before the read: a job that is assigned after it may have a newer
        # record than the one that is read.
        held = self._assigned.running()
        if self.heartbeat.was_silent:
            held = self._assigned.all()
        unsettled, undone = self.shards.settle()
        self._unsettled += unsettled
        try:
            self._undone.end(undone, all_were=True)
        except BaseException:  # no other look finds these either
            self._process.to_settle.extend(undone)
            raise
        found = self.search.find(held, self._unsettled)
        self.heartbeat.was_silent = False
        self.heartbeat.keeps_for_others = found.keeps_for_others
        for assigned in found.stale:
            self._assigned.drop_ended(assigned)
        return found

    def _lost(
        self, death: Death, jobs: list[LostJob], found: Findings
    ) -> list[LostJob]:
        """Return the jobs of an incarnation that may be taken over now.

        Those that were running come first, to be in one transaction: if they
        are several, none of them is blamed. So they wait until all jobs have
        been read; and, if another process keeps the shards, until that one has
        had the time to read them.
        """
        none_is_blamed = death.is_orderly or sum(job.begun for job in jobs) > 1
        name = death.incarnation
        is_heir = name in self._inherited
        others = 0 if is_heir else name in self.search.shard_watch.keepers
        lost = [
            job
            for job in jobs
            # what still ran at an orderly end may yet end by itself
            if (self._liveness is not None and death.clears(job.sid))
            or (
                not (job.begun and found.is_cut)
                and self._is_gone(
                    name,
                    (1 if none_is_blamed else job.leases) + others * job.begun,
                )
            )
        ]
        return sorted(lost, key=lambda job: not job.begun)

    def _assign_lost(self, found: Findings, *, frees: bool = True) -> None:
        """Assign the jobs of this incarnation that were found, or free them.

        It frees those of queues that threads of this process do not run.
        """
        own, unassigned = [], []
        lost = self._really_lost(found.lost)
        undone = self._undone.end({job.sid: job.fence for job in lost})
        for assigned in lost:
            if assigned.sid in undone:
                continue
            if self._dispatcher.runs(assigned.options.queue):
                own.append(assigned)
            else:
                unassigned.append(LostJob(assigned.sid, assigned.fence))
        # those that are listed are found in any order
        self._assigned.assign(sorted(own, key=_scheduled))
        # all others are found without that, or have ended
        self._unsettled = [job.sid for job in unassigned]
        if not frees:
            return
        # The claim of these, for a message, was committed but raised here, so
        # no thread waits for them. One that is found for the first time may
        # be assigned a moment later; only those of the last check are freed.
        before, self._unassigned = self._unassigned, unassigned
        self._take_over(
            Death(self._incarnation, None),
            [job for job in unassigned if job in before],
            found,
        )

    def _really_lost(self, lost: list[AssignedJob]) -> list[AssignedJob]:
        """Leave out jobs that ended here while the check went on.

        The transaction of the check began before the end was committed, and
        the job was dropped after that. This one begins after both.
        """

        def find(store: Store) -> list[AssignedJob]:
            return [job for job in lost if store.has_fence(job.sid, job.fence)]

        return self._location.read(find, []) if lost else []

    def _is_dead(self, incarnation: str) -> bool:
        """Return whether an incarnation has ended, or seems to have."""
        return self._is_gone(incarnation, 1)

    def _is_gone(self, incarnation: str | None, leases: int) -> bool:
        """Return whether a job of an incarnation may be taken over.

        On a shared storage, that must have been silent for so many leases.
        """
        if incarnation is None:
            return True
        if self._liveness is None:  # all of other processes are gone
            return incarnation not in LIVE_INCARNATIONS
        return self._liveness.is_dead(incarnation, leases)

    def _take_over(
        self, death: Death, jobs: list[LostJob], found: Findings
    ) -> int:
        """Take over jobs, in batches, and return how many were changed.

        If this process ends between two batches, the other jobs still belong
        to their incarnation, and the next check of a process finds them.
        """
        incarnation, taken, changed = death.incarnation, 0, 0
        for batch in batches(jobs):
            claim = functools.partial(
                self._end_or_claim,
                batch=batch,
                death=death,
                is_last=not (jobs or found.is_cut),
                tries=itertools.count(),
            )
            claimed, ended, undone, windows = self._location.write(
                claim,
                note=f"incarnation {self._incarnation} takes jobs over"
                f" from {incarnation}",
            )
            # After the commit, by which the jobs are this process's. So it
            # must give signs of life also between the batches.
            self._dispatcher.hand_over(sorted(claimed, key=_scheduled))
            self._process.bulks.claimed.update(windows)
            self._process.commit_queue.deliver_now(JobFailed, ended)
            self._undone.tell(undone)
            self.heartbeat.beat_if_due()
            taken += len(claimed)
            changed += len(claimed) + len(ended) + len(undone)
        if taken:
            log_takeover(death, taken)
        return changed

    def _end_or_claim(
        self,
        store: Store,
        batch: list[LostJob],
        death: Death,
        *,
        is_last: bool,
        tries: Iterator[int],
    ) -> tuple[list[AssignedJob], list[JobView], list[JobView], list[Window]]:
        """Take over what was not undone; return that, what failed, the rest.

        And the windows of bulks that were taken over as a whole. In one
        transaction, so that an undo of one of the jobs conflicts.
        """
        # After a conflict all are read: one has changed since the check.
        harmless: set[bytes] = set()
        jobs = found_again(store, batch, harmless, recalls=not next(tries))
        undone = self._undone.end_among(store, jobs, harmless)
        if undone:
            jobs = [
                job for job in jobs if job.record.state == JobState.PENDING
            ]
        claim = Claim(store, self._process, death, batch)
        claimed, failed, windows = claim.take(jobs)
        if is_last and self._liveness is None:  # else its silence tells more
            forget_beat(store, death.incarnation)
        self.search.unload(store, jobs)
        return claimed, failed, undone, windows
