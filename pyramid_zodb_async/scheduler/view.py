"""An alias for databases: pickles name ``_nothing`` by this module."""

from .process.views import _nothing

__all__ = ["_nothing"]
