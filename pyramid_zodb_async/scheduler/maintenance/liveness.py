"""Tells which other processes have given no sign of life for too long."""

from dataclasses import dataclass

__all__ = ["LivenessMonitor"]


@dataclass(slots=True)
class _Seen:
    beat: int
    looks: int = 0
    silent: float = 0.0


class LivenessMonitor:
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

    def observation_failed(self) -> None:
        """Take note that a look failed."""
        self._last_look = None

    def observe(self, beats: dict[str, int], now: float) -> None:
        """Take note of the beats of those runners that have due jobs."""
        passed = 0.0
        if self._last_look is not None:
            # a process that was stopped itself has seen nothing meanwhile
            passed = min(now - self._last_look, self._lease / 2)
        self._last_look = now
        for incarnation in set(self._seen) - set(beats):
            del self._seen[incarnation]
        for incarnation, beat in beats.items():
            seen = self._seen.get(incarnation)
            if seen is None or seen.beat != beat:
                self._seen[incarnation] = _Seen(beat)
            elif passed:
                seen.looks += 1
                seen.silent += passed

    def is_dead(self, incarnation: str) -> bool:
        """Tell whether a runner has been silent for its lease."""
        seen = self._seen.get(incarnation)
        return (
            seen is not None
            and seen.looks >= 3  # noqa: PLR2004 - the least in a lease
            and seen.silent >= self._lease
        )
