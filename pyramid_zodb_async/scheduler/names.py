"""Lists the code that jobs refer to, for who renames it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..transfer.pickled_names import names_in
from .contents import Outcome, StoredEnvelope
from .memory import MemoryScheduler
from .records import Store, StoredJob

__all__ = ["names_in_jobs"]


def names_in_jobs(scheduler: Any) -> dict[str, int]:
    """Return the names of the functions and classes that jobs refer to.

    Jobs that wait need them, and those whose outcome is kept. Values are
    pickles within the records, where tools such as ``zodbupdate`` see no
    names; classes of persistent objects they do see. Nothing is imported.
    This reads the records of all jobs.

    Args:
        scheduler: what ``registry.getUtility(IScheduler)`` returns, or a
            ``PersistentTransactionalScheduler``. Of one in memory, the jobs
            that have not ended count.

    Returns:
        How many jobs refer to each name, which is ``module:qualname``.
    """
    if isinstance(scheduler, MemoryScheduler):
        return _names_in_memory(scheduler)
    if isinstance(scheduler, Store):
        return _names_in(scheduler)
    found: dict[str, int] = scheduler.process.location.read(_names_in, {})
    return found


def _names_in_memory(scheduler: MemoryScheduler) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for sid in scheduler.unfinished():
        job = scheduler.jobs.table.get(sid)
        if job is not None and job.call is not None:
            counter.update({job.function, *names_in(job.call.data)})
    return dict(sorted(counter.items()))


def _names_in(store: Store) -> dict[str, int]:
    counter: Counter[str] = Counter()
    for job in _jobs(store):
        counter.update(_names_of(job))
    return dict(sorted(counter.items()))


def _jobs(store: Store) -> Iterator[StoredJob]:
    """Return all jobs; their records leave the memory behind it."""
    for number, slice_ in store.slices.items():
        for job in store.all_in(number, slice_):
            if not job.is_gone:
                yield job
            job.record._p_deactivate()


def _names_of(job: StoredJob) -> set[str]:
    names: set[str] = set()
    record, form = job.record, None
    if record.call is not None:
        names.add(job.definition.function or "")
        form = job.block.call if job.block is not None else None
    for stored in (form, record.call, record.outcome):
        if isinstance(stored, StoredEnvelope):
            names |= names_in(stored.data)
            stored._p_deactivate()  # it may be large
        elif isinstance(stored, Outcome) and stored.exception:
            names |= names_in(stored.exception)
        elif isinstance(stored, tuple) and isinstance(stored[0], bytes):
            names |= names_in(stored[0])
    return names
