"""What a check of the unfinished jobs has found."""

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

from ..process.assigned_job import AssignedJob
from ..process.open_bulks import BulkKey
from ..records import Store
from .lost_jobs import LostJob

__all__ = ["Findings", "OpenShard"]

#: How many jobs one look reads at most that are neither listed nor known. So
#: the first of very many are taken over before the last one is read.
MOST_READ = 5000


class OpenShard(NamedTuple):
    """A shard that may have unfinished jobs."""

    #: The number of the slice, and that of the shard in it.
    number: int
    shard_number: int
    #: The incarnation that looks after it.
    keeper: str


@dataclass(slots=True)
class Findings:
    """What a check has found, as plain data."""

    #: Jobs that are assigned here, and whose records say otherwise.
    stale: list[AssignedJob] = field(default_factory=list)
    #: Jobs of this incarnation that are not assigned in its memory.
    lost: list[AssignedJob] = field(default_factory=list)
    #: Jobs without a runner, for which this process sends messages.
    waiting: list[AssignedJob] = field(default_factory=list)
    #: Other jobs, by incarnation.
    others: dict[str | None, list[LostJob]] = field(default_factory=dict)
    #: The beats of the incarnations that have jobs in ``others``.
    beats: dict[str, int] = field(default_factory=dict)
    #: The leases that they have told.
    leases: dict[str, float] = field(default_factory=dict)
    #: When jobs are due that are not to be assigned yet, by sid.
    later: dict[str, float] = field(default_factory=dict)
    #: The jobs that still ran, by the incarnations that ended in order.
    ended: dict[str, frozenset[str]] = field(default_factory=dict)
    #: The sids of jobs that are known to wait and were not read.
    left_out: set[str] = field(default_factory=set)
    #: The sids of jobs that have ended, or that other processes see to.
    settled: list[str] = field(default_factory=list)
    #: The beats of all incarnations that have one.
    runners: dict[str, int] = field(default_factory=dict)
    #: Shards with unfinished jobs whose processes may be gone.
    silent_shards: list[OpenShard] = field(default_factory=list)
    #: The numbers of shards that this process keeps, and holds all jobs of.
    settled_shards: list[tuple[int, int]] = field(default_factory=list)
    #: Whether there are jobs in shards of this process that others are to
    #: run, as far as is known.
    keeps_for_others: bool = False
    #: Bulks with jobs that nobody has claimed.
    bulks: list[BulkKey] = field(default_factory=list)
    #: The incarnations that were known to be gone, whose jobs were read.
    gone: set[str] = field(default_factory=set)
    #: How many more jobs may be read that are neither listed nor known, and
    #: until when, on the monotonic clock.
    room: int = MOST_READ
    until: float = math.inf
    #: Whether there are more of them.
    is_cut: bool = False

    def has_room(self, *, goes_on: bool = False) -> bool:
        """Return whether one more job may be read, and note that it is.

        Args:
            goes_on: whether it must be, since others were that go with it.
        """
        is_over = self.room <= 0 or time.monotonic() > self.until
        if is_over and not goes_on:
            self.is_cut = True
            return False
        self.room -= 1
        return True

    def note_beat(self, store: Store, incarnation: str) -> None:
        """Note the beat of an incarnation, and its lease.

        Args:
            store: the store, as the check sees it.
            incarnation: its identity.
        """
        if incarnation not in self.beats:
            beat = store.runners.get(incarnation)
            self.beats[incarnation] = beat.count if beat else 0
            if beat and beat.lease is not None:
                self.leases[incarnation] = beat.lease
