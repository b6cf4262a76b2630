"""Where databases find what is in ``transfer`` and ``exceptions``."""

from .exceptions import NotTransferable
from .transfer.references import SharedDatabase

__all__ = ["NotTransferable", "SharedDatabase"]
