"""How often a job has ended its process, as far as that is known.

On a storage that others can open, a process that is silent for its lease
counts as ended, but it may have been stopped, or a job may have kept the GIL.
So a crash that is counted then is noted together with the beat of the process.
If that beat is another one later, the process has lived, and the crash was
none.
"""

from typing import NamedTuple

from ..records import JobRecord, Store

__all__ = [
    "MOST_SURVIVALS",
    "CrashCounts",
    "Death",
    "counts_of",
    "has_lived",
    "leases_of_silence",
    "too_many",
    "with_death",
]

#: After how many takeovers from processes that lived a job fails.
MOST_SURVIVALS = 8

#: How many crashes are noted with the beat of their process. Those before are
#: so long ago that they are certain.
MOST_SILENCES = 8

#: For how many leases a process must be silent at least before a job fails for
#: it, since that cannot be undone.
LEASES_BEFORE_FAILURE = 4

#: The exponents of two of the greatest silence, in leases: after crashes, and
#: after takeovers from processes that lived.
MOST_FOR_CRASHES, MOST_DOUBLINGS = 2, 6


class CrashCounts(NamedTuple):
    """The attributes of a record that count crashes."""

    crashes: int
    silences: tuple[tuple[str, int], ...]
    survivals: int


class Death(NamedTuple):
    """The end of a process that ran a suspect, seen or inferred."""

    #: ``None`` if the job had none, and has not run.
    incarnation: str | None
    #: The last beat of a process that was only silent; ``None`` if it is
    #: certain that the process has ended.
    beat: int | None
    #: If it has ended in order, the sids of the jobs that still ran then.
    ended: frozenset[str] | None = None

    @property
    def is_orderly(self) -> bool:
        """Whether no job is to blame for it."""
        return self.ended is not None

    def clears(self, sid: str) -> bool:
        """Return whether it is certain that a job did not run.

        Args:
            sid: the sid of the job.
        """
        return self.ended is not None and sid not in self.ended


def counts_of(store: Store, record: JobRecord) -> CrashCounts:
    """Return how often a job has crashed, by what is known now.

    Args:
        store: the store, which has the beats of the processes that it was
            taken over from.
        record: the record of the job.
    """
    silences = tuple(
        (incarnation, count)
        for incarnation, count in record.silences
        if not has_lived(store, incarnation, count)
    )
    lived = len(record.silences) - len(silences)
    # never less than none: a process of a build that knows only the crashes
    # may have set these back
    crashes = max(0, record.crashes - lived)
    return CrashCounts(crashes, silences, record.survivals + lived)


def has_lived(store: Store, incarnation: str | None, count: int) -> bool:
    """Return whether an incarnation has given a sign of life since then.

    If its beat was removed, nobody knows, and it has not.

    Args:
        store: the store, which has the beats.
        incarnation: the identity of the incarnation.
        count: its beat at that time; 0 if it had none.
    """
    beat = store.runners.get(incarnation)
    return beat is not None and beat.count != count


def with_death(counts: CrashCounts, death: Death) -> CrashCounts:
    """Return the counts of a job after one more crash.

    Args:
        counts: those before.
        death: the end of the process that ran the job.
    """
    silences = counts.silences
    if death.incarnation is not None and death.beat is not None:
        silences = (*silences, (death.incarnation, death.beat))
    return CrashCounts(
        counts.crashes + 1, silences[-MOST_SILENCES:], counts.survivals
    )


def too_many(counts: CrashCounts, failures: int, attempts: int) -> bool:
    """Return whether a job fails for its crashes.

    Args:
        counts: how often it has crashed.
        failures: how many attempts have failed in other ways.
        attempts: how many it has.
    """
    if counts.survivals >= MOST_SURVIVALS:
        return True
    return counts.crashes > 0 and counts.crashes + failures >= attempts


def leases_of_silence(record: JobRecord, attempts: int) -> int:
    """Return for how long its process must be silent to lose a job.

    The more often the job was taken over while it ran, the longer. So one
    that keeps its process from giving signs of life, for however long, is left
    alone for long enough in the end; and one that ends its processes ends them
    at a slower pace.

    Args:
        record: the record of the job.
        attempts: after how many crashes it fails.

    Returns:
        The number of leases.
    """
    if not record.begun:
        return 1
    doublings = min(record.crashes, MOST_FOR_CRASHES) + record.survivals
    leases = 1 << min(doublings, MOST_DOUBLINGS)
    if record.crashes + record.failures + 1 >= attempts:
        return max(leases, LEASES_BEFORE_FAILURE)
    return leases
