"""The removals of ended jobs that this process has noted, to write later."""

import threading
from typing import NamedTuple

from ..records import Store, StoredJob
from ..sids import Place
from ..store.location import StoreLocation

__all__ = ["Removals"]

#: How many removals are noted at most; those after them are written by the
#: transactions that remove the jobs.
MOST = 10_000


class _Noted(NamedTuple):
    """An ended job that is removed."""

    place: Place
    #: That of its record: a revival raises it, and the job is there again.
    run_number: int


class Removals:
    """The jobs that this process shows to nobody any more.

    To forget an ended job makes no commit of its own: it is noted here when
    the transaction that removes it has committed, and one transaction of the
    maintenance writes all that was noted meanwhile. If the process is killed
    before that, their outcomes stay until they expire.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._noted: dict[str, _Noted] = {}
        #: Those that were written last. A transaction that began before that
        #: does not see it.
        self._written: dict[str, _Noted] = {}

    def __len__(self) -> int:
        return len(self._noted)

    def is_full(self) -> bool:
        """Return whether no more can be noted, as the storage is away."""
        return len(self._noted) >= MOST

    def note(self, sid: str, place: Place, run_number: int) -> bool:
        """Note a removal.

        Args:
            sid: the sid of the job, which has ended.
            place: where its record is.
            run_number: that of the record.

        Returns:
            Whether it is the first one that waits to be written.
        """
        with self._lock:
            self._noted[sid] = _Noted(place, run_number)
            return len(self._noted) == 1

    def has(self, job: StoredJob) -> bool:
        """Return whether the removal of an ended job was noted.

        Args:
            job: the job, as a transaction sees it.
        """
        for noted in (self._noted, self._written):
            if noted and (removal := noted.get(job.sid)) is not None:
                return job.run_number <= removal.run_number
        return False

    def write(self, location: StoreLocation) -> None:
        """Write what was noted, in a transaction of its own.

        Args:
            location: where the store is.
        """
        batch = self._noted.copy()  # in one step
        if not batch:
            return
        location.write(
            lambda store: _forget(store, batch), note="jobs were forgotten"
        )
        with self._lock:
            self._written = batch
            for sid, removal in batch.items():
                # it may have been revived, and removed again
                if self._noted[sid] == removal:
                    del self._noted[sid]


def _forget(store: Store, removals: dict[str, _Noted]) -> None:
    for place, run_number in removals.values():
        slice_ = store.slices.get(place.number)
        if slice_ is not None:  # else it was dropped
            slice_.forget(place.page, place.cell, run_number)
