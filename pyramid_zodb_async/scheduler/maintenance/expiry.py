"""The expiry of jobs: old slices are dropped whole, and new ones opened."""

import functools
import time

from ...events import JobExpired
from ...jobs.model import JobState, JobView
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Slice, Store
from .shard_keeping import close_empty_pages, has_pending
from .slice_checks import SliceChecks

__all__ = ["SliceExpiry"]

#: For how many seconds new jobs go to the same slice.
SPAN = 3600

#: Which part of its age passes until a slice with an unfinished job is checked
#: again, unless a job in it ends here. Its jobs are kept longer by that part.
SHARE = 1 / 16


class SliceExpiry:
    """Opens a slice for the jobs of each hour, and drops those that expired.

    It writes nothing as long as no jobs are scheduled. All processes do it;
    of two that do it at the same time, one conflicts and reads again.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        self._location = process.location
        self._commit_queue = process.commit_queue
        self._checks = SliceChecks(SHARE)

    def open_and_drop(self) -> None:
        """Open a slice, or set the end of slices and drop them, if it is due.

        The end of a slice is set when all of its jobs have ended. It is
        dropped when the longest time that it stores an outcome has passed
        since then.
        """
        # the set is replaced, as other threads add to it
        process, ended = self._process, self._process.slices_to_check
        process.slices_to_check = set()
        self._checks.check_soon(ended)
        while True:
            # reads first: most of the time there is nothing to write
            nothing: list[int] = []
            due = self._location.read(self._find_due, nothing)
            if due:
                expired = self._location.write(
                    functools.partial(self._open_and_drop, numbers=due),
                    note="slices of jobs",
                )
                # after the commit, of which write() may need several tries
                self._commit_queue.deliver_now(JobExpired, expired)
            if not self._checks.remain():
                return

    def _find_due(self, store: Store) -> list[int]:
        """Return the numbers of slices to be changed; the newest: to be left.

        Those that need no change are checked again at their time.
        """
        now = time.time()
        if self._needs_slice(store, now):
            return [store.slices.maxKey()]
        due = []
        for number, slice_ in self._checks.portion(store):
            if _verdict(slice_, now):
                due.append(number)
            elif (end := slice_.keep_until) is not None:
                since = now - (end - slice_.longest_timeout)
                self._checks.check_at(number, min(end, now + since * SHARE))
        # also if the write fails; and what is set may have to be taken back
        self._checks.check_soon(due)
        return due

    def _needs_slice(self, store: Store, now: float) -> bool:
        """Return whether a new slice must be opened."""
        _, newest = store.newest()
        return (
            # abs(), since the clock may have been set back by more than a span
            abs(now - newest.opened) >= SPAN
            or self._process.is_newest_slice_full
        ) and newest.is_used()

    def _open_and_drop(
        self, store: Store, numbers: list[int]
    ) -> list[JobView]:
        now = time.time()
        expired: list[JobView] = []
        if self._needs_slice(store, now):
            _, newest = store.newest()
            store.open_slice(now, newest.longest_timeout)
            self._process.is_newest_slice_full = False
            # The slice that was the newest is left for the next time:
            # transactions that have begun before may still add jobs to it.
            return expired
        for number in numbers:
            slice_ = store.slices.get(number)
            # another process may have dropped it, or opened a newer one
            if slice_ is not None and number != store.slices.maxKey():
                expired += self._change(store, number, slice_, now)
        return expired

    def _change(
        self, store: Store, number: int, slice_: Slice, now: float
    ) -> list[JobView]:
        """Do what is due for a slice; return the views of dropped jobs."""
        expired: list[JobView] = []
        verdict = _verdict(slice_, now)
        if verdict == "open":
            slice_.keep_until = None
        elif verdict:
            # A job may be added, or retried, at the same time. Such a
            # transaction has declared by readCurrent that it depends on
            # the slice, and this one that it depends on the sets of
            # unfinished jobs. So the one that commits later conflicts;
            # else the job would be dropped with the slice.
            for shard in slice_.all_shards().values():
                close_empty_pages(shard)
            slice_.require_no_new_jobs()
            if verdict == "drop":
                if self._commit_queue.announcer.has_subscribers(JobExpired):
                    expired = _outcomes(store, number, slice_)
                # The deletion alone changes only the tree of slices. This
                # write of the slice itself is what conflicts with the
                # readCurrent of a transaction that adds a job.
                slice_.closed = True
                del store.slices[number]
            else:
                slice_.keep_until = now + slice_.longest_timeout
        return expired


def _outcomes(store: Store, number: int, slice_: Slice) -> list[JobView]:
    """Return the views of the jobs that a drop of the slice removes."""
    return [
        view_of_record(job)
        for job in store.all_in(number, slice_)
        if job.record.state != JobState.PENDING and not job.is_gone
    ]


def _verdict(slice_: Slice, now: float) -> str:
    """Return what to do with a slice that is not the newest.

    ``"open"``: remove its end, since a job is unfinished again. ``"set"``:
    set its end, since all jobs have ended. ``"drop"``: drop it, since its end
    has passed. An empty string: nothing.
    """
    end = slice_.keep_until
    if end is not None:
        # For a span after the end was set, the sets are checked again. After
        # that they are not: a retry removes the end by itself.
        age = now - (end - slice_.longest_timeout)
        if age > SPAN and now < end:
            return ""
    if slice_.has_listed() or any(
        map(has_pending, slice_.all_shards().values())
    ):
        return "open" if end is not None else ""
    # An end that is later than it could be was set before the clock was set
    # back; it is set again.
    if end is None or end > now + slice_.longest_timeout:
        return "set"
    return "drop" if end <= now else ""
