"""The chores of the maintenance thread, and when each of them is done."""

import contextlib

from ...database.storages import is_for_one_process
from ..process.progress_reports import write_reports
from ..process.this_process import ThisProcess
from ..records import TakenOver
from .expiry import SliceExpiry
from .live_incarnations import LIVE_INCARNATIONS, OWN_INCARNATIONS
from .observing import Observer
from .takeover import Takeover
from .thread import Chore, Housekeeper

__all__ = ["Maintenance"]

#: The seconds between two checks of what other processes have done. A cancel
#: by another process must reach a running job within a second.
CHECK_INTERVAL = 0.5

#: The least number of seconds between two writes of progress.
REPORT_INTERVAL = 1.0

#: The least number of seconds between two makings of pages.
PAGES_INTERVAL = 0.02

#: The seconds between two looks whether there is room for jobs of bulks.
INTAKE_INTERVAL = 0.05

#: The least number of seconds between two writes of what was forgotten. Other
#: processes must not show it a second later.
REMOVALS_INTERVAL = 0.25

#: The least number of seconds until one of these two is tried again after it
#: failed. While a storage is away, the log gets no message twice a second.
PATIENCE = 5.0


class Maintenance:
    """The maintenance of a scheduler's jobs, done by one thread.

    Args:
        process: this process.
    """

    def __init__(self, process: ThisProcess) -> None:
        self._process = process
        #: Whether the jobs of other incarnations are taken over.
        self._recovers = False
        self._housekeeper: Housekeeper | None = None
        self._observer = Observer(process)
        process.wake_maintenance = self.wake
        process.assigned_jobs.wake_maintenance = self.wake

    def does(self, *, recover: bool) -> bool:
        """Return whether :meth:`start` with this argument has been called.

        Args:
            recover: whether the jobs of other incarnations must be taken
                over.
        """
        return self._process.dispatcher.runs_jobs and (
            self._recovers or not recover
        )

    def start(self, *, recover: bool) -> None:
        """Start the thread, or have the one that runs do this.

        Args:
            recover: whether to take over the jobs of incarnations that are
                gone. If not, only jobs of this incarnation are looked for.

        Raises:
            RuntimeError: no thread can be started now.
        """
        process = self._process
        process.is_shared = not is_for_one_process(process.location.db.storage)
        process.assigned_jobs.needs_sign = process.is_shared
        self._recovers = recover
        # Before any job is assigned: on a storage for one process, another
        # scheduler of this process would take the jobs over at once.
        LIVE_INCARNATIONS.add(process.incarnation)
        OWN_INCARNATIONS.add(process.incarnation)
        # Before the thread starts, which asks what there is to do.
        process.dispatcher.runs_jobs = True
        housekeeper = self._housekeeper or Housekeeper()
        if not housekeeper.start(self._slow_chores() + self._quick_chores()):
            self.stop()
            raise RuntimeError(
                "No thread can be started to look after jobs, so this process"
                " runs none; it has too many threads, or is ending"
            )
        self._housekeeper = housekeeper
        # a waiter may have come before, and found no thread to wake
        housekeeper.wake()

    def wind_down(self) -> None:
        """Do only what the jobs need that still run.

        These are signs of life, so that no process takes the jobs over, and
        reports of their progress.
        """
        self._process.dispatcher.runs_jobs = False

    def stop(self) -> None:
        """Stop the thread; other processes may take over what still runs."""
        self._process.dispatcher.runs_jobs = False
        LIVE_INCARNATIONS.discard(self._process.incarnation)
        housekeeper, self._housekeeper = self._housekeeper, None
        if housekeeper is not None:
            housekeeper.stop()

    def wake(self) -> None:
        """Have the thread check what is to be done: there is a new waiter."""
        # in a local name, since another thread may call stop()
        housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.wake()

    def _runs_jobs(self) -> bool:
        return self._process.dispatcher.runs_jobs

    def _slow_chores(self) -> list[Chore]:
        """Return the chores of takeover, of expiry and of jobs left waiting.

        They are done three times in a lease: signs of life must come more
        often than the lease, and a silence must be seen at several checks.
        """
        takeover = Takeover(self._process)
        search = (
            takeover.take_over_lost
            if self._recovers
            else takeover.find_unassigned
        )
        tidy = SliceExpiry(self._process).open_and_drop
        interval = self._process.lease / 3
        jobs, pages = self._process.assigned_jobs, self._process.free_pages
        pages.is_used = True
        # The beat comes first, and also while the process stops: other
        # processes must see it while jobs still run here.
        return [
            Chore(takeover.heartbeat.beat, interval),
            # before the search, which may take long: until there are pages,
            # new jobs are listed
            Chore(
                takeover.shards.make_pages,
                PAGES_INTERVAL,
                PATIENCE,
                lambda: self._runs_jobs() and pages.missing > 0,
            ),
            Chore(search, interval, is_wanted=self._runs_jobs),
            Chore(tidy, interval, is_wanted=self._runs_jobs),
            Chore(
                takeover.bulks.take_in,
                INTAKE_INTERVAL,
                PATIENCE,
                lambda: self._runs_jobs() and takeover.bulks.are_wanted(),
            ),
            Chore(self._try_again, interval, is_wanted=self._runs_jobs),
            # for the first job at once: before that, others do not know for
            # how long this process may be silent
            Chore(
                takeover.heartbeat.beat,
                interval,
                is_wanted=lambda: jobs.needs_sign and len(jobs) > 0,
            ),
        ]

    def _quick_chores(self) -> list[Chore]:
        """Return the chores that let processes see the changes of others.

        And the one that lets suspects run when others have run for a while.
        """
        observer, jobs = self._observer, self._process.assigned_jobs
        chores = [
            Chore(
                self._write_removals,
                REMOVALS_INTERVAL,
                PATIENCE,
                lambda: len(self._process.removals) > 0,
            ),
            Chore(
                observer.observe, CHECK_INTERVAL, PATIENCE, observer.is_wanted
            ),
            Chore(
                jobs.submit_suspects,
                CHECK_INTERVAL,
                is_wanted=jobs.suspects_wait,
            ),
        ]
        if self._process.is_shared:  # else no other could read the reports
            chores.append(
                Chore(
                    self._write_reports,
                    REPORT_INTERVAL,
                    PATIENCE,
                    lambda: jobs.has_new_progress,
                )
            )
        return chores

    def _try_again(self) -> None:
        """Have the jobs run for which no thread could be started before.

        Else they would wait until another job comes to this process.
        """
        self._process.dispatcher.engine.submit([])

    def _write_removals(self) -> None:
        # else the store is gone, and with it its jobs
        with contextlib.suppress(TakenOver):
            self._process.removals.write(self._process.location)

    def _write_reports(self) -> None:
        process = self._process
        jobs = process.assigned_jobs.take_begun()
        process.location.write(
            lambda store: write_reports(
                store, process.incarnation, jobs, process.lease
            ),
            note=f"progress of the jobs of incarnation {process.incarnation}",
        )
