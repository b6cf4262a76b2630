"""The persistent classes of jobs: the store, its slices, their records.

Do not move or rename the classes: databases find them by module and name.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from BTrees.OOBTree import OOBTree
from persistent import Persistent
from ZODB.POSException import POSKeyError

from ..exceptions import JobCancelled, StoreNotUsable
from ..jobs.model import Failure, JobState
from ..jobs.options import Options
from .beats import Beat
from .contents import Outcome, Parts, PlainCall, StoredCall
from .sids import make_sid, split_sid
from .slices import Slice

__all__ = [
    "FORMAT",
    "Beat",
    "Fence",
    "Outcome",
    "Record",
    "Slice",
    "Store",
    "StoredCall",
    "StoredJob",
    "TakenOver",
]

#: The format of a store; a later version of this package has a greater one.
FORMAT = 1

REMOVED = "removed"


class TakenOver(JobCancelled):
    """A run may not change the job's record: it was taken over, or ended."""


class Fence(NamedTuple):
    """What a process that changes a record must know of its current state."""

    state: str
    runner: str | None
    run_number: int


class Record(Persistent):
    """A job as plain data; calls and results that are not are other objects.

    So polls, takeover and expiry load no objects of the application.
    Attributes that have their defaults are not stored.
    Moments are seconds since the epoch.
    """

    state: str = JobState.PENDING.value
    owner: str | None = None
    #: The type of the userid; ``None`` in jobs of earlier versions.
    owner_kind: str | None = None
    base_url: str | None = None
    #: How it is to be run, as ``Options.stored()`` returns it.
    options: tuple[tuple[str, Any], ...] = ()
    #: When its next run is to begin; ``None`` stands for at once.
    due: float | None = None
    #: The number of the last attempt that has ended.
    attempt = 0
    #: How many attempts failed since it was scheduled, or retried.
    failures = 0
    #: Grows with each takeover, claim and retry; runs before it are void.
    run_number = 0
    #: The incarnation that is to run it; ``None`` if there is none yet.
    runner: str | None = None
    #: Whether it was taken over: it may have ended its process.
    suspect = False
    #: Whether a run began that counts as a crash if its process ends.
    begun = False
    #: How often its process ended while it ran, as far as is known.
    crashes = 0
    #: The crashes that may be none; see ``store.crash_counts``.
    silences: tuple[tuple[str, int], ...] = ()
    #: How many of its processes were silent for a lease, and lived.
    survivals = 0
    #: Whether it was one of several suspects that ran when their process
    #: ended. Then it runs beside no other.
    alone = False
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    #: The last progress: done, total, message; and what translates that.
    progress: tuple[float, float | None, str | None] | None = None
    progress_translation: tuple[Any, ...] | None = None
    #: Of a failure or an undo, as ``Failure.stored()`` returns it.
    error: tuple[Any, ...] | None = None
    #: What it calls; one that failed or was undone has it, for a retry.
    call: StoredCall | PlainCall | None = None
    #: The result, if that is plain and small.
    value: Any = None
    #: Any other result, or the exception.
    outcome: Outcome | None = None

    def __init__(
        self,
        function: str,
        scheduled: float,
        call: StoredCall | PlainCall,
        **values: Any,
    ) -> None:
        self.function = function
        self.scheduled = scheduled
        self.call = call
        self.change(**values)

    def change(self, **values: Any) -> None:
        """Set attributes; only :meth:`StoredJob.change` may call this."""
        for name, value in values.items():
            if getattr(self, name) == value:
                continue  # a write of the same value could conflict
            if getattr(type(self), name) == value:
                delattr(self, name)
            else:
                setattr(self, name, value)

    def parts(self) -> Parts | None:
        """Return its call as it was stored; ``None`` if it has none."""
        call = self.call
        if isinstance(call, tuple):
            function, args, named_args = call
            return function, args, dict(named_args)
        # call.parts() would load a ghost, only for parts() to invalidate it
        return None if call is None else StoredCall.parts(call)

    @property
    def fence(self) -> Fence:
        """The state of the record that a later change has to expect."""
        return Fence(self.state, self.runner, self.run_number)

    @property
    def failure(self) -> Failure | None:
        """Why the job failed; ``None`` if it did not."""
        return None if self.error is None else Failure.load(self.error)


class Store(Persistent):
    """The jobs of an application, in slices, and the beats of incarnations.

    A sid is the number of a slice and a key of 128 random bits in it.
    """

    format = FORMAT
    #: The seconds for which an outcome is stored, if no option says others.
    timeout: float = 3600

    def __init__(self, longest_timeout: float | None = None) -> None:
        # set on the instance, since only that is stored
        self.format = FORMAT
        self.slices = OOBTree()
        self.runners = OOBTree({"": None})
        if longest_timeout is None:
            longest_timeout = self.timeout
        self.open_slice(time.time(), longest_timeout)

    def outcome_timeout(
        self, options: Options, default: float | None
    ) -> float:
        """Return for how long the outcome of a job is stored, in seconds.

        *default* counts if its options set none, and then :attr:`timeout`.
        """
        own = options.result_timeout
        timeout = default if own is None else own
        return self.timeout if timeout is None else timeout

    def open_slice(self, now: float, longest_timeout: float) -> None:
        """Add the slice that new jobs go to from now on.

        Its number is the hour of *now*, in seconds since the epoch, or the
        next greater one if the clock was set back.
        """
        number = max(0, int(now // 3600))
        if self.slices:
            number = max(number, self.slices.maxKey() + 1)
        self.slices[number] = Slice(now, longest_timeout)

    def newest(self) -> tuple[int, Slice]:
        """Return the number of the slice that new jobs go to, and it."""
        number = self.slices.maxKey()
        return number, self.slices[number]

    def require_format(self) -> None:
        """Refuse a store that a later version of the package has written.

        Raises:
            StoreNotUsable: its format is not known.
        """
        if self.format > FORMAT:
            raise StoreNotUsable(
                f"The jobs in the database have the format {self.format}, and"
                f" this version of pyramid_zodb_async knows formats up to"
                f" {FORMAT}: install a later version"
            )

    def expect(self, timeout: float) -> None:
        """Keep the newest slice for outcomes that are stored *timeout* s.

        Called ahead, so that the first jobs of a slice do not conflict.
        """
        _, slice_ = self.newest()
        slice_.expect(timeout)

    def add(self, record: Record, timeout: float) -> "StoredJob":
        """Add a record whose outcome is stored *timeout* s."""
        number, slice_ = self.newest()
        slice_.require_current()  # else a drop at this time loses the job
        slice_.expect(timeout)
        key = secrets.token_bytes(16)
        slice_.tree(key)[key] = record
        slice_.unfinished_of(key).add(key)
        sid = make_sid(number, key)
        return StoredJob(sid, (number, key), slice_, record)

    def locate(self, sid: str) -> "StoredJob | None":
        """Return a job; ``None`` if there is none any more."""
        try:
            return self.locate_at(sid, split_sid(sid))
        except (ValueError, TypeError):
            return None

    def locate_at(
        self, sid: str, place: tuple[int, bytes]
    ) -> "StoredJob | None":
        """Do what :meth:`locate` does for a sid that was split already."""
        number, key = place
        slice_ = self.slices.get(number)
        if slice_ is None:
            return None
        record: Record | None = slice_.tree(key).get(key)
        if record is None or record.state == REMOVED:
            return None
        return StoredJob(sid, place, slice_, record)

    def job(self, sid: str) -> "StoredJob":
        """Return a job, also a removed one, or raise a KeyError.

        For what is no sid, raise a ValueError.
        """
        number, key = place = split_sid(sid)
        slice_ = self.slices[number]
        return StoredJob(sid, place, slice_, slice_.tree(key)[key])

    def find(self, sid: str) -> Record | None:
        """Return the record of a job; ``None`` if there is none any more."""
        job = self.locate(sid)
        return job.record if job else None

    def change(self, sid: str, expected: Fence, **values: Any) -> "StoredJob":
        """Do what :meth:`StoredJob.change` does, and return the job."""
        job = self.locate(sid)
        if job is None:
            raise TakenOver(f"The job {sid} is not this run's any more")
        job.change(expected, **values)
        return job

    def beat_of(self, runner: str) -> Beat:
        """Return the beat of an incarnation, made if needed."""
        beat: Beat | None = self.runners.get(runner)
        if beat is None:
            beat = self.runners[runner] = Beat()
        return beat

    def unfinished(self) -> Iterator[str]:
        """Return the sids of the jobs that have not ended.

        There may be many slices. So all but the newest leave the memory when
        their jobs were returned.
        """
        newest = self.slices.maxKey()
        for number, slice_ in self.slices.items():
            if number == newest:
                yield from self.unfinished_in(number, slice_)
            else:
                yield from self.unfinished_in(number, slice_, unload=True)
                slice_._p_deactivate()

    def unfinished_in(
        self, number: int, slice_: Slice, *, unload: bool = False
    ) -> Iterator[str]:
        """Return the sids of the jobs of a slice that have not ended.

        With *unload*, its sets leave the memory.
        """
        if slice_.keep_until is None:  # else it has none, so load none
            for key in slice_.unfinished_keys(unload=unload):
                yield make_sid(number, key)

    def note_revival(self, job: "StoredJob") -> None:
        """Have all processes find a job that had ended and is to run again."""
        number, newest = self.newest()
        own, key = job.place
        if own != number:
            newest.note_revival(job.sid, key, job.record.run_number)


class StoredJob(NamedTuple):
    """A job as one connection sees it: its record, and where that is."""

    sid: str
    #: The number of the slice, and the key of the record in it.
    place: tuple[int, bytes]
    slice_: Slice
    record: Record

    def change(self, expected: Fence, **values: Any) -> None:
        """Set attributes of the record; no other code may change records.

        *expected* is its state as the caller knows it. Another process may
        have changed it since: what this transaction sees is compared here,
        and of two concurrent changes one commit conflicts.

        Raises:
            TakenOver: the record is gone, or not as *expected*.
        """
        record, slice_ = self.record, self.slice_
        try:
            fence = record.fence
        except POSKeyError:  # it was dropped and packed since it was located
            fence = None
        if fence != expected:
            raise TakenOver(f"The job {self.sid} is not this run's any more")
        had_ended = record.state != JobState.PENDING
        record.change(**values)
        if record.finished is not None and record.expires is not None:
            slice_.expect(record.expires - record.finished)
        if had_ended != (record.state != JobState.PENDING):
            _, key = self.place
            if had_ended:
                slice_.reopen(key)
            else:
                slice_.unfinished_of(key).remove(key)
