"""Where databases find what is in ``process.views``."""

from .process.views import _nothing

__all__ = ["_nothing"]
