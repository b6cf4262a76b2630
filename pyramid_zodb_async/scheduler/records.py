"""The persistent classes of jobs: the store, its slices, their records.

Do not move or rename the classes: databases find them by module and name.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent import Persistent
from ZODB.POSException import POSKeyError

from ..exceptions import JobCancelled, StoreNotUsable
from ..jobs.model import Failure, JobState
from ..jobs.options import Options
from .contents import Outcome, Parts, PlainCall, StoredCall
from .sids import make_sid, split_sid

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

#: Trees of a new slice. Measured: with 16 of them, four threads that finish
#: jobs met 9 to 33 conflicts in a thousand; with 64, at most 4. With 256 each
#: job loads and stores less, up to some thousands of jobs per slice.
TREES = 256

#: A key that is never removed: two inserts into an empty tree conflict.
KEPT = b""

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
    #: How often its process ended while it ran.
    crashes = 0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    #: The last progress: done, total, message; and what translates that.
    progress: tuple[float, float | None, str | None] | None = None
    progress_translation: tuple[Any, ...] | None = None
    #: Of a failure, as ``Failure.stored()`` returns it.
    error: tuple[Any, ...] | None = None
    #: What it calls; a failed job still has it, for a retry.
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


class Slice(Persistent):
    """The jobs of about an hour, in many trees, to be dropped together."""

    #: When it may be dropped; ``None`` until its last job has ended.
    keep_until: float | None = None
    #: Set when it is dropped: that write conflicts with a new job's fence.
    closed = False

    def __init__(self, opened: float, longest_timeout: float) -> None:
        self.opened = opened
        #: The longest time for which it stores an outcome, in seconds.
        self.longest_timeout = longest_timeout
        self.jobs = tuple(OOBTree({KEPT: None}) for _ in range(TREES))
        self.unfinished = tuple(OOTreeSet([KEPT]) for _ in range(TREES))

    def tree(self, key: bytes) -> OOBTree:
        """Return the tree that has the record of *key*."""
        return self.jobs[key[0] % len(self.jobs)]

    def unfinished_of(self, key: bytes) -> OOTreeSet:
        """Return the set that has *key* while its job is unfinished."""
        return self.unfinished[key[0] % len(self.unfinished)]

    def expect(self, timeout: float) -> None:
        """Keep the slice for outcomes that are stored *timeout* s."""
        if self.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            self.longest_timeout = timeout

    def reopen(self, key: bytes) -> None:
        """Add a job that had ended to the unfinished ones."""
        self.require_current()  # as in Store.add()
        self.unfinished_of(key).add(key)
        if self.keep_until is not None:  # else unfinished() skips the job
            self.keep_until = None

    def require_current(self) -> None:
        """Let the commit conflict if another one has dropped the slice."""
        if self._p_jar is not None and self._p_oid is not None:
            self._p_jar.readCurrent(self)

    def require_no_new_jobs(self) -> None:
        """Let the commit conflict if another one has added a job.

        If that commits first, its own fence cannot see the later drop. The
        slice must be one that a transaction before this one has stored.
        """
        for keys in self.unfinished:
            # its state has the keys, or else the children and the first of the
            # buckets, which is the only one of so small a tree
            _, *buckets = keys.__getstate__()
            for part in (keys, *buckets):
                part._p_jar.readCurrent(part)

    def is_used(self) -> bool:
        """Return whether a job was ever added."""
        return any(tree.maxKey() != KEPT for tree in self.jobs)

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Return the keys and records of all jobs, also of removed ones."""
        for tree in self.jobs:
            yield from tree.items(KEPT, excludemin=True)

    def unfinished_keys(self) -> Iterator[bytes]:
        """Return the keys of the jobs that have not ended."""
        for keys in self.unfinished:
            yield from keys.keys(KEPT, excludemin=True)

    def has_unfinished(self) -> bool:
        """Return whether a job in it has not ended."""
        return any(keys.maxKey() != KEPT for keys in self.unfinished)


class Beat(Persistent):
    """The sign of life of an incarnation: a number that grows."""

    count = 0
    #: By sid, of its running jobs; see ``process.progress_reports``.
    reports: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012 - set, not changed
    translations: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012 - the same


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
        """Return the sids of the jobs that have not ended."""
        for number, slice_ in self.slices.items():
            if slice_.keep_until is not None:  # has none, so load none
                continue
            for key in slice_.unfinished_keys():
                yield make_sid(number, key)


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
