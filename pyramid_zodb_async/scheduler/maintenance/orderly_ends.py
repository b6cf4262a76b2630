"""What a look finds of the incarnations that have ended in order."""

from collections.abc import Collection, Mapping

from ..records import Beat, Store
from .findings import Findings

__all__ = ["ended_in_order", "forget_beat", "unneeded_beats"]


def ended_in_order(beats: Mapping[str, Beat]) -> dict[str, frozenset[str]]:
    """Return the incarnations that say so, and which jobs still ran then.

    Args:
        beats: the beats of all incarnations, by their identities.

    Returns:
        The sids of the jobs, by incarnation.
    """
    return {
        incarnation: frozenset(beat.ended)
        for incarnation, beat in beats.items()
        if beat.ended is not None
    }


def unneeded_beats(found: Findings, live: Collection[str]) -> list[str]:
    """Return the incarnations that have ended, and have a beat and no job.

    This is for a storage that only one process can have open, where nobody
    watches for signs of life.

    Args:
        found: what a look has found.
        live: the incarnations of this process.
    """
    return [
        incarnation
        for incarnation in found.runners
        if incarnation not in found.others and incarnation not in live
    ]


def forget_beat(store: Store, incarnation: str | None) -> None:
    """Remove the beat of an incarnation, if it has one.

    Args:
        store: the store, in a transaction that takes over the last of its
            jobs.
        incarnation: its identity; ``None`` if the jobs had none.
    """
    if incarnation is not None:
        store.runners.pop(incarnation, None)
