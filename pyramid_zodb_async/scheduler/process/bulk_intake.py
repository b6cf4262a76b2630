"""The jobs of bulks that come to this process, a window after the other."""

from typing import Any

from BTrees.IOBTree import IOBTree

from ...concurrency.moments import EndOfPause
from ...database.storages import is_for_one_process
from ..job_records import WINDOW
from ..records import JobRecord, Store
from .assigned_job import AssignedJob
from .intake import is_wanted
from .placing import NewBlock
from .this_process import ThisProcess

__all__ = ["NewBulk", "window_of"]


def window_of(step: float, lease: float) -> int:
    """Return how many jobs of a block are to be claimed at a time.

    A process gives signs of life while it has jobs. So those of a window are
    due within a lease.

    Args:
        step: the seconds from one job to the next.
        lease: the lease, in seconds.
    """
    return WINDOW if step * WINDOW <= lease else max(1, int(lease / step))


class NewBulk(NewBlock):
    """The jobs that one call of ``many()`` schedules.

    Args:
        process: this process.
        due: when the first one is due; ``None`` stands for at once.
        step: the seconds from one to the next.
    """

    def __init__(
        self, process: ThisProcess, due: float | None, step: float
    ) -> None:
        super().__init__(process)
        #: When the first one is due, and when those are that follow it.
        self._given = due
        self._due = EndOfPause.after(0) if step and due is None else due
        self._step = step
        #: The jobs to be handed over, with their records.
        self._jobs: list[tuple[JobRecord, AssignedJob]] = []

    def times(self) -> dict[str, Any]:
        """Return the attributes of the page that say when jobs are due."""
        return {
            "due": None if self._given is None else float(self._given),
            "step": self._step,
            "window": self._window(),
        }

    def _window(self) -> int:
        process = self._process
        # then it need not give any signs, and can take all jobs
        if is_for_one_process(process.location.db.storage):
            return WINDOW
        return window_of(self._step, process.lease)

    def claim_first(
        self, store: Store, *, claims: bool, runner: str | None
    ) -> None:
        """Claim the first window for this process, or for its messages.

        Args:
            store: the store, as the transaction sees it.
            claims: whether to; if not, any process may, when there is room.
            runner: the incarnation that runs the jobs; ``None`` for any.
        """
        new: Any = self.new
        page, count = new.page, 0
        if claims:
            count = page.size
            # nobody else takes further windows of this process's bulk in
            if count > page.window and self._process.dispatcher.runs_jobs:
                count = page.window
                page.windows = IOBTree({0: runner or ""})
        else:
            page.windows = IOBTree()
        for index in range(count):
            job = store.job_on(new, index)
            assigned = AssignedJob.of(job)
            assigned.wait_until(self._due_of(index))
            self._jobs.append((job.record, assigned))

    def _due_of(self, index: int) -> float | None:
        later = self._step * index
        if not later:
            return self._given
        if isinstance(self._due, EndOfPause):
            return EndOfPause(self._due + later, self._due.counted + later)
        return float(self._due) + later  # type: ignore[arg-type]

    def apply(self) -> None:
        """Hand the first jobs over, and note that others wait."""
        if self.new is None:
            return  # pragma: no cover - its scheduling has failed
        # else nothing looks at what is noted here, and who runs jobs later
        # finds the bulk in the database
        if self._process.dispatcher.runs_jobs:
            self._note()
        for record, job in self._jobs:
            if is_wanted(record):
                job.note_serial(record)
                self._process.commit_queue.add_job(job)
        self._process.wake_maintenance()

    def _note(self) -> None:
        """Note that the first window is claimed, and that others wait."""
        number, _, key, _ = self.new  # type: ignore[misc]
        bulks = self._process.bulks
        if isinstance(self._due, EndOfPause):
            bulks.pauses[number, key] = self._due
        bulks.claimed.add((number, key, 0))
        bulks.new.append((number, key))

    def leave_in_doubt(self) -> None:
        """Have the maintenance, if it runs, find out if there are jobs."""
        # the first is so as in apply()
        if self.new is not None and self._process.dispatcher.runs_jobs:
            number, _, key, _ = self.new
            self._process.bulks.new.append((number, key))
            self._process.to_settle.extend(job.sid for _, job in self._jobs)
