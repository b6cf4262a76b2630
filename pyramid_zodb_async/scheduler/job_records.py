"""The persistent records of jobs: one object for each job.

Do not move or rename the classes: databases find them by module and name.
"""

from collections.abc import Iterator
from typing import Any

from persistent import Persistent

from ..jobs.class_paths import stored_at
from ..jobs.model import Failure, JobState
from .contents import Contents, Outcome

__all__ = [
    "AS_BLOCK",
    "REMOVED",
    "WINDOW",
    "Cell",
    "JobRecord",
    "Page",
    "Record",
    "with_long_names",
]

REMOVED = "removed"

#: The runner of a job of a block that is the one of its window, or of its
#: page. Then that tells its run number, too, and whether it is a suspect.
AS_BLOCK = ""

#: How many jobs of a block one process claims at a time.
WINDOW = 500


class JobRecord(Persistent):
    """A job as plain data; calls and results that are not are other objects.

    So polls, takeover and expiry load no objects of the application.
    Attributes that have their defaults are not stored, and those that only
    another version of this package knows are kept as they are. Moments are
    seconds since the epoch.
    """

    # What defines the job, and never changes; for the jobs of a block, the
    # page of the block has it.

    #: The name of what it calls; ``None`` if it is told elsewhere.
    function: str | None = None
    scheduled: float = 0.0
    owner: str | None = None
    #: The type of the userid; ``None`` in jobs of earlier versions.
    owner_kind: str | None = None
    base_url: str | None = None
    #: How it is to be run, as ``Options.stored()`` returns it.
    options: tuple[tuple[str, Any], ...] = ()

    # What becomes of it.

    state: str = JobState.PENDING.value
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
    #: Whether the unfinished jobs of its slice list it, so that all processes
    #: look at it.
    listed = False
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
    call: Any = None
    #: The result, if that is plain and small.
    value: Any = None
    #: Any other result, or the exception.
    outcome: Contents | Outcome | None = None

    def change(self, **values: Any) -> None:
        """Set attributes; only :meth:`StoredJob.change` may call this."""
        self._p_activate()
        own, defaults = self.__dict__, type(self)
        changed = {
            name: value
            for name, value in values.items()
            if own.get(name, getattr(defaults, name)) != value
        }
        if not changed:
            return  # a write of the same values could conflict
        # not by setattr(), for to tell the database once is enough
        self._p_changed = True
        for name in own.keys() & changed.keys():
            if changed[name] == getattr(defaults, name):
                del own[name], changed[name]
        own.update(changed)

    @property
    def failure(self) -> Failure | None:
        """Why the job failed; ``None`` if it did not."""
        return None if self.error is None else Failure.load(self.error)


@stored_at("pyramid_zodb_async.scheduler.records")
class Record(JobRecord):
    """A job of a store of format 1."""

    #: All of them are in the unfinished jobs of their slice.
    listed = True


#: By what the names of attributes are stored. There are two records for each
#: job, so names would be a fifth of what is written.
SHORT_NAMES = {
    "function": "f",
    "scheduled": "t",
    "owner": "o",
    "owner_kind": "k",
    "base_url": "u",
    "options": "p",
    "state": "s",
    "due": "d",
    "attempt": "a",
    "failures": "n",
    "run_number": "r",
    "runner": "i",
    "started": "b",
    "finished": "e",
    "expires": "x",
    "call": "c",
    "value": "v",
    "outcome": "w",
    "error": "y",
    "secret": "z",
}

LONG_NAMES = {short: name for name, short in SHORT_NAMES.items()}


class ShortRecord(JobRecord):
    """A record whose names are stored in a short form.

    Names that this version of the package does not know stay as they are.
    """

    def __getstate__(self) -> dict[str, Any]:
        return _renamed(super().__getstate__(), _SHORT)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(with_long_names(state))


def with_long_names(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a record by their names.

    Args:
        state: what is stored of it, in any format.
    """
    return _renamed(state, _LONG)


class _Names(dict[str, str]):
    """Other names of attributes; one that has none keeps its own."""

    def __missing__(self, name: str) -> str:
        return name


_SHORT, _LONG = _Names(SHORT_NAMES), _Names(LONG_NAMES)


def _renamed(state: dict[str, Any], names: _Names) -> dict[str, Any]:
    return {names[name]: value for name, value in state.items()}


@stored_at("pyramid_zodb_async.scheduler.records")
class Page(ShortRecord):
    """The place of one job, or of a block; made ahead, and empty at first.

    So to schedule a job writes this object and no other.
    """

    #: What signs the sids of its jobs, 16 random bytes for each transaction
    #: that writes it: one that is aborted gives it back, and has shown sids.
    secret = b""
    #: Whether nothing may be written to it, though it is empty.
    closed = False
    #: How many jobs it has, if it is a block: then it tells what they have in
    #: common, and its call is the function alone.
    size = 0
    #: By how many seconds each job of it is due later than the one before.
    step = 0.0
    #: How many jobs of it a process claims at a time.
    window = WINDOW
    #: The incarnations that have claimed some, an ``IOBTree`` by the number of
    #: their window; an empty name says that any process may run these. Without
    #: it the runner has claimed all.
    windows: Any = None
    #: The jobs of a block, an ``IOBTree`` by their indexes.
    cells: Any = None
    #: The indexes of those that have not ended, and perhaps of some that have,
    #: an ``IITreeSet``.
    open: Any = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was written to it so far."""
        return self.function is None and not self.closed

    def jobs(
        self, *, unclaimed: bool = True
    ) -> Iterator[tuple[int | None, JobRecord]]:
        """Return the jobs that are here, of a block those that are open.

        Args:
            unclaimed: whether to return those that no process has claimed.

        Returns:
            An iterator over indexes and records; the index is ``None`` if the
            page is the record.
        """
        if self.cells is not None:
            for index in self.open or ():
                if unclaimed or self.is_claimed(index):
                    yield index, self.cells[index]
        elif self.function is not None:
            yield None, self

    def is_claimed(self, index: int) -> bool:
        """Return whether a process has claimed a job of the block."""
        return self.windows is None or index // self.window in self.windows

    def runner_of(self, index: int) -> str | None:
        """Return the incarnation that has claimed a job of the block."""
        if self.windows is None:
            return self.runner
        return self.windows.get(index // self.window) or None

    def due_of(self, index: int) -> float | None:
        """Return when a job of the block is due, by the block."""
        later = self.step * index
        if self.due is None:
            # at once, but for those that are spread over some time
            return self.scheduled + later if later else None
        return self.due + later

    def bounds(self, window: int) -> tuple[int, int]:
        """Return the indexes of the first and the last job of a window."""
        if self.windows is None:
            return 0, self.size - 1
        first = window * self.window
        return first, min(first + self.window, self.size) - 1

    def next_window(self) -> int | None:
        """Return the first window that nobody has claimed, if there is one."""
        if self.windows is None:
            return None
        number: int = self.windows.maxKey() + 1 if self.windows else 0
        return number if number * self.window < self.size else None


@stored_at("pyramid_zodb_async.scheduler.records")
class Cell(ShortRecord):
    """A job of a block, which tells what the page of the block does not."""

    runner: str | None = AS_BLOCK
