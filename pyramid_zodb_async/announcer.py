"""Where databases find what is in ``execution.announcer``."""

from .execution.announcer import _refuse

__all__ = ["_refuse"]
