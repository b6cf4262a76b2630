"""What is asked of storages: whether one failed, or has only one process."""

import contextlib
import errno
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IBlobStorage, IStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError

from ..jobs.exception_groups import is_of

__all__ = [
    "describe_storage",
    "disk_is_full",
    "is_for_one_process",
    "keeps_its_commits",
    "may_not_be_forked",
    "storage_failed",
]

#: The attributes by which storages know those that they are around. There
#: are "base" and "changes" of DemoStorage; "base" of what compresses,
#: encrypts or encodes, such as zc.zlibstorage; "storage" of zc.beforestorage;
#: and what the ZODB's own adapters and its BlobStorage have for themselves.
#: All attributes would be too many: a ZEO client, for instance, has one with
#: the storage that is around it.
_INNER = ("base", "changes", "storage", "_storage", "_BlobStorage__storage")

#: What a storage raises although it works: these are answers, not failures.
_ANSWERS = (ConflictError, POSKeyError, ReadOnlyError)


#: What the operating system says when a disk, or a user's part of it, is full.
_FULL = (errno.ENOSPC, errno.EDQUOT)


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


def disk_is_full(error: BaseException) -> bool:
    """Return whether *error* says that there is no space on a disk.

    Args:
        error: what a storage has raised.
    """
    return is_of(error, OSError) and getattr(error, "errno", None) in _FULL


def _is_of_storage(frame: FrameType) -> bool:
    # the methods of RelStorage's storages are partly those of other objects
    module = frame.f_globals.get("__name__")
    if isinstance(module, str) and module.startswith("relstorage."):
        return True
    # by the class of self: asking self, which may be a persistent object of
    # the job, could load it from the database
    kind = type(frame.f_locals.get("self"))
    # a BlobStorage, which has files of its own, is of the latter only
    return any(
        interface.implementedBy(kind) for interface in (IStorage, IBlobStorage)
    )


def is_for_one_process(storage: Any) -> bool:
    """Return whether no other process can have *storage* open.

    Args:
        storage: a storage, or a wrapper around one, or around several.

    Returns:
        Whether it is a FileStorage or a MappingStorage, or has only such
        within, for instance in a BlobStorage or a DemoStorage. Of other
        storages it is assumed that other processes use them.
    """
    if isinstance(storage, FileStorage | MappingStorage):
        return True
    inner = list(_inner(storage))
    return bool(inner) and all(map(is_for_one_process, inner))


def keeps_its_commits(storage: Any) -> bool:
    """Return whether no other process can see what is committed to it.

    That is so for a storage for one process, and for a DemoStorage with such
    changes, even if its base is one that other processes use.

    Args:
        storage: a storage, or a wrapper around one, or around several.
    """
    if isinstance(storage, DemoStorage):
        return keeps_its_commits(storage.changes)
    if isinstance(storage, FileStorage | MappingStorage):
        return True
    inner = list(_inner(storage))
    return bool(inner) and all(map(keeps_its_commits, inner))


def may_not_be_forked(storage: Any) -> bool:
    """Return whether requests fail in a child of the process that opened it.

    A ZEO client hangs there, for the thread that talks to the server is not
    forked. The children of a process with a FileStorage share the positions
    in its files, and overwrite what each other commits.

    Args:
        storage: a storage, or a wrapper around one, or around several.
    """
    # ZEO need not be installed
    is_zeo = any(
        kind.__module__.startswith("ZEO.") for kind in type(storage).__mro__
    )
    if is_zeo or isinstance(storage, FileStorage):
        return True
    return any(map(may_not_be_forked, _inner(storage)))


def describe_storage(storage: Any) -> str:
    """Return the class of a storage, with those of the storages in it.

    Args:
        storage: a storage, or a wrapper around one, or around several.

    Returns:
        For instance ``"BlobStorage(FileStorage)"``.
    """
    inner = ", ".join(map(describe_storage, _inner(storage)))
    name = type(storage).__name__
    return f"{name}({inner})" if inner else name


def _inner(storage: Any) -> Iterator[Any]:
    """Return the storages that *storage* is around; most have none."""
    for name in _INNER:
        with contextlib.suppress(AttributeError):
            # not getattr(): most wrappers hand what they lack on to the
            # storage in them, and its attributes would seem to be theirs
            found = object.__getattribute__(storage, name)
            # a BlobStorage says that it is one, and not always that it is a
            # storage; in a ZEO client "_storage" is only a name
            if IStorage.providedBy(found) or IBlobStorage.providedBy(found):
                yield found
