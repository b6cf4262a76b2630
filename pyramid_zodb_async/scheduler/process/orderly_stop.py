"""The word of a process that it has ended in order.

It is on the beat of the process. No job is to blame for such an end, and
others need not wait until the silence has lasted for a lease. What the process
has noted and not written yet is written before.
"""

import contextlib
import os
import sys
from collections.abc import Iterable

from ...concurrency.loggers import get_logger
from ...concurrency.threads import start_thread
from ..records import Store, TakenOver
from .this_process import ThisProcess

__all__ = ["OrderlyStop"]

log = get_logger(__name__)

#: For how many seconds a process that stops waits for the storage.
PATIENCE = 5.0


class OrderlyStop:
    """Tells that this process has ended in order, and takes that back.

    It writes once for each stop, and only if there are jobs that others have
    to take over.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        #: The process that has started jobs, and not a child of it.
        self._pid: int | None = None
        #: What is said, or was last: the sids of the jobs that still ran. A
        #: write that comes late says nothing if it is ``None`` by then.
        self._running: tuple[str, ...] | None = None
        #: Whether something was said that may still stand in the database.
        self._has_told = False

    def revoke(self) -> None:
        """Say nothing from now on, as this process is to run jobs.

        What stands in the database is taken back by :meth:`take_back`.
        """
        self._pid = os.getpid()
        self._running = None

    def take_back(self, store: Store) -> None:
        """Give a sign of life if this process has said that it ended.

        Args:
            store: the store. It is written also if nothing stands there, so
                that a write that comes late conflicts.
        """
        if self._has_told:
            beat = store.beat_of(self._process.incarnation)
            beat.sign(self._process.lease)

    def prepare(self, left: Iterable[str]) -> bool:
        """Note what there is to say.

        To be called when no other thread starts this process again.

        Args:
            left: the sids of the jobs that the engine still runs.

        Returns:
            Whether :meth:`tell` is to be called: this process has jobs that
            have not ended, or removals to write.
        """
        if sys.is_finalizing():
            # No other thread runs any more: whoever waited for one, or for a
            # storage that needs one, would wait for ever.
            return False  # pragma: no cover - nothing is measured by then
        jobs = self._process.assigned_jobs
        # some may be about to come, from commits that just succeeded
        if self._pid != os.getpid():
            return False
        if len(jobs) or jobs.expected > 0:
            running = {job.sid for job in jobs.running()}
            # with those that are about to begin
            self._running = tuple(sorted(running.union(left)))
            self._has_told = True
            return True
        return len(self._process.removals) > 0

    def tell(self) -> None:
        """Say in the database that this process has ended in order.

        A process that stops must not wait for a storage that does not answer,
        so this takes five seconds at most, and never raises.
        """
        # whoever presses Ctrl-C wants no more of the wait
        with contextlib.suppress(KeyboardInterrupt):
            self._tell_in_time()

    def _tell_in_time(self) -> None:
        thread = start_thread(
            "end",
            self._tell,
            action="end_not_told_by_thread",
            missing="A thread that tells that this process has ended cannot"
            " be started now; the stop waits for the storage, however long"
            " that takes.",
        )
        if thread is None:
            self._tell()
            return
        thread.join(PATIENCE)
        if thread.is_alive():
            log.warning(
                "The storage has not answered for %g s; others may not learn"
                " that this process has ended in order. Then they run its"
                " jobs with caution, one after the other at first.",
                PATIENCE,
                extra={"action": "end_not_told"},
            )

    def _tell(self) -> None:
        location = self._process.location
        try:
            if not location.db.databases:
                if self._running is None:
                    return  # what was forgotten is there until it expires
                log.warning(
                    "The database was closed before the scheduler of jobs was"
                    " stopped, so others do not learn that this process has"
                    " ended in order: call stop() of the scheduler first.",
                    extra={"action": "end_not_told"},
                )
                return
            # else the store was removed, with its jobs
            with contextlib.suppress(TakenOver):
                self._write_all()
        except Exception:
            log.warning(
                "Others do not learn that this process has ended in order;"
                " they run its jobs with caution, one after the other at"
                " first.",
                exc_info=True,
                extra={"action": "end_not_told"},
            )

    def _write_all(self) -> None:
        location, name = self._process.location, self._process.incarnation
        if self._running is not None:
            location.write(
                self._write, note=f"incarnation {name} ended in order"
            )
        # last: others wait for the word, and for this nobody does
        self._process.removals.write(location)

    def _write(self, store: Store) -> None:
        # read once: another thread may start this process again
        running = self._running
        if running is not None:
            store.beat_of(self._process.incarnation).end(running)
