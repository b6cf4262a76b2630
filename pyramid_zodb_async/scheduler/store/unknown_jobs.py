"""What is done for a job that does not exist, so that time does not tell."""

from ..job_records import JobRecord, Page
from ..records import Store
from ..sids import PageKey, split_sid
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
        number, key, index, _ = split_sid(sid)
    except (ValueError, TypeError):
        number, key, index = newest, KEPT, None
    if number != newest:
        slice_ = store.slices.get(number, slice_)
    record = _near(slice_, key)
    if record is not None:
        _state = record.state  # which loads it
    if isinstance(record, Page) and record.cells:
        cells = record.cells
        near = cells.maxKey(max(index or 0, cells.minKey()))
        _state = cells[near].state


def _near(slice_: Slice, key: PageKey) -> JobRecord | None:
    """Return a record from the tree or shard of *key*, or else any other."""
    if isinstance(key, tuple):
        shards = slice_.all_shards()
        shard = shards.get(key[0]) or next(iter(shards.values()), None)
        if shard is not None and shard.pages:
            page: JobRecord = shard.pages[
                min(max(key[1], shard.pages.minKey()), shard.pages.maxKey())
            ]
            return page
        key = KEPT
    tree = slice_.tree(key or b"\0")
    for bound in (key, None):
        near = tree.maxKey(bound)
        if near != KEPT:
            found: JobRecord = tree[near]
            return found
    return next((record for _, record in slice_.pages()), None)
