"""An alias for databases: pickles name ``_refuse`` by this path."""

from .execution.subscribers import _refuse

__all__ = ["_refuse"]
