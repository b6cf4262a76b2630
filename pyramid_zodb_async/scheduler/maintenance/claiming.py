"""The transaction that takes jobs over from a process that is gone."""

import time
from collections.abc import Iterable

from ...concurrency.loggers import get_logger
from ...events import JobFailed
from ...exceptions import JobCrashed
from ...jobs.model import JobView
from ...jobs.options import Options
from ...transfer.failures import as_bytes, describe
from ..process.assigned_job import AssignedJob
from ..process.job_views import view_of_record
from ..process.this_process import ThisProcess
from ..records import Store, StoredJob
from ..sids import PageKey
from ..store.crash_counts import (
    MOST_SURVIVALS,
    CrashCounts,
    Death,
    counts_of,
    has_lived,
    too_many,
    with_death,
)
from ..store.transitions import End, fail
from .block_moves import Move
from .lost_jobs import LostJob
from .window_moves import Window, move_windows

__all__ = ["Claim", "log_takeover"]

log = get_logger(__name__)


class Claim:
    """The takeover of jobs in one transaction.

    Jobs that their blocks move are moved by one write of each block, as far as
    that is less than to write each of them.

    Args:
        store: the store.
        process: this process.
        death: the end of the process that had them. It may be this process,
            which has not ended, and then frees jobs that it does not run.
        batch: the jobs as a check has read them. If several were running, they
            are all in it.
    """

    def __init__(
        self,
        store: Store,
        process: ThisProcess,
        death: Death,
        batch: Iterable[LostJob],
    ) -> None:
        self._store = store
        self._process = process
        self._death = death
        self._is_own = death.incarnation == process.incarnation
        self._are_several = (
            not death.is_orderly and sum(lost.begun for lost in batch) > 1
        )
        self._blames_none = (
            self._is_own or death.is_orderly or self._are_several
        )
        self._now = time.time()

    def take(
        self, jobs: list[StoredJob]
    ) -> tuple[list[AssignedJob], list[JobView], list[Window]]:
        """Take over jobs, and fail those that ended their process too often.

        If another process writes one of the records at the same time, the
        commit conflicts, and they are read anew.

        Args:
            jobs: those of the batch that are as they were.

        Returns:
            The jobs that were taken over, views of those that have failed, and
            the windows that were moved with their jobs.
        """
        incarnation, beat = self._death.incarnation, self._death.beat
        if beat is not None and has_lived(self._store, incarnation, beat):
            return [], [], []  # it has given a sign of life just now
        announcer = self._process.commit_queue.announcer
        has_subscribers = announcer.has_subscribers(JobFailed)
        claimed, ended = [], []
        moves = self._moves(jobs)
        windows = [] if self._is_own else self._move_windows(jobs)
        moved = {job.sid for move in moves for job in move.jobs}
        for found in jobs:
            job: StoredJob | None = found
            if found.sid in moved:
                claimed.append(found)
                continue
            if found.record._p_jar is None:  # it was recalled
                job = self._store.locate(found.sid, found.place)
            if job is None or job.fence != found.fence:
                continue  # pragma: no cover - it has changed since the look
            if self._take_one(job):
                claimed.append(job)
            elif has_subscribers:
                ended.append(view_of_record(job))
        for move in moves:  # when the others of their blocks have own values
            move.make(self._store, self._process.incarnation)
        return [AssignedJob.of(job) for job in claimed], ended, windows

    def _move_windows(self, jobs: list[StoredJob]) -> list[Window]:
        """Move the windows that have no other jobs."""
        own = [job for job in jobs if self._runs(job)]
        return move_windows(own, self._process.incarnation)

    def _moves(self, jobs: list[StoredJob]) -> list[Move]:
        """Return the blocks that are to be moved, each with its jobs."""
        by_block: dict[tuple[int, PageKey, bool], list[StoredJob]] = {}
        for job in jobs:
            # What a block moves has neither begun nor crashed: a mark of that
            # gives it values of its own.
            if job.moves_with_block and self._runs(job):
                number, page, *_ = job.place
                key = number, page, self._is_suspect(job)
                by_block.setdefault(key, []).append(job)
        moves = (
            Move(alike, suspect=suspect)
            for (*_, suspect), alike in by_block.items()
        )
        return [move for move in moves if move.is_worth_it()]

    def _runs(self, job: StoredJob) -> bool:
        queue = Options.load(job.definition.options).queue
        return self._process.dispatcher.runs(queue)

    def _take_one(self, job: StoredJob) -> bool:
        """Take over a job by a write of its record, unless it fails."""
        record, process = job.record, self._process
        counts = counts_of(self._store, record)
        # A run that is marked as begun has not ended, but its process has,
        # unless it is this one: then nobody has noticed the claim.
        if record.begun and not self._blames_none:
            counts = with_death(counts, self._death)
        options = Options.load(job.definition.options)
        attempts = options.attempts or process.attempts
        if too_many(counts, record.failures, attempts):
            _give_up(self._store, job, process, options, counts)
            return False
        fence = job.fence
        job.change(
            fence,
            # without a runner, the worker that gets the message claims it
            runner=process.incarnation if self._runs(job) else None,
            # The fence: an incarnation that is not dead, but was cut off,
            # cannot write for its run any more.
            run_number=fence.run_number + 1,
            suspect=self._is_suspect(job),
            # counted by now, and must not be counted again
            begun=False,
            alone=record.alone or (record.begun and self._are_several),
            **counts._asdict(),
        )
        return True

    def _is_suspect(self, job: StoredJob) -> bool:
        """Return whether a job may have ended the process that had it.

        One that nobody had, or that was not due, has not run. Nor has one
        that waited when its process ended in order.
        """
        if self._is_own or self._death.clears(job.sid):
            return job.suspect
        due = job.due
        if due is not None and due > self._now:
            return job.record.begun
        # it may have run without a claim
        return job.suspect or self._death.incarnation is not None


def log_takeover(death: Death, taken: int) -> None:
    """Log that jobs were taken over.

    Args:
        death: the end of the process that had them.
        taken: how many they are.
    """
    incarnation = death.incarnation
    log.info(
        "Took over %d jobs of %s%s.",
        taken,
        f"the incarnation {incarnation}" if incarnation else "nobody",
        ", which has ended in order" if death.is_orderly else "",
        extra={"action": "jobs_taken_over", "incarnation": incarnation},
    )


def _give_up(
    store: Store,
    job: StoredJob,
    process: ThisProcess,
    options: Options,
    counts: CrashCounts,
) -> None:
    """Record that a job failed, since it ended its process too often."""
    times = _times(counts.crashes)
    reason = f"The process ended {times} while the job ran"
    if counts.survivals >= MOST_SURVIVALS:
        reason = (
            f"{counts.survivals} processes gave no sign of life for too long"
            " while the job ran, though they had not ended"
        )
    error = JobCrashed(reason)
    log.error(
        "Job %s failed: %s: %s.",
        job.sid,
        reason,
        job.definition.function,
        extra={"action": "job_crashed", "sid": job.sid},
    )
    timeout = store.outcome_timeout(options, process.timeout)
    fail(
        job,
        job.fence,
        End.now(timeout),
        describe(error),
        as_bytes(error),
    )


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"
