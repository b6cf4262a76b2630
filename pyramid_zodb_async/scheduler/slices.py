"""The persistent slices of a store, each with the jobs of about an hour."""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

from BTrees.IIBTree import IITreeSet
from BTrees.IOBTree import IOBTree
from BTrees.OIBTree import OIBTree
from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent import Persistent

from ..jobs.class_paths import stored_at
from .job_records import JobRecord, Page
from .sids import PageKey, path_of, sid_of, split_path

__all__ = ["ALL", "KEPT", "TREES", "Shard", "Slice"]

#: The index that stands for all jobs of a block, where these are listed.
ALL = -1

#: Trees of a new slice, for the jobs that no process has a page for. A tree
#: that splits, at 30 jobs, conflicts with what is written to it beside that.
#: Measured with 6000 jobs in an hour, up to five in each request: with 64, ten
#: to sixteen in a thousand requests met a conflict; with 256, at most one.
TREES = 256

#: Sets of a new slice for the notes of revivals, which are rare.
REVIVAL_SETS = 16

#: A key that is never removed: two inserts into an empty tree conflict.
KEPT = b""

#: What the keys of jobs begin with in the unfinished ones if they have none of
#: their own in the trees. Those are no longer than this.
BY_PATH = b"\xff" * 16


@stored_at("pyramid_zodb_async.scheduler.records")
class Shard(Persistent):
    """The pages that one process has made, for the jobs that it schedules.

    Only the process that keeps it writes it. So to schedule a job, or to end
    it, writes the page alone, and meets no other.
    """

    def __init__(self, keeper: str) -> None:
        #: The incarnation that looks after the jobs in it.
        self.keeper = keeper
        self.pages = IOBTree()
        #: The numbers of the pages that are empty or unfinished, and perhaps
        #: of some that have ended.
        self.open = IITreeSet()

    def make_pages(self, count: int) -> range:
        """Add empty pages, and return their numbers.

        Args:
            count: how many.
        """
        first = self.pages.maxKey() + 1 if self.pages else 0
        numbers = range(first, first + count)
        for number in numbers:
            self.pages[number] = Page()
        self.open.update(numbers)
        return numbers

    def last_empty_pages(self) -> Iterator[int]:
        """Return the numbers of the empty pages behind all that are used."""
        for number in reversed(list(self.open)):
            if not self.pages[number].is_empty:
                break
            yield number

    def is_used(self) -> bool:
        """Return whether something was written to a page."""
        if not self.pages:
            return False
        if len(self.open) < len(self.pages):
            return True
        # The first one is taken first, and given back to be the first again,
        # but for a commit in doubt.
        return not self.pages[self.pages.minKey()].is_empty

    def open_pages(self) -> Iterator[tuple[int, Page]]:
        """Return the pages that are open, by their numbers."""
        for number in self.open:
            yield number, self.pages[number]


@stored_at("pyramid_zodb_async.scheduler.records")
class Slice(Persistent):
    """The jobs of about an hour, to be dropped together.

    Those of format 1 have all of their jobs in the trees; now these are for
    jobs of no process, and the others are in shards.
    """

    #: When it may be dropped; ``None`` until its last job has ended.
    keep_until: float | None = None
    #: Set when it is dropped: that write conflicts with a new job's fence.
    closed = False
    #: Notes of jobs of older slices that were revived while this one was the
    #: newest; a slice that an earlier version has opened has no sets.
    revivals: tuple[OOTreeSet, ...] = ()
    #: The shards, by their numbers; a slice of format 1 has none.
    shards: IOBTree | None = None
    #: The jobs whose outcomes were forgotten beside their records, with the
    #: run numbers of these; a slice that an earlier version has opened has
    #: none until there is such a job.
    forgotten: OIBTree | None = None

    def __init__(self, opened: float, longest_timeout: float) -> None:
        self.opened = opened
        #: The longest time for which it stores an outcome, in seconds.
        self.longest_timeout = longest_timeout
        self.jobs = tuple(OOBTree({KEPT: None}) for _ in range(TREES))
        self.unfinished = tuple(OOTreeSet([KEPT]) for _ in range(TREES))
        self.revivals = tuple(OOTreeSet([KEPT]) for _ in range(REVIVAL_SETS))
        self.shards = IOBTree()
        self.forgotten = OIBTree()

    def tree(self, key: bytes) -> OOBTree:
        """Return the tree that has the record of *key*."""
        return self.jobs[key[0] % len(self.jobs)]

    def page(self, key: PageKey) -> JobRecord | None:
        """Return a page, or a record of format 1; ``None`` if there is none.

        Args:
            key: see :data:`~pyramid_zodb_async.scheduler.sids.PageKey`.
        """
        if isinstance(key, bytes):
            found = self.tree(key).get(key)
        else:
            number, page = key
            shard = self.shards.get(number) if self.shards else None
            found = shard.pages.get(page) if shard is not None else None
        return found  # type: ignore[no-any-return]

    def sid(self, number: int, page: PageKey, index: int | None = None) -> str:
        """Return the sid of a job.

        Args:
            number: the number of this slice.
            page: the key of its page, which is loaded.
            index: the index of the job in its block, if it is in one.
        """
        found = self.page(page)
        secret = found.secret if isinstance(found, Page) else b""
        return sid_of(number, page, secret, index)

    def unfinished_of(self, key: bytes) -> OOTreeSet:
        """Return the set that has *key* while its job is unfinished."""
        number = zlib.crc32(key) if key.startswith(BY_PATH) else key[0]
        return self.unfinished[number % len(self.unfinished)]

    def expect(self, timeout: float) -> None:
        """Keep the slice for outcomes that are stored *timeout* s."""
        if self.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            self.longest_timeout = timeout

    def list_job(self, page: PageKey, index: int | None) -> None:
        """Add a job to the unfinished ones, at which all processes look.

        Args:
            page: the key of its page.
            index: the index of the job in its block, if it is in one.
        """
        self.require_current()  # as in Store.add()
        key = _listing_key(page, index)
        self.unfinished_of(key).add(key)
        if self.keep_until is not None:  # else unfinished() skips the job
            self.keep_until = None

    def unlist_job(self, page: PageKey, index: int | None) -> None:
        """Remove a job from the unfinished ones that are listed.

        Args:
            page: the key of its page.
            index: the index of the job in its block, if it is in one.
        """
        key = _listing_key(page, index)
        self.unfinished_of(key).remove(key)

    def listed(
        self, *, unload: bool = False
    ) -> Iterator[tuple[PageKey, int | None]]:
        """Return the keys of the pages that are listed, and their indexes.

        With *unload*, a set leaves the memory when its keys were returned.
        """
        for keys in self.unfinished:
            for key in keys.keys(KEPT, excludemin=True):
                if key.startswith(BY_PATH):
                    yield split_path(key[len(BY_PATH) :].decode())
                else:
                    yield key, None
            if unload:
                keys._p_deactivate()

    def forget(
        self, page: PageKey, index: int | None, run_number: int
    ) -> None:
        """Have a job that has ended be gone, without a write of its record.

        So what the job did can still be undone, which a storage refuses when
        something that was written with it is written again.

        Args:
            page: the key of its page.
            index: the index of the job in its block, if it is in one.
            run_number: that of its record. A revival raises it, and has the
                job be there again, whichever of the two is committed first.
        """
        if self.forgotten is None:
            self.forgotten = OIBTree()
        self.forgotten[_forgotten_key(page, index)] = run_number

    def has_forgotten(
        self, page: PageKey, index: int | None, run_number: int
    ) -> bool:
        """Return whether a job that has ended is gone by :meth:`forget`.

        Args:
            page: the key of its page.
            index: the index of the job in its block, if it is in one.
            run_number: that of its record.
        """
        if not self.forgotten:
            return False
        last = self.forgotten.get(_forgotten_key(page, index), -1)
        return bool(run_number <= last)

    def require_current(self) -> None:
        """Let the commit conflict if another one has dropped the slice."""
        if self._p_jar is not None and self._p_oid is not None:
            self._p_jar.readCurrent(self)

    def require_no_new_jobs(self) -> None:
        """Let the commit conflict if another one has added a job.

        If that commits first, its own fence cannot see the later drop. The
        slice must be one that a transaction before this one has stored. Empty
        pages must be closed before, which conflicts by itself.
        """
        for keys in self.unfinished:
            # its state has the keys, or else the children and the first of the
            # buckets, which is the only one of so small a tree
            _, *buckets = keys.__getstate__()
            for part in (keys, *buckets):
                part._p_jar.readCurrent(part)

    def is_used(self) -> bool:
        """Return whether a job was ever added."""
        return any(tree.maxKey() != KEPT for tree in self.jobs) or any(
            shard.is_used() for shard in self.all_shards().values()
        )

    def all_shards(self) -> IOBTree:
        """Return the shards by their numbers."""
        return _NO_SHARDS if self.shards is None else self.shards

    def pages(self) -> Iterator[tuple[PageKey, Any]]:
        """Return all pages and records with their keys, also removed ones."""
        for tree in self.jobs:
            yield from tree.items(KEPT, excludemin=True)
        for number, shard in self.all_shards().items():
            for page_number, page in shard.pages.items():
                yield (number, page_number), page

    def has_listed(self) -> bool:
        """Return whether an unfinished job is listed."""
        return next(self.listed(unload=True), None) is not None

    def note_revival(self, sid: str, run_number: int) -> None:
        """Note that the job of an older slice was revived.

        All processes check the newest slice, and may be done with that one.
        """
        if self.revivals:
            # with the number, since a job may be revived again
            note = f"{run_number}:{sid}".encode()
            self.revivals[zlib.crc32(note) % len(self.revivals)].add(note)

    def revived(self) -> Iterator[tuple[bytes, str]]:
        """Return the notes of revivals, each with the sid of its job."""
        for keys in self.revivals:
            for note in keys.keys(KEPT, excludemin=True):
                _, _, sid = note.decode().partition(":")
                yield note, sid


_NO_SHARDS = IOBTree()


def _listing_key(page: PageKey, index: int | None) -> bytes:
    """Return the key by which an unfinished job is listed."""
    if index is None and isinstance(page, bytes):
        return page
    return BY_PATH + path_of(page, index).encode()


def _forgotten_key(page: PageKey, index: int | None) -> bytes:
    """Return the key by which a job is forgotten.

    Jobs that were scheduled one after the other are neighbours by it, so to
    forget many writes few buckets.
    """
    place = page if isinstance(page, bytes) else struct.pack(">II", *page)
    return place if index is None else place + struct.pack(">I", index)
