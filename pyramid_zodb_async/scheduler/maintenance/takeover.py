"""Finds jobs that nobody runs any more, and takes them over."""

import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ...events import JobFailed
from ...exceptions import JobCrashed
from ...jobs.model import JobView
from ...jobs.options import Options
from ...transfer.failures import as_bytes, describe
from ..event_queue import EventQueue
from ..process.assigned_jobs import AssignedJob, AssignedJobs
from ..process.dispatch import Dispatcher
from ..process.views import view_of_record
from ..records import Fence, Record, Store
from ..store.location import StoreLocation
from ..store.transitions import End, fail, outcome_timeout
from .liveness import LivenessMonitor
from .resending import Resender

__all__ = ["LIVE_INCARNATIONS", "Takeover"]

log = logging.getLogger(__name__)

#: The runners of this very process, one for each of its schedulers.
LIVE_INCARNATIONS: set[str] = set()

#: How many jobs are taken over in one transaction.
BATCH = 50

#: After so many looks without a job of it, a runner's beat is removed; it is
#: made anew should the runner be alive and need it.
FORGOTTEN_AFTER = 100


@dataclass(slots=True)
class _Findings:
    """What a look has found, as plain data."""

    #: Jobs of this runner that it does not hold.
    lost: list[AssignedJob] = field(default_factory=list)
    #: Jobs without a runner that others are sent word of.
    waiting: list[AssignedJob] = field(default_factory=list)
    #: Jobs of others, by runner.
    others: dict[str | None, list[tuple[str, Fence]]] = field(
        default_factory=dict
    )
    beats: dict[str, int] = field(default_factory=dict)
    #: When jobs are due that nobody needs to take yet.
    later: dict[str, float] = field(default_factory=dict)
    #: The sids of jobs that were seen to wait, and not looked at now.
    left_out: set[str] = field(default_factory=set)
    #: All that have ever given a sign of life.
    runners: set[str] = field(default_factory=set)


class Takeover:
    """Looks after the unfinished jobs of a store.

    Args:
        location: where the store is.
        held: the jobs that this process is to run.
        incarnation: this process's identity.
        lease: how long another runner may be silent, in seconds; ``None`` on
            a storage that only one process can have open, where every other
            runner is gone.
        attempts: how many attempts at a job may fail, or end their process,
            if its options do not tell.
        timeout: gives the seconds for which an outcome is kept.
        event_queue: takes note of jobs that fail.
        dispatcher: tells who is to run which jobs.
    """

    def __init__(  # noqa: PLR0913 - what it is about, and three figures
        self,
        location: StoreLocation,
        assigned_jobs: AssignedJobs,
        incarnation: str,
        *,
        lease: float | None,
        attempts: int,
        timeout: Callable[[Store], float],
        event_queue: EventQueue,
        dispatcher: Dispatcher,
    ) -> None:
        self._dispatcher = dispatcher
        self._resender = Resender(dispatcher, lease or 0.0)
        #: Jobs of this runner that the last look did not find held; somebody
        #: may just be about to hold them.
        self._unassigned: list[tuple[str, Fence]] = []
        self._location = location
        self._assigned = assigned_jobs
        self._event_queue = event_queue
        self._incarnation = incarnation
        self._attempts = attempts
        self._timeout = timeout
        self._lease = lease
        self._liveness = LivenessMonitor(lease) if lease is not None else None
        #: When this process was last to give a sign of life.
        self._last_beat = 0.0
        #: Who is due later than the next few looks.
        self._later: dict[str, float] = {}
        #: For how many looks a runner had no job.
        self._unused: dict[str, int] = {}

    def beat(self) -> None:
        """Give a sign of life if others could wait for this process."""
        self._last_beat = time.monotonic()
        if self._liveness is None or not len(self._assigned):
            return

        def count_up(store: Store) -> None:
            store.beat_of(self._incarnation).count += 1

        self._location.write(
            count_up, note=f"incarnation {self._incarnation} is alive"
        )

    def _beat_if_due(self) -> None:
        """Give a sign of life, if what goes on here takes its time."""
        silence = time.monotonic() - self._last_beat
        if self._lease is not None and silence >= self._lease / 3:
            self.beat()

    def find_unassigned(self) -> None:
        """Find jobs of this runner that were not handed over to it."""
        self._hold_lost(self._location.read(self._find, _Findings()))

    def take_over_lost(self) -> None:
        """Find these, and jobs without a runner, and take them over."""
        try:
            found = self._location.read(self._find, _Findings())
        except BaseException:
            if self._liveness is not None:
                self._liveness.observation_failed()
            raise
        self._hold_lost(found)
        if self._liveness is not None:
            self._liveness.observe(found.beats, time.monotonic())
            self._forget(
                found.runners - found.beats.keys() - {self._incarnation}
            )
        for incarnation, jobs in found.others.items():
            if self._is_gone(incarnation):
                self._take_over(incarnation, jobs)
        self._resender.check(found.waiting, found.left_out)

    def _hold_lost(self, found: _Findings) -> None:
        self._later = found.later
        own, unassigned = [], []
        for assigned in self._really_lost(found.lost):
            if self._dispatcher.runs(assigned.options.queue):
                own.append(assigned)
            else:
                unassigned.append((assigned.sid, assigned.fence))
        self._assigned.assign(own)
        # nobody here waits for these, whose claim succeeded unnoticed
        lost, self._unassigned = self._unassigned, unassigned
        self._take_over(
            self._incarnation, [job for job in unassigned if job in lost]
        )

    def _find(self, store: Store) -> _Findings:
        found = _Findings(runners=set(store.runners.keys("", excludemin=True)))
        now, postponed = time.time(), self._resender.postponed()
        for sid in store.unfinished():
            if sid in self._assigned:
                continue
            if sid in postponed:
                found.left_out.add(sid)
                continue
            due = self._later.get(sid, now)
            if due > self._horizon(now):  # so its record need not be loaded
                found.later[sid] = due
                continue
            self._sort(found, store, sid, store.record(sid), now)
        return found

    def _sort(
        self,
        found: _Findings,
        store: Store,
        sid: str,
        record: Record,
        now: float,
    ) -> None:
        incarnation, due = record.runner, record.due or now
        if incarnation == self._incarnation:
            # its commit may have raised here, but succeeded there
            found.lost.append(AssignedJob.of(sid, record))
            return
        queue = Options.load(record.options).queue
        if self._dispatcher.leaves(queue):
            return
        if due > self._horizon(now):
            found.later[sid] = due
            return
        if (
            incarnation is not None
            and self._liveness is not None
            and due > now
        ):
            return  # it is that process's affair as long as it is not late
        if incarnation is None and not self._dispatcher.runs(queue):
            found.waiting.append(AssignedJob.of(sid, record))
            return
        found.others.setdefault(incarnation, []).append((sid, record.fence))
        if incarnation is not None and incarnation not in found.beats:
            beat = store.runners.get(incarnation)
            found.beats[incarnation] = beat.count if beat else 0

    def _horizon(self, now: float) -> float:
        """Tell until when a job must be due to be looked at now.

        Whoever takes it has it in memory from then on, and must give signs
        of life; but there must be time for some looks before it is due.
        """
        return math.inf if self._lease is None else now + self._lease

    def _really_lost(self, lost: list[AssignedJob]) -> list[AssignedJob]:
        """Leave out jobs that ended here while the look went on.

        They are held no more, and the look still saw them unfinished.
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
        """Remove what is left of processes that ended long ago."""
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
            self._location.write(remove, note="runners that ended long ago")

    def _is_gone(self, incarnation: str | None) -> bool:
        if incarnation is None:
            return True
        if self._liveness is None:
            return incarnation not in LIVE_INCARNATIONS
        return self._liveness.is_dead(incarnation)

    def _take_over(
        self, incarnation: str | None, jobs: list[tuple[str, Fence]]
    ) -> None:
        taken = 0
        for start in range(0, len(jobs), BATCH):
            claimed, ended = self._location.write(
                functools.partial(
                    self._claim, batch=jobs[start : start + BATCH]
                ),
                note=f"incarnation {self._incarnation} takes jobs over"
                f" from {incarnation}",
            )
            self._dispatcher.hand_over(claimed, self._assigned)
            self._event_queue.deliver_now(JobFailed, ended)
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
        claimed, ended = [], []
        for sid, fence in batch:
            record = store.find(sid)
            if record is None or record.fence != fence:
                continue  # it has ended, or another process was faster
            crashes = record.crashes + record.begun
            options = Options.load(record.options)
            attempts = options.attempts or self._attempts
            if crashes and crashes + record.failures >= attempts:
                self._give_up(store, sid, record, crashes)
                if self._event_queue.has_subscribers(JobFailed):
                    ended.append(view_of_record(sid, record))
                continue
            is_due = record.due is None or record.due <= time.time()
            store.change(
                sid,
                fence,
                # else it is free for whoever gets word of it
                runner=self._incarnation
                if self._dispatcher.runs(options.queue)
                else None,
                run_number=fence.run_number + 1,
                # nobody can have run what had no runner, or was not due
                suspect=is_due
                and (record.suspect or fence.runner is not None),
                begun=False,
                crashes=crashes,
            )
            claimed.append(AssignedJob.of(sid, record))
        return claimed, ended

    def _give_up(
        self, store: Store, sid: str, record: Record, crashes: int
    ) -> None:
        error = JobCrashed(
            f"The process ended {_times(crashes)} while the job ran"
        )
        log.error(
            "Job %s failed: its process ended %s while %s ran.",
            sid,
            _times(crashes),
            record.function,
            extra={"action": "job_crashed", "sid": sid},
        )
        fail(
            store,
            sid,
            record.fence,
            describe(error),
            as_bytes(error),
            End.now(outcome_timeout(record, self._timeout(store))),
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
