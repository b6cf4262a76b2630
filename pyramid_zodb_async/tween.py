"""An alias for settings, which name the tween of ``config.startup`` so."""

from .config.startup import start_scheduler_factory

__all__ = ["start_scheduler_factory"]
