"""The claims by which a process takes in the jobs of bulks, as room comes."""

import functools
import time
from collections import deque

from ...concurrency.moments import EndOfPause
from ...concurrency.queues import drained
from ...jobs.model import JobState, JobView
from ...jobs.options import Options
from ..process.assigned_job import AssignedJob
from ..process.open_bulks import BulkKey
from ..process.this_process import ThisProcess
from ..records import Page, Slice, Store
from ..sids import PageKey
from ..slices import ALL
from .shard_keeping import unlist_if_over
from .undone import UndoneJobs

__all__ = ["BulkClaims"]

#: How many jobs of bulks a process has in memory at least, if there are more.
ENOUGH = 500


class BulkClaims:
    """Claims a window of a bulk after the other, and hands its jobs over.

    What is not claimed stays in the database, and belongs to nobody. Bulks
    take turns.

    Args:
        process: this process.
        undone: ends the jobs that had ended before their window was claimed,
            and whose end was undone.
    """

    def __init__(self, process: ThisProcess, undone: UndoneJobs) -> None:
        self._process = process
        self._undone = undone
        self._location = process.location
        #: The bulks with windows that may be claimed.
        self._open: deque[BulkKey] = deque()
        #: When those that are not due yet are to be looked at again, in
        #: seconds since the epoch.
        self._later: dict[BulkKey, float] = {}
        #: The sids of the jobs that were taken in, and have not ended yet.
        self._held: set[str] = set()
        #: The windows that were to be claimed by commits that raised.
        self._in_doubt: list[tuple[BulkKey, int]] = []

    def are_wanted(self) -> bool:
        """Return whether a bulk may have jobs to be taken in."""
        return bool(self._process.bulks.new or self._open)

    def note(self, bulks: list[BulkKey]) -> None:
        """Note bulks that have jobs which nobody has claimed.

        Args:
            bulks: those that a check has found; of the others, those whose
                time has come are looked at again.
        """
        self._look_after_doubt()
        later = self._later.items()
        due = [key for key, when in later if not self._is_far(when)]
        for key in due:
            del self._later[key]
        known = set(self._open) | self._later.keys()
        self._open.extend(key for key in (*due, *bulks) if key not in known)

    def forget_all_but(self, listed: set[BulkKey]) -> None:
        """Forget the windows of bulks that no look asks for any more.

        Args:
            listed: the bulks that are listed.
        """
        bulks = self._process.bulks
        known = {*listed, *self._open, *self._later, *bulks.new}
        # threads may add some at the same time
        bulks.claimed.difference_update(
            [claim for claim in tuple(bulks.claimed) if claim[:2] not in known]
        )

    def take_in(self) -> None:
        """Take jobs in until this process has enough of them."""
        known = set(self._open)
        for key in drained(self._process.bulks.new):
            if key not in known:
                self._open.append(key)
        assigned = self._process.assigned_jobs
        self._held = {sid for sid in self._held if sid in assigned}
        enough = max(ENOUGH, 2 * self._process.dispatcher.workers)
        while self._open and self._room(enough):
            self._take_window()

    def _room(self, enough: int) -> bool:
        dispatcher = self._process.dispatcher
        if not dispatcher.runs_jobs:
            return False
        return len(self._held) + dispatcher.unsent() < enough

    def _take_window(self) -> None:
        """Claim one window of the next bulk."""
        key = self._open[0]
        claim = functools.partial(self._claim, key=key)
        window, jobs, undone, when = self._location.write(
            claim, note=f"incarnation {self._process.incarnation} takes jobs"
        )
        # after the commit, by which the jobs are this process's
        if window is not None:
            self._process.bulks.claimed.add((*key, window))
        self._in_doubt = [
            tried for tried in self._in_doubt if tried != (key, window)
        ]
        self._open.popleft()
        if when is None:  # all is claimed, or other processes see to it
            self._process.bulks.pauses.pop(key, None)
        elif self._is_far(when):
            self._later[key] = when
        else:
            self._open.append(key)
        self._held.update(job.sid for job in jobs if job.fence.runner)
        self._process.dispatcher.hand_over(jobs)
        # not sooner: subscribers may take their time, or raise
        self._undone.tell(undone)
        self._look_after_doubt()

    def _is_far(self, due: float | None) -> bool:
        """Return whether a moment is more than a lease away."""
        if due is None:
            return False
        ahead = due - time.time()
        if isinstance(due, EndOfPause):
            ahead = min(ahead, due.counted - time.monotonic())
        return ahead > self._process.lease

    def _claim(
        self, store: Store, key: BulkKey
    ) -> tuple[int | None, list[AssignedJob], list[JobView], float | None]:
        """Claim a window.

        Returns:
            The window, its jobs, views of those that stay undone, and when
            the next is due.
        """
        number, page_key = key
        located = store.page_at(number, page_key)
        if located is None:
            return None, [], [], None
        slice_, page = located.slice_, located.page
        window, dispatcher = page.next_window(), self._process.dispatcher
        queue = Options.load(page.options).queue
        if window is None or dispatcher.leaves(queue):
            return None, [], [], None
        first = window * page.window
        due_of = functools.partial(self._process.bulks.due_of, key, page)
        due = due_of(first)
        if self._is_far(due):
            # Until then this process may have no jobs, and give no signs of
            # life. If its shard alone told of the bulk, it would be taken for
            # dead.
            self._share(slice_, page_key, page)
            return None, [], [], due
        runs = dispatcher.runs(queue)
        self._in_doubt.append((key, window))
        page.windows[window] = self._process.incarnation if runs else ""
        pending = {}
        for index in list(page.open.keys(*page.bounds(window))):
            job = store.job_on(located, index)
            if job.record.state != JobState.PENDING:
                page.open.remove(index)
            elif not job.record.listed:  # pragma: no branch - retried before
                pending[index] = job
        undone = self._undone.end_among(store, pending.values())
        jobs = []
        for index, job in pending.items():
            if job.record.state == JobState.PENDING:
                jobs.append(assigned := AssignedJob.of(job))
                assigned.wait_until(due_of(index))
                assigned.note_serial(job.record)
        unlist_if_over(slice_, page_key, page)
        is_last = page.next_window() is None
        if page.open and not (is_last and self._keeps(slice_, page_key)):
            self._share(slice_, page_key, page)
        when = None if is_last else due_of(first + page.window) or 0.0
        return window, jobs, undone, when

    def _keeps(self, slice_: Slice, page_key: PageKey) -> bool:
        """Return whether this process keeps the shard of a page."""
        if isinstance(page_key, bytes):
            return False
        shard = slice_.all_shards()[page_key[0]]
        return bool(shard.keeper == self._process.incarnation)

    def _share(self, slice_: Slice, page_key: PageKey, page: Page) -> None:
        """Show a bulk to all processes.

        They may claim windows too, and look after each other's.
        """
        if not self._process.is_shared or page.listed:
            return
        page.listed = True
        slice_.list_job(page_key, ALL)

    def _look_after_doubt(self) -> None:
        """Find the jobs of windows whose claim raised, and was committed.

        A window that nobody has claimed may be claimed by such a commit still.
        """
        nothing: list[str] | None = []
        for tried in list(self._in_doubt):
            key, window = tried
            find = functools.partial(self._claimed_in, key=key, window=window)
            sids = self._location.read(find, nothing)
            if sids is not None:
                self._process.to_settle.extend(sids)
                self._in_doubt.remove(tried)

    def _claimed_in(
        self, store: Store, key: BulkKey, window: int
    ) -> list[str] | None:
        """Return the sids of a window's jobs if this process has claimed it.

        ``None`` stands for a window that nobody has claimed.
        """
        located = store.page_at(*key)
        if located is None or not located.page.open:
            return []
        page = located.page
        if window not in page.windows:
            return None
        if page.windows[window] != self._process.incarnation:
            return []
        return [
            located.sid(index)
            for index in page.open.keys(*page.bounds(window))
        ]
