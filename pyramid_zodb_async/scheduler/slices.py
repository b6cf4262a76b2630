"""The persistent slices of a store, each with the jobs of about an hour."""

from collections.abc import Iterator
from typing import Any

from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent import Persistent

from ..jobs.class_paths import stored_at

__all__ = ["KEPT", "TREES", "Slice"]

#: Trees of a new slice. Measured: with 16 of them, four threads that finish
#: jobs met 9 to 33 conflicts in a thousand; with 64, at most 4. With 256 each
#: job loads and stores less, up to some thousands of jobs per slice.
TREES = 256

#: Sets of a new slice for the notes of revivals, which are rare.
REVIVAL_SETS = 16

#: A key that is never removed: two inserts into an empty tree conflict.
KEPT = b""


@stored_at("pyramid_zodb_async.scheduler.records")
class Slice(Persistent):
    """The jobs of about an hour, in many trees, to be dropped together."""

    #: When it may be dropped; ``None`` until its last job has ended.
    keep_until: float | None = None
    #: Set when it is dropped: that write conflicts with a new job's fence.
    closed = False
    #: Notes of jobs of older slices that were revived while this one was the
    #: newest; a slice that an earlier version has opened has no sets.
    revivals: tuple[OOTreeSet, ...] = ()

    def __init__(self, opened: float, longest_timeout: float) -> None:
        self.opened = opened
        #: The longest time for which it stores an outcome, in seconds.
        self.longest_timeout = longest_timeout
        self.jobs = tuple(OOBTree({KEPT: None}) for _ in range(TREES))
        self.unfinished = tuple(OOTreeSet([KEPT]) for _ in range(TREES))
        self.revivals = tuple(OOTreeSet([KEPT]) for _ in range(REVIVAL_SETS))

    def tree(self, key: bytes) -> OOBTree:
        """Return the tree that has the record of *key*."""
        return self.jobs[key[0] % len(self.jobs)]

    def unfinished_of(self, key: bytes) -> OOTreeSet:
        """Return the set that has *key* while its job is unfinished."""
        return self.unfinished[key[0] % len(self.unfinished)]

    def expect(self, timeout: float) -> None:
        """Keep the slice for outcomes that are stored *timeout* s."""
        if self.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            self.longest_timeout = timeout

    def reopen(self, key: bytes) -> None:
        """Add a job that had ended to the unfinished ones."""
        self.require_current()  # as in Store.add()
        self.unfinished_of(key).add(key)
        if self.keep_until is not None:  # else unfinished() skips the job
            self.keep_until = None

    def require_current(self) -> None:
        """Let the commit conflict if another one has dropped the slice."""
        if self._p_jar is not None and self._p_oid is not None:
            self._p_jar.readCurrent(self)

    def require_no_new_jobs(self) -> None:
        """Let the commit conflict if another one has added a job.

        If that commits first, its own fence cannot see the later drop. The
        slice must be one that a transaction before this one has stored.
        """
        for keys in self.unfinished:
            # its state has the keys, or else the children and the first of the
            # buckets, which is the only one of so small a tree
            _, *buckets = keys.__getstate__()
            for part in (keys, *buckets):
                part._p_jar.readCurrent(part)

    def is_used(self) -> bool:
        """Return whether a job was ever added."""
        return any(tree.maxKey() != KEPT for tree in self.jobs)

    def records(self) -> Iterator[tuple[bytes, Any]]:
        """Return the keys and records of all jobs, also of removed ones."""
        for tree in self.jobs:
            yield from tree.items(KEPT, excludemin=True)

    def unfinished_keys(self, *, unload: bool = False) -> Iterator[bytes]:
        """Return the keys of the jobs that have not ended.

        With *unload*, a set leaves the memory when its keys were returned.
        """
        for keys in self.unfinished:
            yield from keys.keys(KEPT, excludemin=True)
            if unload:
                keys._p_deactivate()

    def has_unfinished(self) -> bool:
        """Return whether a job in it has not ended."""
        return next(self.unfinished_keys(unload=True), None) is not None

    def note_revival(self, sid: str, key: bytes, run_number: int) -> None:
        """Note that the job of an older slice, with *key*, was revived.

        All processes check the newest slice, and may be done with that one.
        """
        if self.revivals:
            keys = self.revivals[key[0] % len(self.revivals)]
            # with the number, since a job may be revived again
            keys.add(f"{run_number}:{sid}".encode())

    def revived(self) -> Iterator[tuple[bytes, str]]:
        """Return the notes of revivals, each with the sid of its job."""
        for keys in self.revivals:
            for note in keys.keys(KEPT, excludemin=True):
                _, _, sid = note.decode().partition(":")
                yield note, sid
