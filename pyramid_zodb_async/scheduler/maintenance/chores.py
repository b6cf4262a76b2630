"""What a process does for its jobs beside running them."""

from collections.abc import Callable

from ...database.storages import is_for_one_process
from ..event_queue import EventQueue
from ..process.assigned_jobs import AssignedJobs
from ..process.dispatch import Dispatcher
from ..process.progress_reports import write_reports
from ..records import Store
from ..store.location import StoreLocation
from ..waiters import Waiters
from .expiry import SliceExpiry
from .observing import Observer
from .takeover import LIVE_INCARNATIONS, Takeover
from .thread import Chore, Housekeeper

__all__ = ["Maintenance"]

#: The time between two looks for what other processes have done, in seconds.
#: A cancel is to reach a job that runs elsewhere within a second.
LOOK_INTERVAL = 0.5

#: The least time between two writings of progress, in seconds.
REPORT_INTERVAL = 1.0

#: The least time until one of these is tried again after it failed: while a
#: storage is away, a log need not tell it twice a second.
PATIENCE = 5.0


class Maintenance:
    """Has the chores of a scheduler done, on one thread.

    Args:
        location: where the store is.
        jobs: the jobs that this process is to run.
        waiters: who waits for a job to change.
        incarnation: this process's identity.
        lease: how long another runner may be silent, in seconds.
        attempts: how many ends of its process a job may cause.
        timeout: gives the seconds for which an outcome is kept.
        event_queue: takes note of what happens to jobs.
        dispatcher: tells who is to run which jobs.
    """

    def __init__(  # noqa: PLR0913 - what it is about, and three figures
        self,
        location: StoreLocation,
        jobs: AssignedJobs,
        waiters: Waiters,
        incarnation: str,
        *,
        lease: float,
        attempts: int,
        timeout: Callable[[Store], float],
        event_queue: EventQueue,
        dispatcher: Dispatcher,
    ) -> None:
        self._event_queue = event_queue
        self._dispatcher = dispatcher
        self._location = location
        self._jobs = jobs
        self._waiters = waiters
        self._incarnation = incarnation
        self._lease = lease
        self._attempts = attempts
        self._timeout = timeout
        self._recovers = False
        self._winds_down = False
        self._housekeeper: Housekeeper | None = None
        self._observer = Observer(location, jobs, waiters, wake=self.wake)

    @property
    def is_running(self) -> bool:
        """Whether all the chores are being done."""
        return self._housekeeper is not None and not self._winds_down

    def does(self, *, recover: bool) -> bool:
        """Tell whether they are, those of recovery included if asked for."""
        return self.is_running and (self._recovers or not recover)

    def start(self, *, recover: bool) -> None:
        """Have the chores done from now on.

        Without *recover*, jobs of other processes are left to others.
        """
        if self._housekeeper is not None:
            self._housekeeper.stop()
        is_shared = not is_for_one_process(self._location.db.storage)
        self._recovers = recover
        self._winds_down = False
        LIVE_INCARNATIONS.add(self._incarnation)
        self._housekeeper = Housekeeper(
            self._slow_chores(is_shared=is_shared)
            + self._quick_chores(is_shared=is_shared)
        )
        self._housekeeper.start()

    def wind_down(self) -> None:
        """Do no more than what the jobs need that still run.

        That are signs of life, lest others take them over, and word of them.
        """
        self._winds_down = True

    def stop(self) -> None:
        """Have nothing done any more."""
        LIVE_INCARNATIONS.discard(self._incarnation)
        housekeeper, self._housekeeper = self._housekeeper, None
        if housekeeper is not None:
            housekeeper.stop()

    def wake(self) -> None:
        """See what is to be done: somebody has begun to wait."""
        housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.wake()

    def check_soon(self, sid: str) -> None:
        """Find out soon what others have done to a job of this process."""
        self._observer.check_soon(sid)

    def _slow_chores(self, *, is_shared: bool) -> list[Chore]:
        """Give what keeps jobs from being lost, and the store in order."""
        takeover = Takeover(
            self._location,
            self._jobs,
            self._incarnation,
            lease=self._lease if is_shared else None,
            attempts=self._attempts,
            timeout=self._timeout,
            event_queue=self._event_queue,
            dispatcher=self._dispatcher,
        )
        look = (
            takeover.take_over_lost
            if self._recovers
            else takeover.find_unassigned
        )
        tidy = SliceExpiry(self._location, self._event_queue).open_and_drop
        interval = self._lease / 3
        return [
            Chore(takeover.beat, interval),
            Chore(look, interval, is_wanted=lambda: not self._winds_down),
            Chore(tidy, interval, is_wanted=lambda: not self._winds_down),
        ]

    def _quick_chores(self, *, is_shared: bool) -> list[Chore]:
        """Give what keeps those up to date who look at a job."""
        observer = self._observer
        observer.is_shared = is_shared
        chores = [
            Chore(
                observer.observe, LOOK_INTERVAL, PATIENCE, observer.is_wanted
            )
        ]
        if is_shared:  # else whoever could read it asks this process
            chores.append(
                Chore(
                    self._write_reports,
                    REPORT_INTERVAL,
                    PATIENCE,
                    lambda: self._jobs.has_new_progress,
                )
            )
        return chores

    def _write_reports(self) -> None:
        jobs = self._jobs.take_running()
        self._location.write(
            lambda store: write_reports(store, self._incarnation, jobs),
            note=f"progress of the jobs of runner {self._incarnation}",
        )
