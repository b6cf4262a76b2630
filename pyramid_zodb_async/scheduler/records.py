"""What the database keeps of jobs: the store, its slices, their records.

The persistent classes here stay where they are and keep their names: the
database finds them by these.
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

#: The format of what is stored; a greater one belongs to a later version.
FORMAT = 1

#: Trees of a new slice. With 16 of them, four threads that finish jobs met 9
#: to 33 conflicts in a thousand; with 64, at most 4. With 256 there is less to
#: load and to store for each job, as long as not many thousands are kept.
TREES = 256

#: A key that each tree keeps: an empty one conflicts with its next insert.
KEPT = b""

REMOVED = "removed"


class TakenOver(JobCancelled):
    """The job is another process's by now, or has ended."""


class Fence(NamedTuple):
    """What whoever changes a record believes of it."""

    state: str
    runner: str | None
    run_number: int


#: A function by its name, its arguments, and the names and values of others.
PlainCall = tuple[str, tuple[Any, ...], tuple[tuple[str, Any], ...]]

#: The function, the positional and the named arguments.
Parts = tuple[Any, tuple[Any, ...], dict[str, Any]]


class StoredCall(Persistent):
    """A function and its arguments; no code of ours changes it."""

    def __init__(
        self, function: Any, args: tuple[Any, ...], named_args: dict[str, Any]
    ) -> None:
        self.function = function
        if args:
            self.args = args
        if named_args:
            self.named_args = named_args

    args: tuple[Any, ...] = ()
    named_args: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it

    def parts(self) -> Parts:
        """Give the three as they were stored, whatever an earlier run did."""
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
        """Give the value as it was stored, whatever an earlier reader did."""
        self._p_invalidate()
        return self.value


class Record(Persistent):
    """A job as plain data; what is not plain and small is apart.

    So to ask for a job, to look for lost ones and to let them expire loads
    nothing of the application's. What has its default is not stored.
    Moments are seconds since the epoch.
    """

    state: str = JobState.PENDING.value
    owner: str | None = None
    base_url: str | None = None
    #: How it is to be run, as :meth:`.Options.stored` tells it.
    options: tuple[tuple[str, Any], ...] = ()
    #: When its next run is to begin.
    due: float | None = None
    #: How many runs ended in a way that counts.
    attempt = 0
    #: How many of them failed since it was scheduled, or retried.
    failures = 0
    #: Counts the takeovers, and the attempts that are to follow others.
    run_number = 0
    #: The process incarnation that is to run it; ``None`` if nobody is yet.
    runner: str | None = None
    #: Whether it was taken over: it may have ended its process.
    suspect = False
    #: Whether a suspect's run began.
    begun = False
    #: How often its process ended while it ran.
    crashes = 0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    #: What it last said of its progress: done, total and message.
    progress: tuple[float, float | None, str | None] | None = None
    #: Of a failure: type, message, and whether that is public.
    error: tuple[str, str, bool] | None = None
    #: What it calls; kept with a failure, to try again.
    call: StoredCall | PlainCall | None = None
    #: What it returned, if that is plain and small.
    value: Any = None
    #: What it returned else, or raised.
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
        """Set attributes; for :meth:`Store.change` alone."""
        for name, value in values.items():
            if getattr(self, name) == value:
                continue
            if getattr(type(self), name) == value:
                delattr(self, name)
            else:
                setattr(self, name, value)

    def parts(self) -> Parts | None:
        """Give the parts of its call as they were stored, if it has one."""
        call = self.call
        if isinstance(call, tuple):
            function, args, named_args = call
            return function, args, dict(named_args)
        # a method of a ghost would load it, for nothing
        return None if call is None else StoredCall.parts(call)

    @property
    def fence(self) -> Fence:
        """What the record is now, for a later change of it."""
        return Fence(self.state, self.runner, self.run_number)

    @property
    def failure(self) -> Failure | None:
        """Why the job failed."""
        if self.error is None:
            return None
        kind, message, public = self.error
        return Failure(type=kind, message=message, public=public)


class Slice(Persistent):
    """The jobs of about an hour, in many trees, to be dropped together."""

    #: When it may be dropped; ``None`` until its last job has ended.
    keep_until: float | None = None
    #: Written when it is dropped: whoever adds to it at that time conflicts.
    closed = False

    def __init__(self, opened: float, longest_timeout: float) -> None:
        self.opened = opened
        #: The longest time that one of its outcomes is kept, in seconds.
        self.longest_timeout = longest_timeout
        self.jobs = tuple(OOBTree({KEPT: None}) for _ in range(TREES))
        self.unfinished = tuple(OOTreeSet([KEPT]) for _ in range(TREES))

    def tree(self, key: bytes) -> OOBTree:
        """Give the tree of the record with that key."""
        return self.jobs[key[0] % len(self.jobs)]

    def unfinished_of(self, key: bytes) -> OOTreeSet:
        """Give the set that has that key as long as its job is unfinished."""
        return self.unfinished[key[0] % len(self.unfinished)]

    def require_current(self) -> None:
        """Conflict if somebody drops the slice in the meantime."""
        if self._p_jar is not None and self._p_oid is not None:
            self._p_jar.readCurrent(self)

    def require_no_new_jobs(self) -> None:
        """Conflict if somebody adds a job in the meantime.

        That one cannot find out by itself if it commits first.
        """
        for keys in self.unfinished:
            for part in (keys, keys._firstbucket):  # noqa: SLF001 - its data
                if part._p_jar is not None:
                    part._p_jar.readCurrent(part)

    def is_used(self) -> bool:
        """Tell whether a job was ever put into it."""
        return any(tree.maxKey() != KEPT for tree in self.jobs)

    def records(self) -> Iterator[tuple[bytes, Record]]:
        """Give the records of all jobs in it, and their keys."""
        for tree in self.jobs:
            yield from tree.items(KEPT, excludemin=True)

    def unfinished_keys(self) -> Iterator[bytes]:
        """Give the keys of the jobs that have not ended."""
        for keys in self.unfinished:
            yield from keys.keys(KEPT, excludemin=True)

    def has_unfinished(self) -> bool:
        """Tell whether a job in it has not ended."""
        return any(keys.maxKey() != KEPT for keys in self.unfinished)


class Beat(Persistent):
    """The sign of life of a process: a number that grows."""

    count = 0
    #: What its running jobs have told, by sid; see :mod:`.reports`.
    reports: dict[str, tuple[Any, ...]] = {}  # noqa: RUF012 - set, not changed


class Store(Persistent):
    """The jobs of an application, in slices.

    A sid is the number of a slice and a key of 128 random bits in it.
    """

    format = FORMAT
    #: How long an outcome is kept, in seconds, if nothing else tells it.
    timeout: float = 3600

    def __init__(self, longest_timeout: float | None = None) -> None:
        # as an attribute of the instance, it is stored
        self.format = FORMAT
        self.slices = OOBTree()
        self.runners = OOBTree({"": None})
        if longest_timeout is None:
            longest_timeout = self.timeout
        self.open_slice(time.time(), longest_timeout)

    def open_slice(self, now: float, longest_timeout: float) -> None:
        """Make a new newest slice.

        Its number is the hour, or the next greater one if the clock was put
        back.
        """
        number = max(0, int(now // 3600))
        if self.slices:
            number = max(number, self.slices.maxKey() + 1)
        self.slices[number] = Slice(now, longest_timeout)

    def newest(self) -> tuple[int, Slice]:
        """Give the slice that new jobs go to, and its number."""
        number = self.slices.maxKey()
        return number, self.slices[number]

    def require_format(self) -> None:
        """Refuse what a later version has written.

        Raises:
            StoreNotUsable: it did.
        """
        if self.format > FORMAT:
            raise StoreNotUsable(
                f"The jobs in the database have the format {self.format}, and"
                f" this version of pyramid_zodb_async knows formats up to"
                f" {FORMAT}: install a later version"
            )

    def expect(self, timeout: float) -> None:
        """Keep the newest slice for jobs whose outcomes are kept so long.

        Done ahead, so that the first jobs of a slice do not conflict.
        """
        _, slice_ = self.newest()
        if slice_.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            slice_.longest_timeout = timeout

    def add(self, record: Record, timeout: float) -> str:
        """Put a new record into the newest slice, and give its sid."""
        number, slice_ = self.newest()
        slice_.require_current()
        self.expect(timeout)
        key = secrets.token_bytes(16)
        slice_.tree(key)[key] = record
        slice_.unfinished_of(key).add(key)
        return make_sid(number, key)

    def find(self, sid: str) -> Record | None:
        """Give the record of a job, unless it was removed."""
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
        """Give the record of a job that is there, whatever its state."""
        number, key = split_sid(sid)
        record: Record = self.slices[number].tree(key)[key]
        return record

    def change(self, sid: str, expected: Fence, **values: Any) -> Record:
        """Change a job's record: nothing else does.

        To be asked in every transaction that changes one, with what the
        caller believes of the record: another process may have changed it
        since.

        Raises:
            TakenOver: the record is not what was *expected*.
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
        """Have a job among the unfinished ones of its slice, or not."""
        number, key = split_sid(sid)
        slice_ = self.slices[number]
        unfinished = slice_.unfinished_of(key)
        if not is_revived:
            unfinished.remove(key)
            return
        slice_.require_current()
        unfinished.add(key)
        if slice_.keep_until is not None:  # its end was set; not any more
            slice_.keep_until = None

    def _keep_slice(self, sid: str, timeout: float) -> None:
        """Keep the slice of a job as long as its outcome is kept."""
        slice_ = self.slices[split_sid(sid)[0]]
        if slice_.longest_timeout < timeout:  # noqa: PLR1730 - no idle write
            slice_.longest_timeout = timeout

    def beat_of(self, runner: str) -> Beat:
        """Give the beat of a process, made now if need be."""
        beat: Beat | None = self.runners.get(runner)
        if beat is None:
            beat = self.runners[runner] = Beat()
        return beat

    def unfinished(self) -> Iterator[str]:
        """Give the sids of the jobs that have not ended."""
        for number, slice_ in self.slices.items():
            if slice_.keep_until is not None:
                continue
            for key in slice_.unfinished_keys():
                yield make_sid(number, key)
