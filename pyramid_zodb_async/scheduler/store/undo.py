"""Tells whether a job is pending only since its end was undone.

The undo of a transaction, by ``DB.undo``, gives each object that it wrote the
state of before. A job that had ended is pending then, like one that never ran.
"""

from ...database.earlier_states import earlier_states
from ...jobs.model import JobState
from ..records import Record

__all__ = ["undone_run_number"]


def undone_run_number(record: Record) -> int | None:
    """Return the run number with which a job had ended before an undo.

    The run number of a record never falls, and whoever has an ended job run
    again raises it. So if the record has had an end with its number of now,
    or a greater one, that end was undone.

    This asks the storage for the history of the record, which takes as long
    as to load an object.

    Args:
        record: the record of a pending job, as its storage has it.

    Returns:
        The run number; ``None`` if no end was undone.
    """
    for state in earlier_states(record):
        run_number: int = state.get("run_number", Record.run_number)
        if run_number < record.run_number:
            return None
        if state.get("state", Record.state) != JobState.PENDING:
            return run_number
    return None
