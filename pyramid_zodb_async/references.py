"""Where databases find what is in ``transfer.references``."""

from .transfer.references import NotTransferable, SharedDatabase

__all__ = ["NotTransferable", "SharedDatabase"]
