"""What a process does for its jobs beside running them."""

from collections.abc import Callable

from ...database.storages import is_for_one_process
from ..event_queue import News
from ..process.assigned_jobs import HeldJobs
from ..process.dispatch import Routes
from ..process.progress_reports import write_reports
from ..records import Store
from ..store.location import Place
from ..waiters import Watches
from .expiry import Janitor
from .observing import Outlook
from .takeover import LIVE, Recovery
from .thread import Chore, Housekeeper

__all__ = ["Upkeep"]

#: The time between two looks for what other processes have done, in seconds.
#: A cancel is to reach a job that runs elsewhere within a second.
LOOK_INTERVAL = 0.5

#: The least time between two writings of progress, in seconds.
REPORT_INTERVAL = 1.0

#: The least time until one of these is tried again after it failed: while a
#: storage is away, a log need not tell it twice a second.
PATIENCE = 5.0


class Upkeep:
    """Has the chores of a scheduler done, on one thread.

    Args:
        place: where the store is.
        jobs: the jobs that this process is to run.
        watches: who waits for a job to change.
        runner: this process's identity.
        lease: how long another runner may be silent, in seconds.
        attempts: how many ends of its process a job may cause.
        timeout: gives the seconds for which an outcome is kept.
        news: takes note of what happens to jobs.
        routes: tells who is to run which jobs.
    """

    def __init__(  # noqa: PLR0913 - what it is about, and three figures
        self,
        place: Place,
        jobs: HeldJobs,
        watches: Watches,
        runner: str,
        *,
        lease: float,
        attempts: int,
        timeout: Callable[[Store], float],
        news: News,
        routes: Routes,
    ) -> None:
        self._news = news
        self._routes = routes
        self._place = place
        self._jobs = jobs
        self._watches = watches
        self._runner = runner
        self._lease = lease
        self._attempts = attempts
        self._timeout = timeout
        self._recovers = False
        self._winds_down = False
        self._housekeeper: Housekeeper | None = None
        self._outlook = Outlook(place, jobs, watches, wake=self.wake)

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
        is_shared = not is_for_one_process(self._place.db.storage)
        self._recovers = recover
        self._winds_down = False
        LIVE.add(self._runner)
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
        LIVE.discard(self._runner)
        housekeeper, self._housekeeper = self._housekeeper, None
        if housekeeper is not None:
            housekeeper.stop()

    def wake(self) -> None:
        """See what is to be done: somebody has begun to wait."""
        housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.wake()

    def ask(self, sid: str) -> None:
        """Find out soon what others have done to a job of this process."""
        self._outlook.ask(sid)

    def _slow_chores(self, *, is_shared: bool) -> list[Chore]:
        """Give what keeps jobs from being lost, and the store in order."""
        recovery = Recovery(
            self._place,
            self._jobs,
            self._runner,
            lease=self._lease if is_shared else None,
            attempts=self._attempts,
            timeout=self._timeout,
            news=self._news,
            routes=self._routes,
        )
        look = recovery.look if self._recovers else recovery.look_for_lost
        tidy = Janitor(self._place, self._news).tidy
        interval = self._lease / 3
        return [
            Chore(recovery.tick, interval),
            Chore(look, interval, is_wanted=lambda: not self._winds_down),
            Chore(tidy, interval, is_wanted=lambda: not self._winds_down),
        ]

    def _quick_chores(self, *, is_shared: bool) -> list[Chore]:
        """Give what keeps those up to date who look at a job."""
        outlook = self._outlook
        outlook.is_shared = is_shared
        chores = [
            Chore(outlook.look, LOOK_INTERVAL, PATIENCE, outlook.is_wanted)
        ]
        if is_shared:  # else whoever could read it asks this process
            chores.append(
                Chore(
                    self._write_reports,
                    REPORT_INTERVAL,
                    PATIENCE,
                    lambda: self._jobs.has_news,
                )
            )
        return chores

    def _write_reports(self) -> None:
        jobs = self._jobs.take_news()
        self._place.write(
            lambda store: write_reports(store, self._runner, jobs),
            note=f"progress of the jobs of runner {self._runner}",
        )
