"""An alias for settings, which name the tween of ``web.long_polling`` so."""

from .web.long_polling import wait_for_change_factory

__all__ = ["wait_for_change_factory"]
