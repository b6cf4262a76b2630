"""Which process has opened a database; its children must not use it."""

import os
from weakref import WeakKeyDictionary

from ZODB.DB import DB

__all__ = ["CURE", "process_of"]

#: What to do about a database that was opened too early.
CURE = (
    "Load the application after the fork: gunicorn without --preload, uWSGI"
    " with lazy-apps = true"
)

#: The processes in which databases were met first. A pid tells of a
#: fork also in uWSGI, which calls no hooks of os.fork() unless it is told to.
_processes: WeakKeyDictionary[DB, int] = WeakKeyDictionary()


def process_of(db: DB) -> int:
    """Return the process that has opened a database.

    That is the one that has asked first, so this is to be called as soon as
    there is a database.

    Args:
        db: the database.

    Returns:
        The id of the process, which may be that of a parent of this one.
    """
    return _processes.setdefault(db, os.getpid())
