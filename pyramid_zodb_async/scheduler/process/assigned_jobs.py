"""The jobs that a process is to run, as it knows them in memory."""

import datetime
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ...jobs.model import Progress, Version
from ...jobs.options import Options
from ..records import Fence, Record
from ..waiters import Watches

__all__ = ["Held", "HeldJobs"]


@dataclass(kw_only=True, slots=True)
class Held:
    """A job that this process is to run."""

    sid: str
    function: str
    owner: str | None
    base_url: str | None
    #: The number of the run to come, or under way.
    attempt: int
    #: When it was scheduled, in seconds since the epoch.
    scheduled: float
    #: What the record must be for the run to count.
    fence: Fence
    options: Options
    #: When the run to come is to begin, in seconds since the epoch.
    due: float | None = None
    #: How many attempts have failed since it was scheduled, or retried.
    failures: int = 0
    #: It may have ended its process, so it runs beside no other such job.
    suspect: bool = False
    #: How often its process ended while it ran.
    crashes: int = 0
    conflicts: int = 0
    #: This process has accepted it, and begun no run of it yet.
    is_new: bool = False
    #: When the run under way began; ``None`` while it waits.
    started: datetime.datetime | None = None
    progress: Progress | None = None
    #: How often it has told of its progress.
    told: int = 0
    #: How often a run of it began.
    starts: int = 0

    @property
    def version(self) -> Version:
        """Which view of the job this process has."""
        return Version(
            run=self.fence.run_number, progress=self.told, starts=self.starts
        )

    def history(self) -> dict[str, Any]:
        """Tell what the record has to know of the run when that is over."""
        if self.started is None:
            return {}
        return {
            "attempt": self.attempt,
            "started": self.started.timestamp(),
            "progress": self.progress and self.progress.as_tuple(),
        }

    @classmethod
    def of(cls, sid: str, record: Record, *, is_new: bool = False) -> "Held":
        """Hold the job of a record that this process has written."""
        return cls(
            is_new=is_new,
            sid=sid,
            function=record.function,
            owner=record.owner,
            base_url=record.base_url,
            attempt=record.attempt + 1,
            scheduled=record.scheduled,
            fence=record.fence,
            options=Options.load(record.options),
            due=record.due,
            failures=record.failures,
            suspect=record.suspect,
            crashes=record.crashes,
        )


class HeldJobs:
    """Those jobs, from their commit or takeover until they end here.

    Threads may use it at the same time. Of the suspects one at a time is
    handed out, the one with the fewest crashes first, so that the innocent
    are not counted with the guilty.

    Args:
        submit: gives jobs to the engine.
        watches: who waits for a job to change.
    """

    def __init__(
        self, submit: Callable[[list[Held]], None], watches: Watches
    ) -> None:
        self._submit = submit
        self._watches = watches
        self._lock = threading.RLock()
        self._dropped = threading.Condition(self._lock)
        self._jobs: dict[str, Held] = {}
        self._new = 0
        self._suspects: deque[str] = deque()
        #: The suspect that was handed out.
        self._at_large: Held | None = None
        #: How many jobs were dropped.
        self.drops = 0
        #: Whether a job has told of its progress since it was asked for.
        self.has_news = False

    def __contains__(self, sid: str) -> bool:
        return sid in self._jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, sid: str) -> Held | None:
        """Give what is known of a job that this process is to run."""
        return self._jobs.get(sid)

    def waiting(self) -> int:
        """Count the jobs that this process accepted and has not begun.

        Those that it took over do not count: they could not be refused.
        """
        return self._new

    def hold(self, jobs: Iterable[Held]) -> None:
        """Take in jobs, and hand them to the engine."""
        with self._lock:
            new = [held for held in jobs if self._is_news(held)]
            self._jobs.update((held.sid, held) for held in new)
            self._new += sum(held.is_new for held in new)
            suspects = [held for held in new if held.suspect]
            suspects.sort(key=lambda held: held.crashes)
            self._suspects.extend(held.sid for held in suspects)
            due = [held for held in new if not held.suspect]
            due += self._next_suspect()
        if due:
            self._submit(due)

    def _is_news(self, held: Held) -> bool:
        known = self._jobs.get(held.sid)
        # a retry may come before the failed run has been put away
        return known is None or known.fence.run_number < held.fence.run_number

    def _next_suspect(self) -> list[Held]:
        if self._at_large is not None and self._is_out(self._at_large):
            return []
        self._at_large = None
        while self._at_large is None and self._suspects:
            self._at_large = self._jobs.get(self._suspects.popleft())
        return [self._at_large] if self._at_large else []

    def _is_out(self, held: Held) -> bool:
        """Tell whether a job is held, or runs though it was dropped."""
        return self._jobs.get(held.sid) is held or held.started is not None

    def running_suspect(self) -> Held | None:
        """Give the suspect that runs, if one does."""
        with self._lock:
            held = self._at_large
            if held is not None and held.started is not None:
                return held
            return None

    def begin(self, sid: str) -> Held | None:
        """Start a run of a job, unless one is under way or it is gone."""
        with self._lock:
            held = self._jobs.get(sid)
            if held is None or held.started is not None:
                return None
            held.started = datetime.datetime.now(datetime.UTC)
            held.progress = None
            held.starts += 1
            self._new -= held.is_new
            held.is_new = False
            return held

    def report(self, held: Held, progress: Progress) -> None:
        """Take note of a running job's progress."""
        held.progress = progress
        held.told += 1
        self.has_news = True
        self._watches.tell(held.sid, is_progress=True)

    def take_news(self) -> list[Held]:
        """Give the jobs that run, when one has told of its progress."""
        self.has_news = False
        with self._lock:
            return [held for held in self._jobs.values() if held.started]

    def release(self, held: Held, *, counts: bool = True) -> None:
        """End a run, which will be repeated unless the job was dropped.

        With *counts* it is a conflict more.
        """
        with self._lock:
            if self._jobs.get(held.sid) is held and held.started is not None:
                held.conflicts += counts
            held.started = None
            due = self._next_suspect()
        if due:
            self._submit(due)

    def drop(self, sid: str, only: Held | None = None) -> None:
        """Forget a job: it is not this process's any more.

        With *only* its run is over, and what has taken its place since is
        kept.
        """
        with self._lock:
            held = self._jobs.get(sid)
            if held is not None and (only is None or only is held):
                del self._jobs[sid]
                self._new -= held.is_new
            if only is not None:
                only.started = None
            due = self._next_suspect()
            self.drops += 1
            self._dropped.notify_all()
        self._watches.tell(sid)
        if due:
            self._submit(due)

    def wait_for_drop(self, drops: int, timeout: float) -> None:
        """Wait for more than that many drops, but no longer than *timeout* s.

        So a drop between a look at :attr:`drops` and this call counts.
        """
        with self._dropped:
            self._dropped.wait_for(lambda: self.drops > drops, timeout)
