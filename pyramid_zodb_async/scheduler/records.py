"""The persistent classes of jobs: the store, its slices, their records.

Do not move or rename the classes: databases find them by module and name.
"""

import secrets
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent import Persistent

from ..exceptions import JobCancelled, StoreNotUsable
from ..jobs.model import Failure, JobState
from .sids import make_sid, split_sid

__all__ = [
    "Beat",
    "Fence",
    "Outcome",
    "Record",
    "Slice",
    "Store",
    "StoredCall",
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


#: The name of a function, positional arguments, and pairs of named ones.
PlainCall = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]

#: The function, the positional and the named arguments.
Parts = tuple[Any, tuple[Any, ...], dict[str, Any]]


class StoredCall(Persistent):
    """A function and its arguments; the package never changes them."""

    def __init__(
        self, function: Any, args: tuple[Any, ...], named_args: dict[str, Any]
    ) -> None:
        self.function = function
        if args:
            self.args = args
        if named_args:
            self.named_args = named_args

    args: tuple[Any, ...] = ()
    named_args: dict[str, Any] = {}  # noqa: RUF012 - never changed

    def parts(self) -> Parts:
        """Return the call as stored, even if a run has changed arguments."""
        self._p_invalidate()
        return self.function, self.args, self.named_args


class Outcome(Persistent):
    """What a job returned, or the pickle of what it raised."""

    value: Any = None
    exception: bytes | None = None

    def __init__(
        self, value: Any = None, exception: bytes | None = None
    ) -> None:
        if value is not None:
            self.value = value
        if exception is not None:
            self.exception = exception

    def load(self) -> Any:
        """Return the value as stored, even if a reader has changed it."""
        self._p_invalidate()
        return self.value


class Record(Persistent):
    """A job as plain data; calls and results that are not are other objects.

    So polls, takeover and expiry load no objects of the application.
    Attributes that have their defaults are not stored.
    Moments are seconds since the epoch.
    """

    state: str = JobState.PENDING.value
    owner: str | None = None
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
    #: The last progress: done, total and message.
    progress: tuple[float, float | None, str | None] | None = None
    #: Of a failure: type, message, and whether that is public.
    error: tuple[str, str, bool] | None = None
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
        """Set attributes; only :meth:`Store.change` may call this."""
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
        if self.error is None:
            return None
        kind, message, public = self.error
        return Failure(type=kind, message=message, public=public)


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
        if slice_.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            slice_.longest_timeout = timeout

    def add(self, record: Record, timeout: float) -> str:
        """Add a record whose outcome is stored *timeout* s; return its sid."""
        number, slice_ = self.newest()
        slice_.require_current()  # else a drop at this time loses the job
        self.expect(timeout)
        key = secrets.token_bytes(16)
        slice_.tree(key)[key] = record
        slice_.unfinished_of(key).add(key)
        return make_sid(number, key)

    def find(self, sid: str) -> Record | None:
        """Return the record of a job; ``None`` if there is none any more."""
        try:
            number, key = split_sid(sid)
        except ValueError:
            return None
        slice_ = self.slices.get(number)
        if slice_ is None:
            return None
        record: Record | None = slice_.tree(key).get(key)
        return record if record and record.state != REMOVED else None

    def record(self, sid: str) -> Record:
        """Return a record, also of a removed job, or raise a KeyError."""
        number, key = split_sid(sid)
        record: Record = self.slices[number].tree(key)[key]
        return record

    def change(self, sid: str, expected: Fence, **values: Any) -> Record:
        """Set attributes of a record; no other code may change records.

        *expected* is its state as the caller knows it. Another process may
        have changed it since: what this transaction sees is compared here,
        and of two concurrent changes one commit conflicts.

        Raises:
            TakenOver: the record is gone, or not as *expected*.
        """
        record = self.find(sid)
        if record is None or record.fence != expected:
            raise TakenOver(f"The job {sid} is not this run's any more")
        has_ended = record.state != JobState.PENDING
        record.change(**values)
        if record.finished is not None and record.expires is not None:
            self._keep_slice(sid, record.expires - record.finished)
        if has_ended != (record.state != JobState.PENDING):
            self._note_end(sid, is_revived=has_ended)
        return record

    def _note_end(self, sid: str, *, is_revived: bool) -> None:
        """Remove a job from the unfinished ones of its slice, or add it."""
        number, key = split_sid(sid)
        slice_ = self.slices[number]
        unfinished = slice_.unfinished_of(key)
        if not is_revived:
            unfinished.remove(key)
            return
        slice_.require_current()  # as in add()
        unfinished.add(key)
        if slice_.keep_until is not None:  # else unfinished() skips the job
            slice_.keep_until = None

    def _keep_slice(self, sid: str, timeout: float) -> None:
        """Keep the slice of a job while its outcome is stored."""
        slice_ = self.slices[split_sid(sid)[0]]
        if slice_.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            slice_.longest_timeout = timeout

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
