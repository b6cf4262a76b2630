"""How many jobs of a store have not ended."""

from ...jobs.model import JobState
from ..records import Page, Slice, Store
from ..slices import ALL

__all__ = ["count_open"]


def count_open(store: Store) -> int:
    """Return how many jobs have not ended; load none of a block.

    Args:
        store: the store. What its processes have not settled yet counts.
    """
    count, newest = 0, store.slices.maxKey()
    for number, slice_ in store.slices.items():
        count += _listed(slice_) + _in_shards(slice_)
        if number != newest:  # there may be many
            slice_._p_deactivate()
    return count


def _listed(slice_: Slice) -> int:
    """Return how many jobs are listed, and are not in a block that is open."""
    if slice_.keep_until is not None:
        return 0
    count = 0
    for key, index in slice_.listed():
        page = slice_.page(key) if index is not None else None
        if index == ALL:
            count += len(page.open) if isinstance(page, Page) else 0
        elif not (isinstance(page, Page) and index in page.open):
            count += 1
    return count


def _in_shards(slice_: Slice) -> int:
    count = 0
    for shard in slice_.all_shards().values():
        for _, page in shard.open_pages():
            if page.listed:
                continue
            if page.cells is not None:
                count += len(page.open)
            elif page.function is not None and page.state == JobState.PENDING:
                count += 1
    return count
