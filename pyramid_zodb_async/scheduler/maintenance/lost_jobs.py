"""The jobs of a process that is gone, and how many are taken over at once."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from ...jobs.options import Options
from ..records import Cell, Fence, Store, StoredJob
from ..sids import PageKey, Place
from ..store.crash_counts import leases_of_silence
from ..store.undo import undid_nothing
from .window_moves import Window, window_of

__all__ = ["LostJob", "batches", "found_again"]

#: How many records one transaction writes to take jobs over, and how many jobs
#: it takes over, if they are not all of one block.
BATCH, MOST = 200, 2000


#: Returns an equal serial: one transaction has written very many jobs.
_shared = functools.lru_cache(maxsize=64)(bytes)


class LostJob(NamedTuple):
    """A job of another incarnation, which may be gone."""

    sid: str
    #: The state of its record, as a check has read it.
    fence: Fence
    #: Whether it was marked as a suspect that runs.
    begun: bool = False
    #: For how many leases its incarnation must be silent to lose it.
    leases: int = 1
    #: Where its record is, if a transaction has found it.
    place: Place | None = None
    #: The serial of that if the block of the job moves it, and tells all of
    #: it but when it is due.
    serial: bytes | None = None
    due: float | None = None
    #: The window of a bulk that it is in, if it is in one.
    window: Window | None = None

    @classmethod
    def of(cls, job: StoredJob, attempts: int) -> "LostJob":
        """Return a job that a check has read.

        Args:
            job: the job.
            attempts: how many attempts it has if its options set no number.
        """
        record, serial, due = job.record, None, None
        if job.moves_with_block and record.function is None:
            serial, due = _shared(record._p_serial), record.due
        leases = 1
        if record.begun:
            own = Options.load(job.definition.options).attempts
            leases = leases_of_silence(record, own or attempts)
        return cls(
            job.sid,
            job.fence,
            record.begun,
            leases,
            job.place,
            serial,
            due,
            window_of(job),
        )

    @property
    def block(self) -> tuple[int, PageKey] | None:
        """What is the same for all jobs that its block moves."""
        return self.place[:2] if self.place and self.serial else None

    def find(self, store: Store) -> StoredJob | None:
        """Return the job; ``None`` if it is not as it was read any more.

        Args:
            store: the store, as another transaction sees it.
        """
        job = store.locate(self.sid, self.place)
        return job if job is not None and job.fence == self.fence else None

    def recall(
        self, store: Store, known: dict[Any, tuple[StoredJob, Fence]]
    ) -> StoredJob | None:
        """Return the job with a record like the one that was read.

        So it is not read again. Whether it has changed since is to be found
        out by the commit.

        Args:
            store: the store, as another transaction sees it.
            known: a job of each block, with its fence. It gets those that are
                missing.
        """
        place: Any = self.place
        key = self.block
        record = Cell()
        record.due, record._p_serial = self.due, self.serial
        first = known.get(key)
        if first is None:
            job = store.at(self.sid, place)
            if job is None:
                return None
            job = job._replace(record=record)
            known[key] = first = job, job.fence
        alike, fence = first
        # a runner that they all have, and the number of their block
        if fence != self.fence:
            return None
        return StoredJob(
            self.sid, place, store, alike.slice_, record, alike.block
        )


def found_again(
    store: Store,
    batch: list[LostJob],
    harmless: set[bytes],
    *,
    recalls: bool,
) -> list[StoredJob]:
    """Return the jobs that are as a check has read them.

    Args:
        store: the store, as another transaction sees it.
        batch: the jobs.
        harmless: gets serials of what no undo has written.
        recalls: whether to recall those that their blocks move, if no undo
            has written them; the others are read.
    """
    if recalls:
        one_of_each = {lost.serial: lost for lost in batch if lost.serial}
        for serial, lost in one_of_each.items():
            job = lost.find(store)
            if (
                job is not None
                and job.record._p_serial == serial
                and undid_nothing(job.record)
            ):
                harmless.add(serial)
    known: dict[Any, tuple[StoredJob, Fence]] = {}
    found = (
        lost.recall(store, known)
        if lost.serial in harmless
        else lost.find(store)
        for lost in batch
    )
    return [job for job in found if job is not None]


def batches(jobs: list[LostJob]) -> Iterator[list[LostJob]]:
    """Return jobs in the batches that are taken over together.

    Those that were running are in one, as are those that a block moves, and
    those of a window.

    Args:
        jobs: the jobs, those that were running first. They leave the list with
            their batch, and the memory when that is taken over.
    """
    batch: list[LostJob] = []
    writes, block, window = 0, None, None
    jobs.reverse()
    while jobs:
        job = jobs[-1]
        is_moved_along = job.block is not None and job.block == block
        is_in_window = job.window is not None and job.window == window
        if (
            not (is_moved_along or is_in_window or job.begun)
            and batch
            and (writes >= BATCH or len(batch) >= MOST)
        ):
            yield batch
            batch, writes = [], 0
        batch.append(jobs.pop())
        writes += not is_moved_along
        block, window = job.block, job.window
    if batch:
        yield batch
