"""Finds jobs that nobody runs any more, and takes them over."""

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..exceptions import JobCrashed
from ..failure import as_bytes, describe
from .held import Held, HeldJobs
from .place import Place
from .records import Beat, Fence, Record, Store

__all__ = ["LIVE", "Recovery", "RunnerWatch"]

log = logging.getLogger(__name__)

#: The runners of this very process, one for each of its schedulers.
LIVE: set[str] = set()

#: How many jobs are taken over in one transaction.
BATCH = 50

#: After so many looks without a job of it, a runner's beat is removed; it is
#: made anew should the runner be alive and need it.
FORGOTTEN_AFTER = 100


@dataclass(slots=True)
class _Seen:
    beat: int
    looks: int = 0
    silent: float = 0.0


class RunnerWatch:
    """For how long other runners have given no sign of life.

    Only time between two looks that both succeeded counts, so that a storage
    that was away condemns nobody; and it counts on this process's own clock,
    so that no clocks are compared.

    Args:
        lease: how long a runner may be silent, in seconds.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, _Seen] = {}
        self._last_look: float | None = None

    def missed(self) -> None:
        """Take note that a look failed."""
        self._last_look = None

    def look(self, beats: dict[str, int], now: float) -> None:
        """Take note of the beats of those runners that have due jobs."""
        passed = 0.0
        if self._last_look is not None:
            # a process that was stopped itself has seen nothing meanwhile
            passed = min(now - self._last_look, self._lease / 2)
        self._last_look = now
        for runner in set(self._seen) - set(beats):
            del self._seen[runner]
        for runner, beat in beats.items():
            seen = self._seen.get(runner)
            if seen is None or seen.beat != beat:
                self._seen[runner] = _Seen(beat)
            elif passed:
                seen.looks += 1
                seen.silent += passed

    def is_dead(self, runner: str) -> bool:
        """Tell whether a runner has been silent for its lease."""
        seen = self._seen.get(runner)
        return (
            seen is not None
            and seen.looks >= 3  # noqa: PLR2004 - the least in a lease
            and seen.silent >= self._lease
        )


@dataclass(slots=True)
class _Findings:
    """What a look has found, as plain data."""

    #: Jobs of this runner that it does not hold.
    lost: list[Held] = field(default_factory=list)
    #: Jobs of others, by runner.
    others: dict[str | None, list[tuple[str, Fence]]] = field(
        default_factory=dict
    )
    beats: dict[str, int] = field(default_factory=dict)
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
        attempts: how many ends of its process a job may cause.
        timeout: gives the seconds for which an outcome is kept.
    """

    def __init__(  # noqa: PLR0913 - what it is about, and four figures
        self,
        place: Place,
        held: HeldJobs,
        runner: str,
        *,
        lease: float | None,
        attempts: int,
        timeout: Callable[[Store], float],
    ) -> None:
        self._place = place
        self._held = held
        self._runner = runner
        self._attempts = attempts
        self._timeout = timeout
        self._watch = RunnerWatch(lease) if lease is not None else None
        #: For how many looks a runner had no job.
        self._unused: dict[str, int] = {}

    def tick(self) -> None:
        """Give a sign of life if others could wait for this process."""
        if self._watch is None or not len(self._held):
            return

        def beat(store: Store) -> None:
            own = store.runners.get(self._runner)
            if own is None:
                own = store.runners[self._runner] = Beat()
            own.count += 1

        self._place.write(beat, note=f"runner {self._runner} is alive")

    def look_for_lost(self) -> None:
        """Find jobs of this runner that were not handed over to it."""
        found = self._place.read(self._find, _Findings())
        self._held.hold(self._really_lost(found.lost))

    def look(self) -> None:
        """Find these, and jobs without a runner, and take them over."""
        try:
            found = self._place.read(self._find, _Findings())
        except BaseException:
            if self._watch is not None:
                self._watch.missed()
            raise
        self._held.hold(self._really_lost(found.lost))
        if self._watch is not None:
            self._watch.look(found.beats, time.monotonic())
            self._forget(found.runners - found.beats.keys() - {self._runner})
        for runner, jobs in found.others.items():
            if self._is_gone(runner):
                self._take_over(runner, jobs)

    def _find(self, store: Store) -> _Findings:
        found = _Findings(runners=set(store.runners.keys("", excludemin=True)))
        for sid, record in store.unfinished():
            if sid in self._held:
                continue
            runner = record.runner
            if runner == self._runner:
                # its commit may have raised here, but succeeded there
                found.lost.append(Held.of(sid, record))
                continue
            jobs = found.others.setdefault(runner, [])
            jobs.append((sid, record.fence))
            if runner is not None and runner not in found.beats:
                beat = store.runners.get(runner)
                found.beats[runner] = beat.count if beat else 0
        return found

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
            held = self._place.write(
                functools.partial(
                    self._claim, batch=jobs[start : start + BATCH]
                ),
                note=f"runner {self._runner} takes jobs over from {runner}",
            )
            self._held.hold(held)
            taken += len(held)
        if taken:
            log.info(
                "Took over %d jobs of %s.",
                taken,
                f"the runner {runner}" if runner else "no runner",
                extra={"action": "jobs_taken_over", "runner": runner},
            )

    def _claim(
        self, store: Store, batch: list[tuple[str, Fence]]
    ) -> list[Held]:
        claimed = []
        for sid, fence in batch:
            record = store.find(sid)
            if record is None or record.fence != fence:
                continue  # it has ended, or another process was faster
            crashes = record.crashes + record.begun
            if crashes >= self._attempts:
                self._give_up(store, sid, record, crashes)
                continue
            store.change(
                sid,
                fence,
                runner=self._runner,
                run_number=fence.run_number + 1,
                # nobody can have run what had no runner
                suspect=record.suspect or fence.runner is not None,
                begun=False,
                crashes=crashes,
            )
            claimed.append(Held.of(sid, record))
        return claimed

    def _give_up(
        self, store: Store, sid: str, record: Record, crashes: int
    ) -> None:
        error = JobCrashed(
            f"The process ended {crashes} times while the job ran"
        )
        log.error(
            "Job %s failed: its process ended %d times while %s ran.",
            sid,
            crashes,
            record.function,
            extra={"action": "job_crashed", "sid": sid},
        )
        store.fail(
            sid,
            record.fence,
            describe(error),
            as_bytes(error),
            timeout=self._timeout(store),
        )
