"""How many jobs of a store have not ended."""

from collections import defaultdict
from collections.abc import Iterable

from ...jobs.model import JobState
from ..records import Page, Slice, Store
from ..sids import PageKey, Place
from ..slices import ALL

__all__ = ["count_open"]

#: By the key of a page, the indexes of jobs on it that have ended.
_Ended = dict[PageKey, set[int]]


def count_open(store: Store, ended: Iterable[Place] = ()) -> int:
    """Return how many jobs have not ended; load none of a block.

    Args:
        store: the store. What its processes have not settled yet counts.
        ended: where jobs are that do not, as they are known to have ended.
    """
    by_slice: dict[int, _Ended] = defaultdict(lambda: defaultdict(set))
    for number, key, index, _ in ended:
        if index is not None:
            by_slice[number][key].add(index)
    count, newest = 0, store.slices.maxKey()
    for number, slice_ in store.slices.items():
        known = by_slice[number]
        count += _listed(slice_, known) + _in_shards(slice_, known)
        if number != newest:  # there may be many
            slice_._p_deactivate()
    return count


def _listed(slice_: Slice, ended: _Ended) -> int:
    """Return how many jobs are listed, and are not in a block that is open."""
    if slice_.keep_until is not None:
        return 0
    count = 0
    for key, index in slice_.listed():
        page = slice_.page(key) if index is not None else None
        if index == ALL:
            count += _in_block(page, ended[key])
        elif not (isinstance(page, Page) and index in page.open):
            count += 1
    return count


def _in_shards(slice_: Slice, ended: _Ended) -> int:
    count = 0
    for number, shard in slice_.all_shards().items():
        for page_number, page in shard.open_pages():
            if page.listed:
                continue
            if page.cells is not None:
                count += _in_block(page, ended[number, page_number])
            elif page.function is not None and page.state == JobState.PENDING:
                count += 1
    return count


def _in_block(page: object, ended: set[int]) -> int:
    if not isinstance(page, Page):
        return 0
    return len(page.open) - sum(index in page.open for index in ended)
