"""Tells the errors of a storage that is away from those of a job."""

import traceback
from types import FrameType

from ZODB.interfaces import IStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError

__all__ = ["storage_failed"]

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
