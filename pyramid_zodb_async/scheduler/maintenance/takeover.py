"""The takeover of jobs whose process is gone."""

import functools
import math
import time

from ...concurrency.loggers import get_logger
from ...events import JobFailed
from ...jobs.model import JobState, JobView
from ...jobs.options import Options
from ..process.assigned_jobs import AssignedJob
from ..process.this_process import ThisProcess
from ..records import Fence, Record, Store, StoredJob
from ..store.crash_counts import Death
from .claiming import LostJob, claim_lost
from .findings import Findings
from .heartbeat import Heartbeat
from .liveness import LivenessMonitor
from .resending import Resender
from .undone import UndoneJobs
from .unfinished_jobs import UnfinishedJobs

__all__ = ["LIVE_INCARNATIONS", "Takeover"]

log = get_logger(__name__)

#: The incarnations of this very process, one for each of its schedulers.
LIVE_INCARNATIONS: set[str] = set()

#: How many jobs are taken over in one transaction.
BATCH = 50

#: With how many unfinished jobs another slice is opened before its time. All
#: of those in the newest slice are looked at three times in a lease.
FULL = 5000


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
        self._lease = lease
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
        self._unfinished = UnfinishedJobs()

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
        """
        try:
            found = self._look()
        except BaseException:
            # else the time without a storage would count as silence
            if self._liveness is not None:
                self._liveness.observation_failed()
            raise
        self._assign_lost(found)
        if self._liveness is not None:
            now = time.monotonic()
            self._liveness.observe(found.beats, now, found.leases)
            in_use = {*found.beats, self._incarnation}
            self.heartbeat.forget(
                {
                    incarnation: beat
                    for incarnation, beat in found.runners.items()
                    if incarnation not in in_use
                }
            )
        for incarnation, jobs in found.others.items():
            lost = self._lost(incarnation, jobs)
            if lost:
                # without a lease it is certain that the process has ended
                beat = found.beats.get(incarnation or "")
                beat = beat if self._liveness else None
                self._take_over(incarnation, lost, beat)
        self._resender.check(found.waiting, found.left_out)

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
        self._held = self._assigned.running()
        if self.heartbeat.was_silent:
            self._held = self._assigned.all()
        found = self._check()
        self._held, self.heartbeat.was_silent = [], False
        for assigned in found.stale:
            self._assigned.drop_ended(assigned)
        return found

    def _lost(
        self, incarnation: str | None, jobs: list[LostJob]
    ) -> list[LostJob]:
        """Return the jobs of an incarnation that may be taken over now.

        Those that were running come first, to be in one transaction: if they
        are several, none of them is blamed.
        """
        are_several = sum(job.begun for job in jobs) > 1
        lost = [
            job
            for job in jobs
            if self._is_gone(incarnation, 1 if are_several else job.leases)
        ]
        return sorted(lost, key=lambda job: not job.begun)

    def _assign_lost(self, found: Findings) -> None:
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
        self._assigned.assign(own)
        # The claim of these, for a message, was committed but raised here, so
        # no thread waits for them. One that is found for the first time may
        # be assigned a moment later; only those of the last check are freed.
        before, self._unassigned = self._unassigned, unassigned
        self._take_over(
            self._incarnation, [job for job in unassigned if job in before]
        )

    def _check(self) -> Findings:
        """Read what is unfinished, and note what need not be read again."""
        unfinished = self._unfinished
        # several transactions at the start only, when all slices are new
        while self._location.read(unfinished.check_slices, default=False):
            self.heartbeat.beat_if_due()
        found = self._location.read(self._find, Findings())
        # after the read, which may need several tries
        for sid in found.settled:
            unfinished.leave(sid)
        for sid, due in found.later.items():
            unfinished.leave_until(sid, due)
        self._process.is_newest_slice_full = unfinished.in_newest > FULL
        return found

    def _find(self, store: Store) -> Findings:
        """Sort the unfinished jobs, and load as few records as possible."""
        runners = store.runners.items("", excludemin=True)
        found = Findings(runners={name: beat.count for name, beat in runners})
        found.stale = [
            assigned
            for assigned in self._held
            if not _has_fence(store.find(assigned.sid), assigned.fence)
        ]
        stale = {assigned.sid for assigned in found.stale}
        now, postponed = time.time(), self._resender.postponed()
        self._unfinished.check_slices(store)
        for sid in self._unfinished.sids(store, self._horizon(now)):
            if sid in self._assigned and sid not in stale:
                continue  # it runs here, or will
            if sid in postponed:
                found.left_out.add(sid)
                continue
            job = store.locate(sid)
            if job is None or job.record.state != JobState.PENDING:
                found.settled.append(sid)
            else:
                self._sort(found, store, job, now)
        return found

    def _sort(
        self, found: Findings, store: Store, job: StoredJob, now: float
    ) -> None:
        """Add a job to what a check has found."""
        sid, record = job.sid, job.record
        incarnation, due = record.runner, record.due or now
        if incarnation == self._incarnation:
            # Its commit may have raised here, but succeeded on the server. Or
            # it has ended since this transaction began: see _really_lost().
            found.lost.append(AssignedJob.of(job))
            return
        queue = Options.load(record.options).queue
        if self._dispatcher.leaves(queue):
            found.settled.append(sid)
            return
        if due > self._horizon(now):
            found.later[sid] = due
            return
        if (
            incarnation is not None
            and self._liveness is not None
            and due > now
            and not record.begun
        ):
            return  # its process will run it; it is not late yet
        if incarnation is None and not self._dispatcher.runs(queue):
            # only a worker can claim it, for a message
            found.waiting.append(AssignedJob.of(job))
            return
        found.others.setdefault(incarnation, []).append(
            LostJob.of(job, self._process.attempts)
        )
        if incarnation is not None and incarnation not in found.beats:
            beat = store.runners.get(incarnation)
            found.beats[incarnation] = beat.count if beat else 0
            if beat and beat.lease is not None:
                found.leases[incarnation] = beat.lease

    def _horizon(self, now: float) -> float:
        """Return the time until which a job must be due to be assigned now.

        It is in seconds since the epoch. A process with assigned jobs must
        write signs of life, so jobs that are due much later have no runner.
        A lease leaves time for some checks before such a job is due.
        """
        return math.inf if self._lease is None else now + self._lease

    def _really_lost(self, lost: list[AssignedJob]) -> list[AssignedJob]:
        """Leave out jobs that ended here while the check went on.

        The transaction of the check began before the end was committed, and
        the job was dropped after that. This one begins after both.
        """

        def find(store: Store) -> list[AssignedJob]:
            records = (
                (assigned, store.find(assigned.sid)) for assigned in lost
            )
            return [
                assigned
                for assigned, record in records
                if _has_fence(record, assigned.fence)
            ]

        return self._location.read(find, []) if lost else []

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
        self,
        incarnation: str | None,
        jobs: list[LostJob],
        beat: int | None = None,
    ) -> None:
        """Take over jobs, in batches.

        If this process ends between two batches, the other jobs still belong
        to *incarnation*, and the next check of a process finds them.
        """
        taken = 0
        # those that were running are in one batch; see _lost()
        size = max(BATCH, sum(job.begun for job in jobs))
        for start in range(0, len(jobs), size):
            claim = functools.partial(
                self._end_or_claim,
                batch=jobs[start : start + size],
                death=Death(incarnation, beat),
            )
            claimed, ended, undone = self._location.write(
                claim,
                note=f"incarnation {self._incarnation} takes jobs over"
                f" from {incarnation}",
            )
            # After the commit, by which the jobs are this process's. So it
            # must give signs of life also between the batches.
            self._dispatcher.hand_over(claimed)
            self._process.commit_queue.deliver_now(JobFailed, ended)
            self._undone.tell(undone)
            self.heartbeat.beat_if_due()
            taken += len(claimed)
        if taken:
            log.info(
                "Took over %d jobs of %s.",
                taken,
                f"the incarnation {incarnation}" if incarnation else "nobody",
                extra={
                    "action": "jobs_taken_over",
                    "incarnation": incarnation,
                },
            )

    def _end_or_claim(
        self, store: Store, batch: list[LostJob], death: Death
    ) -> tuple[list[AssignedJob], list[JobView], list[JobView]]:
        """Take over what was not undone; return that, what failed, the rest.

        In one transaction, so that an undo of one of the jobs conflicts.
        """
        undone = self._undone.end_in(
            store, {lost.sid: lost.fence for lost in batch}
        )
        ended = {view.sid for view in undone}
        batch = [lost for lost in batch if lost.sid not in ended]
        claimed, failed = claim_lost(store, self._process, batch, death)
        self._unfinished.unload(store, batch)
        return claimed, failed, undone


def _has_fence(record: Record | None, fence: Fence) -> bool:
    return record is not None and record.fence == fence
