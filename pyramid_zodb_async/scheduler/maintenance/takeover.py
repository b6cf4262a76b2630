"""The takeover of jobs whose process is gone, and the beat of this process."""

import functools
import logging
import math
import time
from dataclasses import dataclass, field

from ...events import JobFailed
from ...exceptions import JobCrashed
from ...jobs.model import JobState, JobView
from ...jobs.options import Options
from ...transfer.failures import as_bytes, describe
from ..process.assigned_jobs import AssignedJob
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Fence, Store, StoredJob
from ..store.transitions import End, fail
from .liveness import LivenessMonitor
from .resending import Resender
from .unfinished_jobs import UnfinishedJobs

__all__ = ["LIVE_INCARNATIONS", "Takeover"]

log = logging.getLogger(__name__)

#: The incarnations of this very process, one for each of its schedulers.
LIVE_INCARNATIONS: set[str] = set()

#: How many jobs are taken over in one transaction.
BATCH = 50

#: After how many checks that found no job of an incarnation its beat is
#: removed. If the incarnation is alive and needs it, it makes a new one.
FORGOTTEN_AFTER = 100

#: With how many unfinished jobs another slice is opened before its time. All
#: of those in the newest slice are looked at three times in a lease.
FULL = 5000


@dataclass(slots=True)
class _Findings:
    """What a check has found, as plain data."""

    #: Jobs of this incarnation that are not assigned in its memory.
    lost: list[AssignedJob] = field(default_factory=list)
    #: Jobs without a runner, for which this process sends messages.
    waiting: list[AssignedJob] = field(default_factory=list)
    #: The sids and fences of other jobs, by incarnation.
    others: dict[str | None, list[tuple[str, Fence]]] = field(
        default_factory=dict
    )
    #: The beats of the incarnations that have jobs in ``others``.
    beats: dict[str, int] = field(default_factory=dict)
    #: When jobs are due that are not to be assigned yet, by sid.
    later: dict[str, float] = field(default_factory=dict)
    #: The sids of jobs that are known to wait and were not read.
    left_out: set[str] = field(default_factory=set)
    #: The sids of jobs that have ended, or that other processes see to.
    settled: list[str] = field(default_factory=list)
    #: All incarnations that have a beat.
    runners: set[str] = field(default_factory=set)


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
        self._resender = Resender(process.dispatcher, lease or 0.0)
        self._liveness = LivenessMonitor(lease) if lease is not None else None
        #: Claimed jobs that were not assigned at the last check; see
        #: ``_assign_lost()``.
        self._unassigned: list[tuple[str, Fence]] = []
        #: When :meth:`beat` was called last, on the monotonic clock.
        self._last_beat = 0.0
        self._unfinished = UnfinishedJobs()
        #: How many checks in a row have found no job of an incarnation.
        self._unused: dict[str, int] = {}

    def beat(self) -> None:
        """Give a sign of life, if jobs are assigned to this process.

        Without jobs no process checks for it, and nothing is written.
        """
        # Set before the write: if that fails, it is not repeated at once.
        self._last_beat = time.monotonic()
        if self._liveness is None or not len(self._assigned):
            return

        def count_up(store: Store) -> None:
            store.beat_of(self._incarnation).count += 1

        self._location.write(
            count_up, note=f"incarnation {self._incarnation} is alive"
        )

    def _beat_if_due(self) -> None:
        """Give a sign of life while a takeover keeps the thread busy."""
        silence = time.monotonic() - self._last_beat
        if self._lease is not None and silence >= self._lease / 3:
            self.beat()

    def find_unassigned(self) -> None:
        """Assign the jobs of this incarnation that were never handed over.

        A commit may succeed on the server, and raise in the client
        nevertheless: then no hook has handed its jobs over.
        """
        self._assign_lost(self._check())

    def take_over_lost(self) -> None:
        """Do :meth:`find_unassigned`, and take over the jobs of others.

        These are the jobs of incarnations that are gone, and jobs that have
        no runner. For the jobs of queues that this process does not run,
        messages are sent again.
        """
        try:
            found = self._check()
        except BaseException:
            # else the time without a storage would count as silence
            if self._liveness is not None:
                self._liveness.observation_failed()
            raise
        self._assign_lost(found)
        if self._liveness is not None:
            self._liveness.observe(found.beats, time.monotonic())
            self._forget(
                found.runners - found.beats.keys() - {self._incarnation}
            )
        for incarnation, jobs in found.others.items():
            if self._is_gone(incarnation):
                self._take_over(incarnation, jobs)
        self._resender.check(found.waiting, found.left_out)

    def _assign_lost(self, found: _Findings) -> None:
        """Assign the jobs of this incarnation that were found, or free them.

        It frees those of queues that threads of this process do not run.
        """
        own, unassigned = [], []
        for assigned in self._really_lost(found.lost):
            if self._dispatcher.runs(assigned.options.queue):
                own.append(assigned)
            else:
                unassigned.append((assigned.sid, assigned.fence))
        self._assigned.assign(own)
        # The claim of these, for a message, was committed but raised here, so
        # no thread waits for them. One that is found for the first time may
        # be assigned a moment later; only those of the last check are freed.
        lost, self._unassigned = self._unassigned, unassigned
        self._take_over(
            self._incarnation, [job for job in unassigned if job in lost]
        )

    def _check(self) -> _Findings:
        """Read what is unfinished, and note what need not be read again."""
        unfinished = self._unfinished
        # several transactions at the start only, when all slices are new
        while self._location.read(unfinished.check_slices, default=False):
            self._beat_if_due()
        found = self._location.read(self._find, _Findings())
        # after the read, which may need several tries
        for sid in found.settled:
            unfinished.leave(sid)
        for sid, due in found.later.items():
            unfinished.leave_until(sid, due)
        self._process.is_newest_slice_full = unfinished.in_newest > FULL
        return found

    def _find(self, store: Store) -> _Findings:
        """Sort the unfinished jobs, and load as few records as possible."""
        found = _Findings(runners=set(store.runners.keys("", excludemin=True)))
        now, postponed = time.time(), self._resender.postponed()
        self._unfinished.check_slices(store)
        for sid in self._unfinished.sids(store, self._horizon(now)):
            if sid in self._assigned:
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
        self, found: _Findings, store: Store, job: StoredJob, now: float
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
        ):
            return  # its process will run it; it is not late yet
        if incarnation is None and not self._dispatcher.runs(queue):
            # only a worker can claim it, for a message
            found.waiting.append(AssignedJob.of(job))
            return
        found.others.setdefault(incarnation, []).append((sid, record.fence))
        if incarnation is not None and incarnation not in found.beats:
            beat = store.runners.get(incarnation)
            found.beats[incarnation] = beat.count if beat else 0

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
                if record is not None and record.fence == assigned.fence
            ]

        return self._location.read(find, []) if lost else []

    def _forget(self, unused: set[str]) -> None:
        """Remove the beats of incarnations that ended long ago."""
        self._unused = {
            incarnation: self._unused.get(incarnation, 0) + 1
            for incarnation in unused
        }
        old = [
            incarnation
            for incarnation, looks in self._unused.items()
            if looks > FORGOTTEN_AFTER
        ]

        def remove(store: Store) -> None:
            for incarnation in old:
                store.runners.pop(incarnation, None)

        if old:
            self._location.write(remove, note="incarnations that ended")

    def _is_gone(self, incarnation: str | None) -> bool:
        """Return whether the jobs of an incarnation may be taken over."""
        if incarnation is None:
            return True
        if self._liveness is None:  # all of other processes are gone
            return incarnation not in LIVE_INCARNATIONS
        return self._liveness.is_dead(incarnation)

    def _take_over(
        self, incarnation: str | None, jobs: list[tuple[str, Fence]]
    ) -> None:
        """Take over jobs, in batches.

        If this process ends between two batches, the other jobs still belong
        to *incarnation*, and the next check of a process finds them.
        """
        taken = 0
        for start in range(0, len(jobs), BATCH):
            claimed, ended = self._location.write(
                functools.partial(
                    self._claim, batch=jobs[start : start + BATCH]
                ),
                note=f"incarnation {self._incarnation} takes jobs over"
                f" from {incarnation}",
            )
            # After the commit, by which the jobs are this process's. So it
            # must give signs of life also between the batches.
            self._dispatcher.hand_over(claimed)
            self._process.commit_queue.deliver_now(JobFailed, ended)
            self._beat_if_due()
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

    def _claim(
        self, store: Store, batch: list[tuple[str, Fence]]
    ) -> tuple[list[AssignedJob], list[JobView]]:
        """Take over a batch; return those jobs, and views of failed ones.

        If another process writes one of the records at the same time, the
        commit conflicts, and this is called again and reads them anew.
        """
        claimed, ended = [], []
        announcer = self._process.commit_queue.announcer
        for sid, fence in batch:
            job = store.locate(sid)
            if job is None or job.record.fence != fence:
                continue  # it has ended, or another process was faster
            record = job.record
            # A run that is marked as begun has not ended, but its process has.
            crashes = record.crashes + record.begun
            options = Options.load(record.options)
            attempts = options.attempts or self._process.attempts
            if crashes and crashes + record.failures >= attempts:
                self._give_up(store, job, options, crashes)
                if announcer.has_subscribers(JobFailed):
                    ended.append(view_of_record(sid, record))
                continue
            is_due = record.due is None or record.due <= time.time()
            job.change(
                fence,
                # without a runner, the worker that gets the message claims it
                runner=self._incarnation
                if self._dispatcher.runs(options.queue)
                else None,
                # The fence: an incarnation that is not dead, but was cut off,
                # cannot write for its run any more.
                run_number=fence.run_number + 1,
                # A job without a runner, or one that was not due, has not
                # run, so it cannot have ended its process.
                suspect=is_due
                and (record.suspect or fence.runner is not None),
                # counted in crashes, and must not be counted again
                begun=False,
                crashes=crashes,
            )
            claimed.append(AssignedJob.of(job))
        return claimed, ended

    def _give_up(
        self, store: Store, job: StoredJob, options: Options, crashes: int
    ) -> None:
        """Record that a job failed, since it ended its process too often."""
        error = JobCrashed(
            f"The process ended {_times(crashes)} while the job ran"
        )
        log.error(
            "Job %s failed: its process ended %s while %s ran.",
            job.sid,
            _times(crashes),
            job.record.function,
            extra={"action": "job_crashed", "sid": job.sid},
        )
        timeout = store.outcome_timeout(options, self._process.timeout)
        fail(
            job,
            job.record.fence,
            End.now(timeout),
            describe(error),
            as_bytes(error),
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
