"""The jobs that a process is to run, as it knows them in memory."""

import datetime
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..job import Progress
from .records import Fence, Record

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
    #: What the record must be for the run to count.
    fence: Fence
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
            fence=record.fence,
            suspect=record.suspect,
            crashes=record.crashes,
        )


class HeldJobs:
    """Those jobs, from their commit or takeover until they end here.

    Threads may use it at the same time. Of the suspects one at a time is
    handed out, the one with the fewest crashes first, so that the innocent
    are not counted with the guilty.

    Args:
        submit: gives sids to the engine.
    """

    def __init__(self, submit: Callable[[list[str]], None]) -> None:
        self._submit = submit
        self._lock = threading.RLock()
        self._dropped = threading.Condition(self._lock)
        self._jobs: dict[str, Held] = {}
        self._new = 0
        self._suspects: deque[str] = deque()
        #: The suspect that was handed out.
        self._at_large: str | None = None
        #: How many jobs were dropped.
        self.drops = 0

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
            new = [held for held in jobs if held.sid not in self._jobs]
            self._jobs.update((held.sid, held) for held in new)
            self._new += sum(held.is_new for held in new)
            suspects = [held for held in new if held.suspect]
            suspects.sort(key=lambda held: held.crashes)
            self._suspects.extend(held.sid for held in suspects)
            due = [held.sid for held in new if not held.suspect]
            due += self._next_suspect()
        if due:
            self._submit(due)

    def _next_suspect(self) -> list[str]:
        while self._at_large is None and self._suspects:
            sid = self._suspects.popleft()
            if sid in self._jobs:
                self._at_large = sid
                return [sid]
        return []

    def begin(self, sid: str) -> Held | None:
        """Start a run of a job, unless one is under way or it is gone."""
        with self._lock:
            held = self._jobs.get(sid)
            if held is None or held.started is not None:
                return None
            held.started = datetime.datetime.now(datetime.UTC)
            held.progress = None
            self._new -= held.is_new
            held.is_new = False
            return held

    def release(self, held: Held, *, counts: bool = True) -> None:
        """End a run, which will be repeated unless the job was dropped.

        With *counts* it is a conflict more.
        """
        with self._lock:
            if self._jobs.get(held.sid) is held and held.started is not None:
                held.started = None
                held.conflicts += counts

    def drop(self, sid: str) -> None:
        """Forget a job: it is not this process's any more."""
        with self._lock:
            held = self._jobs.pop(sid, None)
            if held is not None:
                self._new -= held.is_new
            due = []
            if self._at_large == sid:
                self._at_large = None
                due = self._next_suspect()
            self.drops += 1
            self._dropped.notify_all()
        if due:
            self._submit(due)

    def wait_for_drop(self, drops: int, timeout: float) -> None:
        """Wait for more than that many drops, but no longer than *timeout* s.

        So a drop between a look at :attr:`drops` and this call counts.
        """
        with self._dropped:
            self._dropped.wait_for(lambda: self.drops > drops, timeout)
