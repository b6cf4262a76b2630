"""The pages that this process has made ahead, for the jobs to come."""

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ..records import Page, Shard, Slice, Store

__all__ = ["FreePages", "TakenPage"]

#: How many pages there are at first, and how many at most.
FEWEST, MOST = 64, 1024


class TakenPage(NamedTuple):
    """A page that a transaction may write a job to."""

    #: The numbers of the slice, of the shard and of the page.
    number: int
    shard_number: int
    page_number: int


class FreePages:
    """Gives each page to one transaction.

    Threads may use it at the same time.

    Args:
        incarnation: that of this process, which keeps the shards.
    """

    def __init__(self, incarnation: str) -> None:
        self._incarnation = incarnation
        # its methods are atomic
        self._free: deque[TakenPage] = deque()
        #: How many are to be there.
        self.wanted = FEWEST
        #: How many were taken and not given back, since the beginning.
        self.taken = 0
        #: Whether this process makes pages, for it runs jobs.
        self.is_used = False

    def __len__(self) -> int:
        return len(self._free)

    @property
    def missing(self) -> int:
        """How many pages are to be made now; 0 if there are enough."""
        if not self.is_used or 2 * len(self._free) > self.wanted:
            return 0
        return self.wanted - len(self._free)

    def add(self, pages: Iterable[TakenPage]) -> None:
        """Add pages, which are committed and empty.

        Args:
            pages: where they are.
        """
        self._free.extend(pages)

    def give_back(self, page: TakenPage) -> None:
        """Add a page again that was taken, and that nothing was written to.

        Args:
            page: where it is. It is certain that no commit has written it.
        """
        self._free.appendleft(page)
        self.taken -= 1

    def take(self, store: Store) -> "tuple[TakenPage, Slice, Page] | None":
        """Return a page that nobody else gets, and its slice.

        Args:
            store: the store as the transaction sees it that is to write the
                page.

        Returns:
            An empty page; ``None`` if there is none that the transaction can
            see. It may have begun before they were made.
        """
        newest, slice_ = store.newest()
        while True:
            try:
                taken = self._free.popleft()
            except IndexError:
                return None
            if taken.number < newest:
                continue  # who keeps its slice closes it
            shards, page = slice_.all_shards(), None
            shard: Shard | None = shards.get(taken.shard_number)
            if shard is not None:
                page = shard.pages.get(taken.page_number)
            if taken.number > newest or shard is None or page is None:
                self._free.appendleft(taken)
                return None
            if page.is_empty and shard.keeper == self._incarnation:
                self.taken += 1
                return taken, slice_, page
            # else another process has closed it, which took this one for dead
