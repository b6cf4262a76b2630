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
from ..event_queue import News
from ..process.assigned_jobs import Held, HeldJobs
from ..process.dispatch import Routes
from ..process.views import view_of_record
from ..records import Fence, Record, Store
from ..store.location import Place
from ..store.transitions import End, fail, kept_for
from .liveness import RunnerWatch
from .resending import Sweep

__all__ = ["LIVE", "Recovery"]

log = logging.getLogger(__name__)

#: The runners of this very process, one for each of its schedulers.
LIVE: set[str] = set()

#: How many jobs are taken over in one transaction.
BATCH = 50

#: After so many looks without a job of it, a runner's beat is removed; it is
#: made anew should the runner be alive and need it.
FORGOTTEN_AFTER = 100


@dataclass(slots=True)
class _Findings:
    """What a look has found, as plain data."""

    #: Jobs of this runner that it does not hold.
    lost: list[Held] = field(default_factory=list)
    #: Jobs without a runner that others are sent word of.
    waiting: list[Held] = field(default_factory=list)
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


class Recovery:
    """Looks after the unfinished jobs of a store.

    Args:
        place: where the store is.
        held: the jobs that this process is to run.
        runner: this process's identity.
        lease: how long another runner may be silent, in seconds; ``None`` on
            a storage that only one process can have open, where every other
            runner is gone.
        attempts: how many attempts at a job may fail, or end their process,
            if its options do not tell.
        timeout: gives the seconds for which an outcome is kept.
        news: takes note of jobs that fail.
        routes: tells who is to run which jobs.
    """

    def __init__(  # noqa: PLR0913 - what it is about, and three figures
        self,
        place: Place,
        held: HeldJobs,
        runner: str,
        *,
        lease: float | None,
        attempts: int,
        timeout: Callable[[Store], float],
        news: News,
        routes: Routes,
    ) -> None:
        self._routes = routes
        self._sweep = Sweep(routes, lease or 0.0)
        #: Jobs of this runner that the last look did not find held; somebody
        #: may just be about to hold them.
        self._strays: list[tuple[str, Fence]] = []
        self._place = place
        self._held = held
        self._news = news
        self._runner = runner
        self._attempts = attempts
        self._timeout = timeout
        self._lease = lease
        self._watch = RunnerWatch(lease) if lease is not None else None
        #: When this process was last to give a sign of life.
        self._ticked = 0.0
        #: Who is due later than the next few looks.
        self._later: dict[str, float] = {}
        #: For how many looks a runner had no job.
        self._unused: dict[str, int] = {}

    def tick(self) -> None:
        """Give a sign of life if others could wait for this process."""
        self._ticked = time.monotonic()
        if self._watch is None or not len(self._held):
            return

        def beat(store: Store) -> None:
            store.beat_of(self._runner).count += 1

        self._place.write(beat, note=f"runner {self._runner} is alive")

    def _tick_if_due(self) -> None:
        """Give a sign of life, if what goes on here takes its time."""
        silence = time.monotonic() - self._ticked
        if self._lease is not None and silence >= self._lease / 3:
            self.tick()

    def look_for_lost(self) -> None:
        """Find jobs of this runner that were not handed over to it."""
        self._hold_lost(self._place.read(self._find, _Findings()))

    def look(self) -> None:
        """Find these, and jobs without a runner, and take them over."""
        try:
            found = self._place.read(self._find, _Findings())
        except BaseException:
            if self._watch is not None:
                self._watch.missed()
            raise
        self._hold_lost(found)
        if self._watch is not None:
            self._watch.look(found.beats, time.monotonic())
            self._forget(found.runners - found.beats.keys() - {self._runner})
        for runner, jobs in found.others.items():
            if self._is_gone(runner):
                self._take_over(runner, jobs)
        self._sweep.look(found.waiting, found.left_out)

    def _hold_lost(self, found: _Findings) -> None:
        self._later = found.later
        own, strays = [], []
        for held in self._really_lost(found.lost):
            if self._routes.runs(held.options.queue):
                own.append(held)
            else:
                strays.append((held.sid, held.fence))
        self._held.hold(own)
        # nobody here waits for these, whose claim succeeded unnoticed
        lost, self._strays = self._strays, strays
        self._take_over(
            self._runner, [stray for stray in strays if stray in lost]
        )

    def _find(self, store: Store) -> _Findings:
        found = _Findings(runners=set(store.runners.keys("", excludemin=True)))
        now, unheeded = time.time(), self._sweep.unheeded()
        for sid in store.unfinished():
            if sid in self._held:
                continue
            if sid in unheeded:
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
        runner, due = record.runner, record.due or now
        if runner == self._runner:
            # its commit may have raised here, but succeeded there
            found.lost.append(Held.of(sid, record))
            return
        queue = Options.load(record.options).queue
        if self._routes.leaves(queue):
            return
        if due > self._horizon(now):
            found.later[sid] = due
            return
        if runner is not None and self._watch is not None and due > now:
            return  # it is that runner's affair as long as it is not late
        if runner is None and not self._routes.runs(queue):
            found.waiting.append(Held.of(sid, record))
            return
        found.others.setdefault(runner, []).append((sid, record.fence))
        if runner is not None and runner not in found.beats:
            beat = store.runners.get(runner)
            found.beats[runner] = beat.count if beat else 0

    def _horizon(self, now: float) -> float:
        """Tell until when a job must be due to be looked at now.

        Whoever takes it has it in memory from then on, and must give signs
        of life; but there must be time for some looks before it is due.
        """
        return math.inf if self._lease is None else now + self._lease

    def _really_lost(self, lost: list[Held]) -> list[Held]:
        """Leave out jobs that ended here while the look went on.

        They are held no more, and the look still saw them unfinished.
        """

        def find(store: Store) -> list[Held]:
            records = ((held, store.find(held.sid)) for held in lost)
            return [
                held
                for held, record in records
                if record is not None and record.fence == held.fence
            ]

        return self._place.read(find, []) if lost else []

    def _forget(self, unused: set[str]) -> None:
        """Remove what is left of processes that ended long ago."""
        self._unused = {
            runner: self._unused.get(runner, 0) + 1 for runner in unused
        }
        old = [
            runner
            for runner, looks in self._unused.items()
            if looks > FORGOTTEN_AFTER
        ]

        def remove(store: Store) -> None:
            for runner in old:
                store.runners.pop(runner, None)

        if old:
            self._place.write(remove, note="runners that ended long ago")

    def _is_gone(self, runner: str | None) -> bool:
        if runner is None:
            return True
        if self._watch is None:
            return runner not in LIVE
        return self._watch.is_dead(runner)

    def _take_over(
        self, runner: str | None, jobs: list[tuple[str, Fence]]
    ) -> None:
        taken = 0
        for start in range(0, len(jobs), BATCH):
            claimed, ended = self._place.write(
                functools.partial(
                    self._claim, batch=jobs[start : start + BATCH]
                ),
                note=f"runner {self._runner} takes jobs over from {runner}",
            )
            self._routes.hand_over(claimed, self._held)
            self._news.told(JobFailed, ended)
            self._tick_if_due()
            taken += len(claimed)
        if taken:
            log.info(
                "Took over %d jobs of %s.",
                taken,
                f"the runner {runner}" if runner else "no runner",
                extra={"action": "jobs_taken_over", "runner": runner},
            )

    def _claim(
        self, store: Store, batch: list[tuple[str, Fence]]
    ) -> tuple[list[Held], list[JobView]]:
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
                if self._news.wants(JobFailed):
                    ended.append(view_of_record(sid, record))
                continue
            is_due = record.due is None or record.due <= time.time()
            store.change(
                sid,
                fence,
                # else it is free for whoever gets word of it
                runner=self._runner
                if self._routes.runs(options.queue)
                else None,
                run_number=fence.run_number + 1,
                # nobody can have run what had no runner, or was not due
                suspect=is_due
                and (record.suspect or fence.runner is not None),
                begun=False,
                crashes=crashes,
            )
            claimed.append(Held.of(sid, record))
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
            End.now(kept_for(record, self._timeout(store))),
        )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
