"""The move of a window of a bulk with the jobs that are taken over."""

import functools
from collections.abc import Iterable
from typing import Any

from ...jobs.model import JobState
from ..job_records import JobRecord, Page
from ..records import StoredJob
from ..sids import PageKey

__all__ = ["Window", "move_windows", "window_of"]

#: The number of the slice, the key of the page in it, and that of the window.
Window = tuple[int, PageKey, int]

#: Returns an equal one: very many jobs may be in few windows.
_window = functools.lru_cache(maxsize=64)(lambda *parts: parts)


def window_of(job: StoredJob) -> Window | None:
    """Return the window of a job; ``None`` if it is in no block with windows.

    Args:
        job: the job.
    """
    number, key, cell, _ = job.place
    block = job.block
    if block is None or block.windows is None or cell is None:
        return None
    return _window(number, key, cell // block.window)


def move_windows(jobs: Iterable[StoredJob], incarnation: str) -> list[Window]:
    """Have a process keep the windows of which it takes over all jobs.

    To be called before these are written. Else each of them would be listed,
    since the process of its window is not the one that is to run it.

    Args:
        jobs: the jobs that the transaction takes over, to run them.
        incarnation: the identity of this process.

    Returns:
        The windows that were moved.
    """
    taken: dict[Window, set[int]] = {}
    pages: dict[Window, Any] = {}
    for job in jobs:
        window = window_of(job)
        if window is not None:
            taken.setdefault(window, set()).add(job.place.cell or 0)
            pages[window] = job.block
    moved = []
    for window, indexes in taken.items():
        page = pages[window]
        if _has_no_others(page, window[-1], indexes):
            page.windows[window[-1]] = incarnation
            moved.append(window)
    return moved


def _has_no_others(page: Page, window: int, indexes: set[int]) -> bool:
    """Return whether no other job of a window needs its process."""
    if window not in page.windows:
        return False  # nobody has claimed it
    return all(
        index in indexes or _needs_none(page.cells[index])
        for index in page.open.keys(*page.bounds(window))
    )


def _needs_none(record: JobRecord) -> bool:
    return record.listed or record.state != JobState.PENDING
