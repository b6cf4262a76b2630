"""The check whether another incarnation has been silent for its lease."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["LivenessMonitor"]


@dataclass(slots=True)
class _Seen:
    """The last beat of an incarnation, and the silence since then."""

    beat: int
    #: After how many seconds of silence it is dead.
    lease: float
    #: How many checks have seen no other beat.
    looks: int = 0
    #: For how many seconds the beat has not changed.
    silent: float = 0.0


class LivenessMonitor:
    """Measures for how long other incarnations have given no sign of life.

    Only the time between two checks that both succeeded counts, so that no
    incarnation counts as dead because the storage was away. The time is
    measured on the clock of this process; clocks of different processes are
    not compared.

    Args:
        lease: after how many seconds of silence an incarnation is dead that
            does not say so itself.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._seen: dict[str, _Seen] = {}
        self._last_look: float | None = None

    def observation_failed(self) -> None:
        """Record that a check failed: the time until the next does not count.

        The others may have been unable to write, for the same reason.
        """
        self._last_look = None

    def observe(
        self,
        beats: Mapping[str, int],
        now: float,
        leases: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        """Record the beats that a check has read.

        Args:
            beats: the beats of the incarnations with jobs that are due. Others
                need not give signs of life, and their silence does not count.
            now: the time of the check on the monotonic clock.
            leases: those of the incarnations that have told theirs, in
                seconds.
        """
        passed = 0.0
        if self._last_look is not None:
            passed = now - self._last_look
        self._last_look = now
        for incarnation in set(self._seen) - set(beats):
            del self._seen[incarnation]
        for incarnation, beat in beats.items():
            seen = self._seen.get(incarnation)
            if seen is None or seen.beat != beat:
                lease = leases.get(incarnation, self._lease)
                self._seen[incarnation] = _Seen(beat, lease)
            elif passed:
                seen.looks += 1
                # If this process was stopped for a while, it has not seen
                # whether others gave signs of life. So one pause never makes
                # a lease.
                seen.silent += min(passed, seen.lease / 2)

    def is_dead(self, incarnation: str, leases: int = 1) -> bool:
        """Return whether an incarnation has been silent for its lease.

        Args:
            incarnation: the identity of the incarnation.
            leases: for how many leases it must have been silent.
        """
        seen = self._seen.get(incarnation)
        return (
            seen is not None
            and seen.looks >= 3  # noqa: PLR2004 - the least in a lease
            and seen.silent >= seen.lease * leases
        )
