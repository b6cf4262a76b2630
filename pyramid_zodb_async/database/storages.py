"""Tells what a storage can do, and its errors from those of a job."""

import traceback
from types import FrameType
from typing import Any

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError

__all__ = ["is_for_one_process", "storage_failed"]

#: What a storage raises that is in order.
_ANSWERS = (ConflictError, POSKeyError, ReadOnlyError)


def storage_failed(error: BaseException) -> bool:
    """Tell whether *error* says that a storage could not do its work.

    A storage lets pass what its driver, its socket or its disk raises, for
    instance ``psycopg2.OperationalError``, and a job may use such things by
    itself. So what counts is that a storage was being asked when it was
    raised, not of what type it is.
    """
    if isinstance(error, _ANSWERS):
        return False
    return any(
        _is_of_storage(frame)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _is_of_storage(frame: FrameType) -> bool:
    # RelStorage lends its storages the methods of other objects
    if frame.f_globals.get("__name__", "").startswith("relstorage."):
        return True
    # the class, for to ask an object of the job could load it
    return bool(IStorage.implementedBy(type(frame.f_locals.get("self"))))


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
