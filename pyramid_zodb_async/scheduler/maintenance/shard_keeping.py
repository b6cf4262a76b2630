"""The shards that this process keeps: their pages, and what has ended."""

import functools
import itertools
import time
from collections.abc import Collection

from ...jobs.model import JobState
from ...jobs.options import Options
from ..process.free_pages import FEWEST, MOST, TakenPage
from ..process.this_process import ThisProcess
from ..records import (
    Fence,
    JobRecord,
    LocatedPage,
    Page,
    Shard,
    Slice,
    Store,
    TakenOver,
)
from ..sids import PageKey, Place, split_sid
from ..slices import ALL
from .findings import OpenShard
from .live_incarnations import OWN_INCARNATIONS

__all__ = ["ShardKeeper"]

#: For how many seconds pages are made ahead.
AHEAD = 0.5

#: How many jobs one transaction settles.
BATCH = 5000


class ShardKeeper:
    """Makes pages ahead, and takes note of the jobs that have ended.

    Nobody else writes the shards that this process keeps.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        self._location = process.location
        self._pages = process.free_pages
        #: The shards whose jobs are all known to this process: those that it
        #: has made, and those of others when it has looked through them.
        self.settled: set[tuple[int, int]] = set()
        #: Those of them that are in old slices, and have no empty pages.
        self._left: set[tuple[int, int]] = set()
        #: The shard that new pages go to.
        self._current: tuple[int, int] | None = None
        #: When pages were made last, on the monotonic clock, and how many had
        #: been taken by then.
        self._last_made, self._last_taken = time.monotonic(), 0

    def make_pages(self) -> None:
        """Make as many pages as are missing."""
        missing = self._pages.missing
        if not missing:
            return
        # A store of its own is not committed yet when its first job is
        # scheduled, and may never be.
        if not self._location.read(lambda _: True, default=False):
            self._pages.is_used = False  # until the next look
            return
        try:
            number, shard_number, made, is_known = self._location.write(
                lambda store: self._make_pages(store, missing),
                note="pages for jobs to come",
            )
        except TakenOver:  # pragma: no cover - the store is gone since then
            self._pages.is_used = False
            return
        # after the commit: a transaction may take a page that it can see
        self._current = number, shard_number
        if is_known:
            self.settled.add(self._current)
        self._pages.add(TakenPage(number, shard_number, page) for page in made)
        self._expect_as_many()

    def _make_pages(
        self, store: Store, count: int
    ) -> tuple[int, int, list[int], bool]:
        """Return the numbers of the slice, of a shard, and of empty pages.

        And whether this process knows all jobs in that shard.
        """
        number, slice_ = store.newest()
        shards, incarnation = slice_.all_shards(), self._process.incarnation
        if self._current is not None and self._current[0] == number:
            shard = shards.get(self._current[1])
            # else another process has taken this one for dead, or the
            # database was put back to an older state
            if shard is not None and shard.keeper == incarnation:
                made = list(shard.make_pages(count))
                return number, self._current[1], made, False
        last = shards.maxKey() if shards else -1
        if shards and self._is_certainly_dead(shards[last].keeper):
            shard = shards[last]
            shard.keeper = incarnation
            made = sorted(shard.last_empty_pages())
            made += shard.make_pages(max(0, count - len(made)))
            return number, last, made, False
        shards[last + 1] = shard = Shard(incarnation)
        return number, last + 1, list(shard.make_pages(count)), True

    def _is_certainly_dead(self, keeper: str) -> bool:
        """Return whether no transaction can write a page of a process.

        Then its empty pages can be used by this one. A restart would else
        leave them behind each time.
        """
        return not self._process.is_shared and keeper not in OWN_INCARNATIONS

    def _expect_as_many(self) -> None:
        """Have as many pages made ahead as are used up in some time."""
        now, taken = time.monotonic(), self._pages.taken
        passed = max(now - self._last_made, 0.001)
        rate = (taken - self._last_taken) / passed
        self._last_made, self._last_taken = now, taken
        self._pages.wanted = max(FEWEST, min(int(rate * AHEAD), MOST))

    def settle(self) -> tuple[list[str], dict[str, Fence]]:
        """Remove jobs that have ended from the open ones of their shards.

        Returns:
            The sids of those that have not ended, and may have nobody to hold
            them; and the fences of those that only look like that, since
            their end was undone.
        """
        self._pages.is_used = True
        to_settle = self._process.to_settle
        unsettled: list[str] = []
        undone: dict[str, Fence] = {}
        left = len(to_settle)  # what comes meanwhile is for the next time
        while left:
            batch = list(itertools.islice(to_settle.copy(), min(left, BATCH)))
            try:
                pending, again = self._location.write(
                    functools.partial(
                        self._settle,
                        # a cancelled job is dropped twice
                        dropped=list(dict.fromkeys(batch)),
                    ),
                    note="jobs that have ended",
                )
            except BaseException:
                # what was found so far, which nobody has looked at
                to_settle.extend([*unsettled, *undone])
                raise
            # Not before the commit, by which the sets of open jobs tell that
            # they have ended: who counts or waits looks at both.
            for ended in batch:
                to_settle.popleft()
                if isinstance(ended, Place):
                    self._process.assigned_jobs.succeeded.discard(ended)
            left -= len(batch)
            unsettled += pending
            undone |= again
        return unsettled, undone

    def _settle(
        self, store: Store, dropped: list[str | Place]
    ) -> tuple[list[str], dict[str, Fence]]:
        pending: list[str] = []
        undone: dict[str, Fence] = {}
        for ended in dropped:
            if isinstance(ended, Place):
                # Its run has seen the commit, so its record is not loaded. If
                # that is undone by now, this is as if it were undone later.
                self._close(store, ended)
                continue
            job = store.locate(ended)
            if job is None:
                self._close_empty(store, place := split_sid(ended))
                self._close(store, place)
            elif job.record.state != JobState.PENDING:
                self._close(store, job.place)
            elif store.is_looked_after(job):
                pending.append(ended)
            else:
                undone[ended] = job.fence
        return pending, undone

    def _close_empty(self, store: Store, place: Place) -> None:
        """Close a page that a commit in doubt was to write.

        If that is still under way, this write has one of the two conflict.
        """
        slice_ = store.slices.get(place.number)
        page = None if slice_ is None else slice_.page(place.page)
        if isinstance(page, Page) and page.is_empty:
            page.closed = True

    def _close(self, store: Store, place: Place) -> None:
        """Remove an ended job from the open ones, if this process may."""
        number, key, index, _ = place
        slice_, shard = store.slices.get(number), None
        if slice_ is None:  # pragma: no cover - it was dropped since then
            return
        page = slice_.page(key)
        if isinstance(key, tuple):
            # there is none if the database was put back to an older state
            shard = slice_.all_shards().get(key[0])
            if shard is not None and (
                shard.keeper != self._process.incarnation
            ):
                shard = None  # its own process does so
        if index is not None and isinstance(page, Page) and page.open:
            if shard is None and not page.listed:
                return
            if index in page.open:
                page.open.remove(index)
            if page.open:
                return
            unlist_if_over(slice_, key, page)
        if shard is not None and key[1] in shard.open:
            shard.open.remove(key[1])

    def leave_old(self, newest: int) -> None:
        """Close the empty pages of slices that get no more jobs.

        A transaction that has begun before, and writes one of them, conflicts
        with that, and finds a page of the newest slice when it is repeated.

        Args:
            newest: the number of the newest slice.
        """
        for number, shard_number in sorted(self.settled - self._left):
            if number < newest:
                self._location.write(
                    functools.partial(
                        self._leave, number=number, shard_number=shard_number
                    ),
                    note="pages that are not needed",
                )
                self._left.add((number, shard_number))

    def _leave(self, store: Store, number: int, shard_number: int) -> None:
        slice_ = store.slices.get(number)
        shard = slice_ and slice_.all_shards().get(shard_number)
        own = self._process.incarnation
        # else another process keeps it since then
        if shard is not None and shard.keeper == own:  # pragma: no branch
            close_empty_pages(shard)

    def adopt(self, keeper: str, shards: Collection[OpenShard]) -> bool:
        """Keep the shards of a process that is gone, all or none of them.

        Their empty pages are closed by a write: if that process lives, and a
        transaction of it writes one of them, one of the two conflicts.

        Args:
            keeper: the process that has kept them.
            shards: the shards.

        Returns:
            Whether this process keeps them; not if another was faster.
        """
        own = self._process.incarnation
        # This process may have kept one of them before, and known its jobs.
        # Before the write, which may raise and succeed nevertheless.
        keys = {(number, shard_number) for number, shard_number, _ in shards}
        self.settled -= keys
        self._left -= keys

        def write(store: Store) -> bool:
            found = []
            for number, shard_number, _ in shards:
                slice_ = store.slices.get(number)
                shard = slice_ and slice_.all_shards().get(shard_number)
                if shard is None or shard.keeper != keeper:
                    return False
                found.append((number, slice_, shard_number, shard))
            for number, slice_, shard_number, shard in found:
                shard.keeper = own
                if self._leaves_some():
                    self._list_left(store, number, slice_, shard_number)
                close_empty_pages(shard)
            return True

        return self._location.write(
            write, note=f"incarnation {own} keeps the shards of {keeper}"
        )

    def _list_left(
        self, store: Store, number: int, slice_: Slice, shard_number: int
    ) -> None:
        """Have all processes look at the jobs that this one leaves to others.

        Those look into no shard of a process that lives.
        """
        for page_number, page in slice_.all_shards()[
            shard_number
        ].open_pages():
            key = shard_number, page_number
            if page.listed:
                continue
            if page.cells is not None and self._leaves(page):
                page.listed = True
                slice_.list_job(key, ALL)
                continue
            located = LocatedPage(number, slice_, key, page)
            for index, record in page.jobs():
                is_pending = record.state == JobState.PENDING
                if is_pending and not record.listed:
                    job = store.job_on(located, index)
                    if self._leaves(job.definition):
                        job.list_for_all()

    def _leaves_some(self) -> bool:
        """Return whether there may be queues that others alone see to."""
        return self._process.dispatcher.remote is not None

    def _leaves(self, definition: JobRecord) -> bool:
        queue = Options.load(definition.options).queue
        return self._process.dispatcher.leaves(queue)


def unlist_if_over(slice_: Slice, key: PageKey, page: Page) -> None:
    """Remove a block from the listed ones when the last job was closed.

    Args:
        slice_: its slice.
        key: the key of its page.
        page: its page, of which the transaction has closed a job.
    """
    if page.listed and not page.open:
        slice_.unlist_job(key, ALL)


def close_empty_pages(shard: Shard) -> None:
    """Close what is empty in a shard, and remove what is not unfinished.

    Args:
        shard: the shard, which the transaction may write.
    """
    over = []
    for page_number, page in shard.open_pages():
        if page.is_empty:
            page.closed = True
        if not _is_pending(page):
            over.append(page_number)
    for page_number in over:
        shard.open.remove(page_number)


def has_pending(shard: Shard) -> bool:
    """Return whether a job in a shard has not ended, and is not listed.

    Args:
        shard: the shard, of which only open pages are loaded.
    """
    return any(_is_pending(page) for _, page in shard.open_pages())


def _is_pending(page: Page) -> bool:
    return any(
        record.state == JobState.PENDING and not record.listed
        for _, record in page.jobs()
    )
