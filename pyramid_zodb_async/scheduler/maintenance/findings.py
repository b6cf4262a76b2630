"""What a check of the unfinished jobs has found."""

from dataclasses import dataclass, field

from ..process.assigned_jobs import AssignedJob
from .claiming import LostJob

__all__ = ["Findings"]


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
    #: The sids of jobs that are known to wait and were not read.
    left_out: set[str] = field(default_factory=set)
    #: The sids of jobs that have ended, or that other processes see to.
    settled: list[str] = field(default_factory=list)
    #: The beats of all incarnations that have one.
    runners: dict[str, int] = field(default_factory=dict)
