"""What an object was before the transaction that wrote it last."""

from collections.abc import Iterator
from typing import Any

from persistent import Persistent
from ZODB.POSException import POSKeyError

from .internals import revisions

__all__ = ["earlier_states"]

#: How many revisions of an object are asked for: first as many as tell of most
#: objects what is to be known, and then as many as are looked at at all.
FEW, MOST = 2, 50


def earlier_states(thing: Persistent) -> Iterator[dict[str, Any]]:
    """Return the states that an object had before the one of now.

    A pack of the database removes them. A storage that cannot undo may have
    none.

    Args:
        thing: an object that is stored, and not changed since.

    Returns:
        The states as ``__getstate__`` has given them, the last one first.
        They are loaded one by one, and there are 49 at most.
    """
    thing._p_activate()  # a ghost has no serial
    connection, done = thing._p_jar, 0
    if not connection.db().supportsUndo():
        return
    for most in (FEW, MOST):
        tids = revisions(connection, thing._p_oid, most)
        for tid in tids[done:]:
            if tid < thing._p_serial:
                try:
                    state = connection.oldstate(thing, tid)
                except POSKeyError:
                    return  # packed meanwhile, or the undo of its creation
                yield state
        done = len(tids)
        if done < most:
            return
