"""What this process knows of unfinished jobs, so that few must be read."""

from collections.abc import Iterable, Iterator

from ...concurrency.deadlines import Deadlines
from ..records import Store
from ..sids import split_sid
from .claiming import LostJob
from .slice_checks import SliceChecks

__all__ = ["UnfinishedJobs"]

#: Which part of its age passes until an old slice is checked again.
SHARE = 1 / 64


class UnfinishedJobs:
    """Finds the unfinished jobs that are due, or soon are.

    All processes see new jobs in the newest slice, which is read each time.
    Of the other slices this knows the unfinished jobs. Those that are due
    later than the next checks are not read before their time.
    """

    def __init__(self) -> None:
        self._slices = SliceChecks(SHARE)
        #: The sids of jobs to be read each time, by their slices.
        self._near: dict[int, set[str]] = {}
        #: When other jobs are due, in seconds since the epoch, by sid.
        self._far: Deadlines[str] = Deadlines()
        #: The notes of revivals that were read since the newest slice was
        #: opened, and its number.
        self._revivals: set[bytes] = set()
        self._newest = -1
        #: How many unfinished jobs the newest slice had.
        self.in_newest = 0

    def check_slices(self, store: Store) -> bool:
        """Note the jobs of some of the slices that are to be checked.

        Args:
            store: the store, as a transaction sees it.

        Returns:
            Whether there are more such slices, for another transaction.
        """
        for number, slice_ in self._slices.portion(store):
            for sid in store.unfinished_in(number, slice_, unload=True):
                if sid not in self._far:
                    self._near.setdefault(number, set()).add(sid)
            self._note_revivals(slice_.revived())
        return self._slices.remain()

    def sids(self, store: Store, horizon: float) -> Iterator[str]:
        """Return the sids of the jobs that are to be read now.

        Some may have ended, or be gone.

        Args:
            store: the store, as a transaction sees it.
            horizon: the time until which jobs must be due, in seconds since
                the epoch, if it is known when they are.
        """
        newest, slice_ = store.newest()
        if newest != self._newest:
            self._newest = newest
            self._revivals.clear()  # else it would only grow
        self._note_revivals(slice_.revived())
        while (sid := self._far.pop(horizon)) is not None:
            self._note_near(sid)
        self.in_newest = 0
        for sid in store.unfinished_in(newest, slice_):
            self.in_newest += 1
            if sid not in self._far:
                yield sid
        for number in list(self._near):
            if number != newest:
                yield from tuple(self._near[number])
                # there may be one job in each of very many
                old = store.slices.get(number)
                if old is not None:
                    old._p_deactivate()
                store._p_jar.cacheGC()

    def unload(self, store: Store, jobs: Iterable[LostJob]) -> None:
        """Have the slices of jobs leave the memory, with all their trees.

        There may be one job in each of very many.

        Args:
            store: the store, as a transaction sees it.
            jobs: the jobs.
        """
        for job in jobs:
            number, _ = split_sid(job.sid)
            slice_ = store.slices.get(number)
            if slice_ is not None:
                slice_._p_deactivate()

    def leave_until(self, sid: str, due: float) -> None:
        """Do not return a job again before it is nearly due.

        Args:
            sid: the sid of the job, which nobody is to run before that.
            due: the time, in seconds since the epoch.
        """
        self.leave(sid)
        self._far.set(sid, due)

    def leave(self, sid: str) -> None:
        """Do not return a job again, unless it is in the newest slice.

        Args:
            sid: the sid of the job, which has ended or is not this process's.
        """
        number, _ = split_sid(sid)
        sids = self._near.get(number)
        if sids is not None:
            sids.discard(sid)
            if not sids:
                del self._near[number]

    def _note_near(self, sid: str) -> None:
        number, _ = split_sid(sid)
        self._near.setdefault(number, set()).add(sid)

    def _note_revivals(self, revived: Iterator[tuple[bytes, str]]) -> None:
        for note, sid in revived:
            if note not in self._revivals:
                self._revivals.add(note)
                self._far.discard(sid)
                self._note_near(sid)
