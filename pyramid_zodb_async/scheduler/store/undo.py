"""Tells whether a job is pending only since its end was undone.

The undo of a transaction, by ``DB.undo``, gives each object that it wrote the
state of before. A job that had ended is pending then, like one that never ran.
"""

from collections.abc import Iterable, Iterator

from ...database.earlier_states import earlier_states
from ...jobs.model import JobState
from ..job_records import with_long_names
from ..records import JobRecord, Page, StoredJob

__all__ = ["undid_nothing", "undone_jobs"]


def undone_jobs(
    jobs: Iterable[StoredJob], harmless: set[bytes] | None = None
) -> Iterator[tuple[StoredJob, int]]:
    """Find, among pending jobs, those whose end was undone.

    The run number of a record never falls, and whoever has an ended job run
    again raises it. So if a record has had an end with its number of now, or a
    greater one, that end was undone.

    This asks the storage for the history of records, once for those that the
    same transaction wrote; that takes as long as to load an object which no
    cache has.

    Args:
        jobs: the jobs, whose records are as the storage has them.
        harmless: the serials of what no undo has written, as far as that is
            known. It gets those that are found.

    Returns:
        Those jobs, each with the run number with which it had ended.
    """
    harmless = set() if harmless is None else harmless
    for job in jobs:
        record = job.record
        record._p_activate()  # it has a serial then
        if record._p_serial in harmless:
            continue
        undone, is_harmless = _history(record)
        if is_harmless:
            harmless.add(record._p_serial)
        if undone is not None:
            yield job, undone


def undid_nothing(record: JobRecord) -> bool:
    """Return whether what has written a pending record was no undo.

    Then no other job that the same transaction has written was undone by it.

    Args:
        record: the record, as the storage has it.
    """
    return _history(record)[1]


def _history(record: JobRecord) -> tuple[int | None, bool]:
    """Return the number of the end that was undone, if that is so.

    And whether the record tells that the transaction was no undo: one neither
    creates a record nor raises its number.
    """
    number, earlier = record.run_number, None
    for earlier, has_ended in _earlier(record):
        if has_ended:
            return (earlier if earlier >= number else None), earlier < number
        if earlier < number:
            break
    return None, earlier is None or earlier < number


def _earlier(record: JobRecord) -> Iterator[tuple[int, bool]]:
    """Return earlier run numbers, the last one first, and if it had ended."""
    for stored in earlier_states(record):
        state = with_long_names(stored)
        if isinstance(record, Page) and state.get("function") is None:
            return  # it was empty, so what filled it has made the record
        yield (
            state.get("run_number", JobRecord.run_number),
            state.get("state", JobRecord.state) != JobState.PENDING,
        )
