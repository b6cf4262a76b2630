"""What this process knows of the bulks whose jobs it may take in."""

from collections import deque

from ...concurrency.moments import EndOfPause
from ..job_records import Page
from ..sids import PageKey

__all__ = ["BulkKey", "OpenBulks"]

#: The number of the slice, and the key of the page in it.
BulkKey = tuple[int, PageKey]


class OpenBulks:
    """The bulks with jobs that nobody has claimed, and what is held of them.

    Threads may add to it at the same time.
    """

    def __init__(self) -> None:
        #: Bulks that were scheduled, or found, since they were last looked at.
        self.new: deque[BulkKey] = deque()
        #: The windows of bulks that this process has claimed, and whose jobs
        #: it was given.
        self.claimed: set[tuple[int, PageKey, int]] = set()
        #: When the first jobs of bulks that this process has scheduled are
        #: due, by the clock that only this process knows.
        self.pauses: dict[BulkKey, EndOfPause] = {}

    def due_of(
        self, key: BulkKey, page: Page, index: int
    ) -> float | EndOfPause | None:
        """Return when a job of a bulk is due, by both clocks if they count.

        Args:
            key: of the bulk.
            page: its page.
            index: the index of the job.
        """
        due, first = page.due_of(index), self.pauses.get(key)
        if due is None or first is None:
            return due
        return EndOfPause(due, first.counted + page.step * index)
