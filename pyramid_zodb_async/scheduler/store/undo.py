"""Tells whether a job is pending only since its end was undone.

The undo of a transaction, by ``DB.undo``, gives each object that it wrote the
state of before. A job that had ended is pending then, like one that never ran.
"""

from collections.abc import Iterable, Iterator

from ...database.earlier_states import earlier_states
from ...jobs.model import JobState
from ..records import Record, StoredJob

__all__ = ["undone_jobs"]


def undone_jobs(jobs: Iterable[StoredJob]) -> Iterator[tuple[StoredJob, int]]:
    """Find, among pending jobs, those whose end was undone.

    The run number of a record never falls, and whoever has an ended job run
    again raises it. So if a record has had an end with its number of now, or a
    greater one, that end was undone.

    This asks the storage for the history of records, once for those that the
    same transaction wrote; that takes as long as to load an object which no
    cache has.

    Args:
        jobs: the jobs, whose records are as the storage has them.

    Returns:
        Those jobs, each with the run number with which it had ended.
    """
    harmless: set[bytes] = set()
    for job in jobs:
        record = job.record
        number = record.run_number  # loads the record, which has a serial then
        if record._p_serial in harmless:
            continue
        earlier = None
        for earlier, has_ended in _earlier(record):
            if has_ended and earlier >= number:
                yield job, earlier
            if has_ended or earlier < number:
                break
        # An undo neither creates a record nor raises its number. So the
        # transaction that did is none, and has undone no other job either.
        if earlier is None or earlier < number:
            harmless.add(record._p_serial)


def _earlier(record: Record) -> Iterator[tuple[int, bool]]:
    """Return earlier run numbers, the last one first, and if it had ended."""
    for state in earlier_states(record):
        yield (
            state.get("run_number", Record.run_number),
            state.get("state", Record.state) != JobState.PENDING,
        )
