"""What the log says of jobs that this process schedules and does not run."""

from typing import Any

from ...database.storages import describe_storage, keeps_its_commits
from ...interfaces import Connections
from ..commit_queue import LogLine
from ..records import StoredJob
from ..transaction_changes import CertainChange
from .intake import is_wanted
from .this_process import ThisProcess

__all__ = ["note_left"]

#: What the log says where a server can run the job, or does already.
SERVED = LogLine(
    "jobs_left",
    "This process runs no jobs: a process that does will run %s (%s), and what"
    " else is scheduled here.",
)


def note_left(
    process: ThisProcess, connections: Connections, job: StoredJob
) -> None:
    """Have the log tell who will run a job, if this process runs none.

    That is so in a script, and in a process that has stopped its scheduler.
    The log tells it once, when the transaction has committed.

    Args:
        process: this process.
        connections: those of the transaction that schedules or retries the
            job.
        job: the job, without a runner.
    """
    if not (process.dispatcher.runs_jobs or process.has_told_of_left):
        manager = connections.transaction_manager
        process.changes.of(manager).add(_Left(process, job))


class _Left(CertainChange):
    """A job that the transaction leaves to other processes."""

    def __init__(self, process: ThisProcess, job: StoredJob) -> None:
        self._process = process
        self._job = job
        self._function = job.definition.function or ""
        storage = process.location.db.storage
        self._line = _kept(storage) if keeps_its_commits(storage) else SERVED

    def apply(self) -> None:
        process = self._process
        if is_wanted(self._job.record) and not process.has_told_of_left:
            process.has_told_of_left = True
            process.commit_queue.add_line(
                self._line, self._job.sid, self._function
            )


def _kept(storage: Any) -> LogLine:
    """Return what the log says where no server can run the job now."""
    return LogLine(
        "jobs_left",
        "This process runs no jobs, and no other process can open this"
        f" {describe_storage(storage)} now: %s (%s), and what else is"
        " scheduled here, waits until start() of the scheduler (IScheduler) is"
        " called here, or until a server opens the database after this"
        " process.",
        is_warning=True,
    )
