"""What this process knows of unfinished jobs, so that few must be read."""

from collections.abc import Iterable, Iterator

from ...concurrency.deadlines import Deadlines
from ..process.open_bulks import BulkKey
from ..records import Slice, Store
from ..sids import split_sid
from .findings import OpenShard
from .slice_checks import SliceChecks

__all__ = ["UnfinishedJobs"]

#: Which part of its age passes until an old slice is checked again.
SHARE = 1 / 64


class UnfinishedJobs:
    """Finds the unfinished jobs that are listed and due, or soon are.

    All processes see new jobs in the newest slice, which is read each time.
    Of the other slices this knows the unfinished jobs. Those that are due
    later than the next checks are not read before their time.
    """

    def __init__(self) -> None:
        self._slices = SliceChecks(SHARE)
        #: The sids of jobs to be read each time, by their slices.
        self._near: dict[int, set[str]] = {}
        #: When other jobs are due, in seconds since the epoch, by sid.
        self._far: Deadlines[str] = Deadlines()
        #: The notes of revivals that were read since the newest slice was
        #: opened, and its number.
        self._revivals: set[bytes] = set()
        self.newest = -1
        #: The shards that had open pages when they were last seen.
        self._open: set[tuple[int, int]] = set()
        #: The blocks that were listed when their slices were last seen.
        self.known_blocks: set[BulkKey] = set()
        #: How many unfinished jobs the newest slice had.
        self.in_newest = 0

    def check_slices(self, store: Store) -> bool:
        """Note the jobs of some of the slices that are to be checked.

        Args:
            store: the store, as a transaction sees it.

        Returns:
            Whether there are more such slices, for another transaction.
        """
        for number, slice_ in self._slices.portion(store):
            self._note_shards(number, slice_)
            for found in store.listed_in(number, slice_, unload=True):
                if not isinstance(found, str):
                    self.known_blocks.add((number, found))
                elif found not in self._far:
                    self._near.setdefault(number, set()).add(found)
            self._note_revivals(slice_.revived())
        return self._slices.remain()

    def sids(self, store: Store, horizon: float) -> Iterator[str]:
        """Return the sids of the jobs that are to be read now.

        Some may have ended, or be gone.

        Args:
            store: the store, as a transaction sees it.
            horizon: the time until which jobs must be due, in seconds since
                the epoch, if it is known when they are.
        """
        newest, slice_ = store.newest()
        if newest != self.newest:
            self.newest = newest
            self._revivals.clear()  # else it would only grow
        self._note_revivals(slice_.revived())
        while (sid := self._far.pop(horizon)) is not None:
            self._note_near(sid)
        self.in_newest = 0
        for found in store.listed_in(newest, slice_):
            self.in_newest += 1
            if not isinstance(found, str):
                self.known_blocks.add((newest, found))
            elif found not in self._far:
                yield found
        for number in list(self._near):
            if number != newest:
                yield from tuple(self._near[number])
                # there may be one job in each of very many
                _unload(store, number)
                store._p_jar.cacheGC()

    def shards(self, store: Store) -> Iterator[OpenShard]:
        """Return the shards that have open pages, in all slices.

        Args:
            store: the store, as a transaction sees it.
        """
        newest, slice_ = store.newest()
        # a shard of the newest may be new
        self._note_shards(newest, slice_)
        for number, shard_number in sorted(self._open):
            slice_ = store.slices.get(number)
            shard = slice_ and slice_.all_shards().get(shard_number)
            if shard is None or not shard.open:
                self._open.discard((number, shard_number))
                continue
            yield OpenShard(number, shard_number, shard.keeper)
            if number != newest:
                _unload(store, number)

    def blocks(self, store: Store) -> list[BulkKey]:
        """Return the blocks that are listed, and have open jobs.

        Args:
            store: the store, as a transaction sees it.
        """
        for number, key in list(self.known_blocks):
            located = store.page_at(number, key)
            if located is None or not located.page.open:
                self.known_blocks.discard((number, key))
        return list(self.known_blocks)

    def _note_shards(self, number: int, slice_: Slice) -> None:
        for shard_number, shard in slice_.all_shards().items():
            if shard.open:
                self._open.add((number, shard_number))

    def unload(self, store: Store, numbers: Iterable[int]) -> None:
        """Have slices leave the memory, with all their trees.

        There may be one job in each of very many.

        Args:
            store: the store, as a transaction sees it.
            numbers: those of the slices.
        """
        for number in numbers:
            _unload(store, number)

    def leave_until(self, sid: str, due: float) -> None:
        """Do not return a job again before it is nearly due.

        Args:
            sid: the sid of the job, which nobody is to run before that.
            due: the time, in seconds since the epoch.
        """
        self.leave(sid)
        self._far.set(sid, due)

    def leave(self, sid: str) -> None:
        """Do not return a job again, unless it is in the newest slice.

        Args:
            sid: the sid of the job, which has ended or is not this process's.
        """
        number = split_sid(sid).number
        sids = self._near.get(number, set())
        sids.discard(sid)
        if not sids:
            self._near.pop(number, None)

    def _note_near(self, sid: str) -> None:
        number = split_sid(sid).number
        self._near.setdefault(number, set()).add(sid)

    def _note_revivals(self, revived: Iterator[tuple[bytes, str]]) -> None:
        for note, sid in revived:
            if note not in self._revivals:
                self._revivals.add(note)
                self._far.discard(sid)
                self._note_near(sid)


def _unload(store: Store, number: int) -> None:
    slice_ = store.slices.get(number)
    if slice_ is not None:  # else it was dropped
        slice_._p_deactivate()
