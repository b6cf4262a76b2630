"""Opens a slice for the jobs of each hour, and drops the old ones."""

import logging
import time

from ...events import JobExpired
from ...jobs.model import JobState, JobView
from ..event_queue import EventQueue
from ..process.views import view_of_record
from ..records import REMOVED, Slice, Store
from ..sids import make_sid
from ..store.location import StoreLocation

__all__ = ["SliceExpiry"]

log = logging.getLogger(__name__)

#: For how long new jobs go to one slice, in seconds.
SPAN = 3600


class SliceExpiry:
    """Keeps the slices of a store in order.

    It writes nothing as long as nothing is scheduled.

    Args:
        location: where the store is.
        event_queue: takes note of jobs that are forgotten.
    """

    def __init__(
        self, location: StoreLocation, event_queue: EventQueue
    ) -> None:
        self._location = location
        self._event_queue = event_queue

    def open_and_drop(self) -> None:
        """Open and drop slices if it is time."""
        if self._location.read(_is_due, default=False):
            expired = self._location.write(
                self._open_and_drop, note="slices of jobs"
            )
            self._event_queue.deliver_now(JobExpired, expired)

    def _open_and_drop(self, store: Store) -> list[JobView]:
        now = time.time()
        expired: list[JobView] = []
        if _needs_slice(store, now):
            _, newest = store.newest()
            store.open_slice(now, newest.longest_timeout)
            # transactions that know only the old one may go on for a while
            return expired
        for number in list(store.slices.keys())[:-1]:
            slice_ = store.slices[number]
            verdict = _verdict(slice_, now)
            if verdict == "open":
                slice_.keep_until = None
            elif verdict:
                # who adds a job to it at this moment meets a conflict, or we
                slice_.require_no_new_jobs()
                if verdict == "drop":
                    if self._event_queue.has_subscribers(JobExpired):
                        expired += _outcomes(number, slice_)
                    slice_.closed = True
                    del store.slices[number]
                else:
                    slice_.keep_until = now + slice_.longest_timeout
        return expired


def _is_due(store: Store) -> bool:
    now = time.time()
    return _needs_slice(store, now) or any(
        _verdict(slice_, now) for slice_ in _old(store)
    )


def _outcomes(number: int, slice_: Slice) -> list[JobView]:
    return [
        view_of_record(make_sid(number, key), record)
        for key, record in slice_.records()
        if record.state not in {REMOVED, JobState.PENDING}
    ]


def _old(store: Store) -> list[Slice]:
    return list(store.slices.values())[:-1]


def _needs_slice(store: Store, now: float) -> bool:
    _, newest = store.newest()
    # also if the clock was put back
    return abs(now - newest.opened) >= SPAN and newest.is_used()


def _verdict(slice_: Slice, now: float) -> str:
    """Tell what to do with a slice that is not the newest: maybe nothing."""
    end = slice_.keep_until
    if end is not None:
        age = now - (end - slice_.longest_timeout)
        if age > SPAN and now < end:
            return ""  # settled: to look at all its sets would cost too much
    if slice_.has_unfinished():
        return "open" if end is not None else ""
    # its end is too late if the clock was put back
    if end is None or end > now + slice_.longest_timeout:
        return "set"
    return "drop" if end <= now else ""
