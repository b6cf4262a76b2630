"""Where Pyramid finds the tween of ``web.long_polling`` by its name."""

from .web.long_polling import wait_for_change_factory

__all__ = ["wait_for_change_factory"]
