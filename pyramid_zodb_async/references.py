"""Aliases for databases: pickles name these classes by this path."""

from .exceptions import NotTransferable
from .transfer.references import SharedDatabase

__all__ = ["NotTransferable", "SharedDatabase"]
