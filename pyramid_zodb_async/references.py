"""Aliases for databases: pickles name these classes by this path."""

from .exceptions import NotTransferable
from .transfer.envelopes import part
from .transfer.references import SharedDatabase

__all__ = ["NotTransferable", "SharedDatabase", "part"]
