"""Tells whether a storage can be open in more than one process."""

from typing import Any

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

__all__ = ["is_for_one_process"]


def is_for_one_process(storage: Any) -> bool:
    """Tell whether *storage* is open in no other process than this.

    A storage that is not known may be open in others.
    """
    if isinstance(storage, DemoStorage):
        return is_for_one_process(storage.base) and is_for_one_process(
            storage.changes
        )
    if isinstance(storage, FileStorage | MappingStorage):
        return True
    # a wrapper, for instance one that compresses
    base = getattr(storage, "base", None)
    return base is not None and is_for_one_process(base)
