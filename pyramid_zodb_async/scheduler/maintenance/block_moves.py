"""The takeover of the jobs of a block by one write."""

from collections.abc import Iterator
from typing import Any

from ...jobs.model import JobState
from ..job_records import AS_BLOCK
from ..records import LocatedPage, Store, StoredJob
from ..stored_job import move_block

__all__ = ["Move"]

#: Of a block with more jobs than this, each is written: one transaction with
#: all of them would take too long.
MOST_JOBS = 5000


class Move:
    """The move of a block to this process.

    Args:
        jobs: those of its jobs that it is to move; it need not be all of them.
        suspect: whether they may have ended their process.
    """

    def __init__(self, jobs: list[StoredJob], *, suspect: bool) -> None:
        self.jobs = jobs
        self._suspect = suspect
        #: The page of the block that they are in.
        self._page: Any = jobs[0].block

    def is_worth_it(self) -> bool:
        """Return whether it writes less than to take each job over.

        The other jobs that the block would move must be written then.
        """
        few = len(self.jobs)
        if few == 1 or len(self._page.open) > MOST_JOBS:
            return False
        return sum(1 for _ in self._others()) < few

    def _others(self) -> Iterator[int]:
        """Return the indexes of the other jobs that the block moves."""
        own = {job.place.cell for job in self.jobs}
        for index, record in self._page.jobs():
            if (
                index is not None
                and index not in own
                and record.runner == AS_BLOCK
                and record.state == JobState.PENDING
            ):
                yield index

    def make(self, store: Store, incarnation: str) -> None:
        """Move the jobs, and no others.

        Args:
            store: the store, as the transaction sees it.
            incarnation: the identity of this process.
        """
        _, place, _, slice_, *_ = self.jobs[0]
        located = LocatedPage(place.number, slice_, place.page, self._page)
        for index in list(self._others()):
            other = store.job_on(located, index)
            other.change(other.fence)  # from now on it has values of its own
        cells = (
            (self._page.cells[job.place.cell], job.record._p_serial)
            for job in self.jobs
        )
        move_block(self._page, cells, incarnation, suspect=self._suspect)
