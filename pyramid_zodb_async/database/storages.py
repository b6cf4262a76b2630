"""What is asked of storages: whether one failed, or has only one process."""

import traceback
from types import FrameType
from typing import Any

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError

__all__ = ["is_for_one_process", "storage_failed"]

#: What a storage raises although it works: these are answers, not failures.
_ANSWERS = (ConflictError, POSKeyError, ReadOnlyError)


def storage_failed(error: BaseException) -> bool:
    """Return whether *error* was raised because a storage failed.

    A storage does not convert the errors of its driver, socket or disk, for
    instance ``psycopg2.OperationalError``, and a job may use such things
    itself. So the type of the error does not decide, but whether its
    traceback goes through a method of a storage.

    Args:
        error: an exception with its traceback.
    """
    # not isinstance(), which may ask the error for its __class__: an error of
    # an application may raise then
    if issubclass(type(error), _ANSWERS):
        return False
    return any(
        _is_of_storage(frame)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _is_of_storage(frame: FrameType) -> bool:
    # the methods of RelStorage's storages are partly those of other objects
    module = frame.f_globals.get("__name__")
    if isinstance(module, str) and module.startswith("relstorage."):
        return True
    # by the class of self: asking self, which may be a persistent object of
    # the job, could load it from the database
    return bool(IStorage.implementedBy(type(frame.f_locals.get("self"))))


def is_for_one_process(storage: Any) -> bool:
    """Return whether no other process can have *storage* open.

    Args:
        storage: a storage, or a wrapper around one.

    Returns:
        Whether it is a FileStorage, a MappingStorage or a DemoStorage of
        such. Of other storages it is assumed that other processes use them.
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
