"""Moments at which pauses end, by two clocks."""

import time
from typing import Self

__all__ = ["EndOfPause"]


class EndOfPause(float):
    """A moment in seconds since the epoch, at which a pause ends.

    The system's clock may be set while the pause goes on. So the moment is
    also known by the monotonic clock: the pause ends when either clock says
    so.

    Args:
        moment: the moment, in seconds since the epoch.
        counted: the same moment on the monotonic clock of this process.
    """

    __slots__ = ("counted",)

    #: The moment on the monotonic clock.
    counted: float

    def __new__(cls, moment: float, counted: float) -> Self:
        """Return the end of a pause, known by both clocks."""
        made = super().__new__(cls, moment)
        made.counted = counted
        return made

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the end of a pause that begins now.

        Args:
            seconds: how long the pause is.
        """
        return cls(time.time() + seconds, time.monotonic() + seconds)
