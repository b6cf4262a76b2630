"""Where Pyramid finds the tween of ``config.startup`` by its name."""

from .config.startup import start_scheduler_factory

__all__ = ["start_scheduler_factory"]
