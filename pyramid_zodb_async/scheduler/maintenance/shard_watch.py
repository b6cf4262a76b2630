"""The choice of the shards that a check looks into."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from ...jobs.model import JobState
from ..process.this_process import ThisProcess
from ..records import LocatedPage, Shard, Slice, Store, StoredJob
from ..sids import PageKey
from .findings import Findings, OpenShard
from .live_incarnations import LIVE_INCARNATIONS

__all__ = ["ShardWatch"]


class ShardWatch:
    """Finds the unfinished jobs in shards, and loads as few pages as possible.

    The process that keeps a shard looks after the jobs in it. Another one
    looks whether there are any only when that process has given no sign of
    life since the last look, and reads them when it has taken the shard over,
    until all of them are its own.

    Args:
        process: this process.
        settled: the shards that it keeps, and knows all jobs of.
        is_gone: returns whether another process has ended, or gave no sign of
            life for its lease, as far as the looks before this one can tell.
    """

    def __init__(
        self,
        process: ThisProcess,
        settled: set[tuple[int, int]],
        is_gone: Callable[[str], bool],
    ) -> None:
        self._process = process
        self._settled = settled
        self._is_gone = is_gone
        #: The beats at the last look and at this one, by incarnation.
        self._before: dict[str, int] = {}
        self._now: dict[str, int] = {}
        #: Returns whether a job need not be read, by its sid.
        self._is_known: Callable[[str], bool] = bool
        #: The processes that have kept shards with unfinished jobs.
        self.keepers: set[str] = set()
        #: The pages on which there was an unfinished job, by their shards.
        self._pending_on: dict[tuple[int, int], int] = {}
        #: The pages at which looks into shards of this process were cut.
        self._cut_at: dict[tuple[int, int], int] = {}

    def begin(
        self, beats: dict[str, int], is_known: Callable[[str], bool]
    ) -> None:
        """Begin a look.

        Args:
            beats: the beats of all incarnations.
            is_known: returns whether a job need not be read, by its sid.
        """
        self._before, self._now = self._now, beats
        self._is_known = is_known
        self.keepers &= beats.keys()

    def jobs(
        self, store: Store, found: Findings, shard: OpenShard
    ) -> Iterator[StoredJob]:
        """Return the jobs in a shard that are to be looked at now.

        Args:
            store: the store, as a transaction sees it.
            found: gets what is to be known of the shard.
            shard: the shard.
        """
        number, shard_number, keeper = shard
        if keeper == self._process.incarnation:
            yield from self._own(store, found, number, shard_number)
        elif self._is_silent(store, found, keeper):
            bulks = len(found.bulks)
            is_used = self._has_pending(store, found, number, shard_number)
            if is_used:
                self.keepers.add(keeper)
            # In an old slice its empty pages are of no use, and would be
            # looked at as long as the slice is kept. In the newest one a
            # process that only waits for jobs may need them.
            is_old = number != store.newest()[0]
            if is_old or is_used or len(found.bulks) > bulks:
                found.silent_shards.append(shard)
                # it may be another process that was to run the jobs
                found.note_beat(store, keeper)

    def block(
        self, store: Store, found: Findings, number: int, key: PageKey
    ) -> Iterator[StoredJob]:
        """Return the jobs in a listed block that are to be looked at.

        Each window is looked into as a shard is, but nobody takes it over:
        its jobs are read when its process is gone.

        Args:
            store: the store, as a transaction sees it.
            found: gets what is to be known of the block.
            number: the number of the slice.
            key: the key of the page of the block, which has open jobs.
        """
        located: Any = store.page_at(number, key)
        page = located.page
        if page.next_window() is not None:
            found.bulks.append((number, key))
        for window in self._windows(store, found, located):
            yield from self._unknown(store, found, located, window)

    def _windows(
        self, store: Store, found: Findings, located: LocatedPage
    ) -> Iterator[int]:
        """Return the windows of a block that are to be looked into.

        Those are left out that this process holds, or another one that is not
        known to be gone.
        """
        page = located.page
        windows: Any = {0: page.runner}
        if page.windows is not None:
            windows = page.windows
        for window, runner in windows.items():
            claim = located.number, located.key, window
            if runner == self._process.incarnation:
                if claim not in self._process.bulks.claimed:
                    yield window
                continue
            # another process may have taken it over, and this one may again
            self._process.bulks.claimed.discard(claim)
            if not runner:
                yield window
            elif page.open.keys(*page.bounds(window)) and self._is_silent(
                store, found, runner
            ):
                found.note_beat(store, runner)
                if runner in found.ended or self._is_gone(runner):
                    found.gone.add(runner)
                    yield window

    def _unknown(
        self,
        store: Store,
        found: Findings,
        located: LocatedPage,
        window: int = 0,
    ) -> Iterator[StoredJob]:
        """Return the pending jobs of a window that this process does not know.

        If there are no windows, these are the jobs of a page. Those that are
        listed are left out, since they are found otherwise.
        """
        page = located.page
        indexes: Any = (None,)
        if page.cells is not None:
            indexes = page.open.keys(*page.bounds(window))
        goes_on = False
        for index in indexes:
            job = store.job_on(located, index)  # which loads no record
            if self._is_known(job.sid):
                continue
            if not found.has_room(goes_on=goes_on):
                return
            # a window is taken over as a whole
            goes_on = page.windows is not None
            if job.record.state != JobState.PENDING:
                # its process has ended before it could note that
                self._process.to_settle.append(job.sid)
            elif not job.record.listed:
                yield job

    def _pages(
        self,
        store: Store,
        found: Findings,
        number: int,
        shard_number: int,
        first: int = 0,
    ) -> Iterator[LocatedPage]:
        """Return the used pages of a shard that are looked into with it.

        Those with smaller numbers than *first* come last.
        """
        slice_: Slice = store.slices[number]
        shard: Shard = slice_.all_shards()[shard_number]
        numbers = shard.open.keys
        for page_number in itertools.chain(
            numbers(first), numbers(max=first, excludemax=True)
        ):
            page = shard.pages[page_number]
            if page.listed or page.function is None:
                continue
            key = shard_number, page_number
            if page.next_window() is not None:
                found.bulks.append((number, key))
            yield LocatedPage(number, slice_, key, page)

    def _has_pending(
        self, store: Store, found: Findings, number: int, shard_number: int
    ) -> bool:
        """Return whether a shard has unfinished jobs that somebody claimed.

        It begins where there was one at the last look: those before it may
        have ended, and its process has not noted that yet.
        """
        shard = number, shard_number
        first = self._pending_on.pop(shard, 0)
        for located in self._pages(store, found, *shard, first):
            if _is_pending_on(store, located):
                _, self._pending_on[shard] = located.key
                return True
        return False

    def _own(
        self, store: Store, found: Findings, number: int, shard_number: int
    ) -> Iterator[StoredJob]:
        """Return what no run of this process is for, in a shard of its own.

        It begins where the last look was cut: all before that is known.
        """
        shard = number, shard_number
        if shard in self._settled:
            return
        is_settled, first = True, self._cut_at.pop(shard, 0)
        for located in self._pages(store, found, *shard, first):
            windows = located.page.windows
            for window in (0,) if windows is None else windows:
                for job in self._unknown(store, found, located, window):
                    is_settled = False
                    if job.runner != self._process.incarnation:
                        found.keeps_for_others = True
                    yield job
            if found.is_cut:
                _, self._cut_at[shard] = located.key
                return
        if is_settled:
            found.settled_shards.append(shard)

    def _is_silent(self, store: Store, found: Findings, keeper: str) -> bool:
        """Return whether a process has given no sign of life of late."""
        if not self._process.is_shared:
            return keeper not in LIVE_INCARNATIONS
        if keeper in found.ended:
            return True
        beat = self._now.get(keeper, 0)
        if self._before.get(keeper, beat) == beat:
            return True
        # it lives, and its silence is measured from now on
        found.note_beat(store, keeper)
        return False


def _is_pending_on(store: Store, located: LocatedPage) -> bool:
    """Return whether a page has an unfinished job that somebody claimed."""
    page = located.page
    if page.cells is not None and page.open:
        # jobs end in their order, so most likely the last one has not
        last = page.open.maxKey()
        record = page.cells[last]
        if (
            page.is_claimed(last)
            and record.state == JobState.PENDING
            and not record.listed
        ):
            return True
    return next(store.open_on(located, unclaimed=False), None) is not None
