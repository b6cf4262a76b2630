"""The expiry of jobs: old slices are dropped whole, and new ones opened."""

import time

from ...events import JobExpired
from ...jobs.model import JobState, JobView
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import REMOVED, Slice, Store
from ..sids import make_sid

__all__ = ["SliceExpiry"]

#: For how many seconds new jobs go to the same slice.
SPAN = 3600


class SliceExpiry:
    """Opens a slice for the jobs of each hour, and drops those that expired.

    It writes nothing as long as no jobs are scheduled. All processes do it;
    of two that do it at the same time, one conflicts and reads again.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._location = process.location
        self._commit_queue = process.commit_queue

    def open_and_drop(self) -> None:
        """Open a slice, or set the end of slices and drop them, if it is due.

        The end of a slice is set when all of its jobs have ended. It is
        dropped when the longest time that it stores an outcome has passed
        since then.
        """
        # reads first: most of the time there is nothing to write
        if self._location.read(_is_due, default=False):
            expired = self._location.write(
                self._open_and_drop, note="slices of jobs"
            )
            # after the commit, of which write() may need several tries
            self._commit_queue.deliver_now(JobExpired, expired)

    def _open_and_drop(self, store: Store) -> list[JobView]:
        now = time.time()
        expired: list[JobView] = []
        if _needs_slice(store, now):
            _, newest = store.newest()
            store.open_slice(now, newest.longest_timeout)
            # The slice that was the newest is left for the next time:
            # transactions that have begun before may still add jobs to it.
            return expired
        for number in list(store.slices.keys())[:-1]:
            slice_ = store.slices[number]
            verdict = _verdict(slice_, now)
            if verdict == "open":
                slice_.keep_until = None
            elif verdict:
                # A job may be added, or retried, at the same time. Such a
                # transaction has declared by readCurrent that it depends on
                # the slice, and this one that it depends on the sets of
                # unfinished jobs. So the one that commits later conflicts;
                # else the job would be dropped with the slice.
                slice_.require_no_new_jobs()
                if verdict == "drop":
                    if self._commit_queue.announcer.has_subscribers(
                        JobExpired
                    ):
                        expired += _outcomes(number, slice_)
                    # The deletion alone changes only the tree of slices. This
                    # write of the slice itself is what conflicts with the
                    # readCurrent of a transaction that adds a job.
                    slice_.closed = True
                    del store.slices[number]
                else:
                    slice_.keep_until = now + slice_.longest_timeout
        return expired


def _is_due(store: Store) -> bool:
    """Return whether a slice must be opened, dropped or changed."""
    now = time.time()
    return _needs_slice(store, now) or any(
        _verdict(slice_, now) for slice_ in _old(store)
    )


def _outcomes(number: int, slice_: Slice) -> list[JobView]:
    """Return the views of the jobs that a drop of the slice removes."""
    return [
        view_of_record(make_sid(number, key), record)
        for key, record in slice_.records()
        if record.state not in {REMOVED, JobState.PENDING}
    ]


def _old(store: Store) -> list[Slice]:
    """Return all slices but the newest."""
    return list(store.slices.values())[:-1]


def _needs_slice(store: Store, now: float) -> bool:
    """Return whether a new slice must be opened."""
    _, newest = store.newest()
    # abs(), since the clock may have been set back by more than a span
    return abs(now - newest.opened) >= SPAN and newest.is_used()


def _verdict(slice_: Slice, now: float) -> str:
    """Return what to do with a slice that is not the newest.

    ``"open"``: remove its end, since a job is unfinished again. ``"set"``:
    set its end, since all jobs have ended. ``"drop"``: drop it, since its end
    has passed. An empty string: nothing.
    """
    end = slice_.keep_until
    if end is not None:
        # For a span after the end was set, the sets are checked each time.
        # After that they are not, since that would load all of them three
        # times in a lease; a retry removes the end by itself.
        age = now - (end - slice_.longest_timeout)
        if age > SPAN and now < end:
            return ""
    if slice_.has_unfinished():
        return "open" if end is not None else ""
    # An end that is later than it could be was set before the clock was set
    # back; it is set again.
    if end is None or end > now + slice_.longest_timeout:
        return "set"
    return "drop" if end <= now else ""
