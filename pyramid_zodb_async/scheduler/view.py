"""An alias for databases: pickles name ``_nothing`` by this module."""

from .process.job_views import _nothing

__all__ = ["_nothing"]
