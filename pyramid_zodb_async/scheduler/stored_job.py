"""A job in the database as one connection sees it, and its only writer."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ZODB.POSException import POSKeyError

from ..database.internals import require_serial
from ..exceptions import JobCancelled
from ..jobs.class_paths import stored_at
from ..jobs.model import JobState
from .contents import Parts, load_arguments, load_call, load_form
from .job_records import AS_BLOCK, REMOVED, JobRecord, Page
from .sids import PageKey, Place, sid_of
from .slices import Slice

__all__ = [
    "Fence",
    "LocatedPage",
    "StoredJob",
    "TakenOver",
    "move_block",
    "shared_fence",
]


@stored_at("pyramid_zodb_async.scheduler.records")
class TakenOver(JobCancelled):
    """A run may not change the job's record: it was taken over, or ended."""


@stored_at("pyramid_zodb_async.scheduler.records")
class Fence(NamedTuple):
    """What a process that changes a record must know of its current state."""

    state: str
    runner: str | None
    run_number: int


#: Makes a fence, or returns an equal one: very many jobs of a process wait.
shared_fence = functools.lru_cache(maxsize=1024)(Fence)


class LocatedPage(NamedTuple):
    """A page as one connection sees it, and where that is."""

    #: The number of the slice, and the slice.
    number: int
    slice_: Slice
    #: The key of the page in the slice.
    key: PageKey
    page: Page

    def sid(self, index: int | None = None) -> str:
        """Return the sid of a job on the page.

        Args:
            index: its index, if the page is a block.
        """
        return sid_of(self.number, self.key, self.page.secret, index)

    def signer(self) -> Callable[[int], str]:
        """Return a function that returns the sid of the job with an index.

        It may be used when the transaction is over.
        """
        number, _, key, page = self
        return functools.partial(sid_of, number, key, page.secret)


class StoredJob(NamedTuple):
    """A job as one connection sees it: its record, and where that is."""

    sid: str
    place: Place
    #: The store, loaded by the connection.
    store: Any
    slice_: Slice
    record: JobRecord
    #: The page of its block; ``None`` if it is in none.
    block: Page | None = None

    @property
    def definition(self) -> JobRecord:
        """What has its function, owner and options."""
        record, block = self.record, self.block
        return record if block is None or record.function else block

    @property
    def runner(self) -> str | None:
        """The incarnation that is to run it; ``None`` if there is none yet."""
        runner = self.record.runner
        if runner == AS_BLOCK and self.block is not None:
            return self.block.runner_of(self.place.cell or 0)
        return runner

    @property
    def is_as_block(self) -> bool:
        """Whether it is pending, and has no runner of its own.

        The jobs of a block that has windows count as having one.
        """
        record, block = self.record, self.block
        return (
            block is not None
            and record.runner == AS_BLOCK
            and record.state == JobState.PENDING
            and block.windows is None
        )

    @property
    def moves_with_block(self) -> bool:
        """Whether a write of the page of its block moves it as well.

        The jobs of a block that is listed are moved one by one: other
        processes than that of the block look after them.
        """
        block = self.block
        return block is not None and not block.listed and self.is_as_block

    @property
    def run_number(self) -> int:
        """What grows with each takeover, claim and retry.

        As long as the block tells it, it counts from that one's; an end keeps
        what it was.
        """
        record, block = self.record, self.block
        number = record.run_number
        # first what is nearly always so
        if block is None or not block.run_number or not self.is_as_block:
            return number
        return number + block.run_number

    @property
    def suspect(self) -> bool:
        """Whether it was taken over: it may have ended its process."""
        record, block = self.record, self.block
        if block is None or not block.suspect or not self.is_as_block:
            return record.suspect
        return True

    @property
    def is_gone(self) -> bool:
        """Whether it was removed, or has ended and was forgotten."""
        record, place = self.record, self.place
        state = record.state
        # first what is so for all jobs that wait
        if state == JobState.PENDING:
            return False
        return state == REMOVED or self.slice_.has_forgotten(
            place.page, place.cell, record.run_number
        )

    @property
    def due(self) -> float | None:
        """When its next run is to begin; ``None`` stands for at once."""
        due, block = self.record.due, self.block
        if due is None and block is not None:
            return block.due_of(self.place.cell or 0)
        return due

    @property
    def fence(self) -> Fence:
        """The state of the record that a later change has to expect."""
        return shared_fence(self.record.state, self.runner, self.run_number)

    def parts(self) -> Parts | None:
        """Return its call as it was stored; ``None`` if it has none.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
        """
        call, block, jar = self.record.call, self.block, self.store._p_jar
        if call is None:
            return None
        if isinstance(call, tuple) and isinstance(call[0], tuple):
            parts: Parts = None, *load_arguments(call, jar)
        else:
            parts = load_call(call, jar)
        if parts[0] is None and block is not None:
            # the page of the block has the function
            parts = load_form(block.call, jar), *parts[1:]
        return parts

    def change(self, expected: Fence, **values: Any) -> None:
        """Set attributes of the record; no other code may change records.

        *expected* is its state as the caller knows it. Another process may
        have changed it since: what this transaction sees is compared here,
        and of two concurrent changes one commit conflicts.

        A job that is as its block says gets values of its own, and conflicts
        with a move of the block.

        Raises:
            TakenOver: the record is gone, or not as *expected*.
        """
        record, slice_ = self.record, self.slice_
        try:
            fence = self.fence
        except POSKeyError:  # it was dropped and packed since it was located
            fence = None
        if fence != expected:
            raise TakenOver(f"The job {self.sid} is not this run's any more")
        had_ended = record.state != JobState.PENDING
        if self.is_as_block:
            values = {**self._leave_block(values), **values}
        record.change(**values)
        if record.finished is not None and record.expires is not None:
            slice_.expect(record.expires - record.finished)
        if record.state == JobState.PENDING:
            if had_ended or not (record.listed or self._is_looked_after()):
                self.list_for_all()
        elif not had_ended and record.listed:
            slice_.unlist_job(self.place.page, self.place.cell)

    def _leave_block(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return what the record needs to say that the block has told.

        An end keeps the number alone, so it is not shown again when the block
        moves. Without a move before, that is none.
        """
        block = self.block
        if block is not None and block._p_jar is not None:
            # A move does not write the record, so only this has one of the
            # two commits conflict.
            block._p_jar.readCurrent(block)
        if values.get("state", JobState.PENDING) != JobState.PENDING:
            return {"run_number": self.run_number}
        return {
            "runner": self.runner,
            "run_number": self.run_number,
            "suspect": self.suspect,
        }

    def _is_looked_after(self) -> bool:
        """Return whether a process is sure to look at the pending job.

        If another process than the one of its window is to run it, nobody
        would, as long as that one lives.
        """
        block, runner = self.block, self.record.runner
        if block is None or runner in {None, AS_BLOCK}:
            return bool(self.runner)
        claimer = block.runner_of(self.place.cell or 0)
        is_shared = block.listed or block.windows is not None
        return not is_shared or claimer in {None, runner}

    def list_for_all(self) -> None:
        """Have all processes look at the job, which no shard tells of."""
        number, page, index, _ = self.place
        self.record.change(listed=True)
        self.slice_.list_job(page, index)
        newest_number, newest = self.store.newest()
        if number != newest_number:
            newest.note_revival(self.sid, self.run_number)


def move_block(
    block: Page,
    cells: Iterable[tuple[JobRecord, bytes]],
    runner: str,
    *,
    suspect: bool,
) -> None:
    """Move the jobs of a block to another process, by a write of its page.

    Args:
        block: the page of the block.
        cells: the records of all of its jobs that it moves, see
            :attr:`StoredJob.moves_with_block`, each with its serial when it
            was read. A job that is not to be moved is changed before, which
            gives it values of its own.
        runner: the incarnation of that process.
        suspect: whether they may have ended their process.
    """
    for cell, serial in cells:
        # Whoever changes it does not write the page. So this has one of the
        # two commits conflict, and change() does if the other one is later.
        require_serial(cell, serial)
    block.change(
        runner=runner, run_number=block.run_number + 1, suspect=suspect
    )
