"""What is done for a job that does not exist, so that time does not tell."""

from ..records import Record, Store
from ..sids import split_sid
from ..slices import KEPT, Slice

__all__ = ["load_another"]


def load_another(store: Store, sid: str) -> None:
    """Load the record of another job than that which was not found.

    To look for a job of somebody else loads its record, perhaps from the
    storage, to see whose it is. This does the same for a sid that is unknown.

    Args:
        store: the store in which it was not found.
        sid: the sid.
    """
    newest, slice_ = store.newest()
    try:
        number, key = split_sid(sid)
    except (ValueError, TypeError):
        number, key = newest, KEPT
    if number != newest:
        slice_ = store.slices.get(number, slice_)
    record = _near(slice_, key)
    if record is not None:
        _state = record.state  # which loads it


def _near(slice_: Slice, key: bytes) -> Record | None:
    """Return a record from the tree of *key*, or else from any other."""
    tree = slice_.tree(key or b"\0")
    for bound in (key, None):
        near = tree.maxKey(bound)
        if near != KEPT:
            found: Record = tree[near]
            return found
    return next((record for _, record in slice_.records()), None)
