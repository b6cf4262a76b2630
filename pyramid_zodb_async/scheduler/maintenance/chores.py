"""The chores of the maintenance thread, and when each of them is done."""

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

#: The seconds between two checks of what other processes have done. A cancel
#: by another process must reach a running job within a second.
CHECK_INTERVAL = 0.5

#: The least number of seconds between two writes of progress.
REPORT_INTERVAL = 1.0

#: The least number of seconds until one of these two is tried again after it
#: failed. While a storage is away, the log gets no message twice a second.
PATIENCE = 5.0


class Maintenance:
    """The maintenance of a scheduler's jobs, done by one thread.

    Args:
        location: where the store is.
        jobs: the jobs that are assigned to this process.
        waiters: the waiters of this process.
        incarnation: the identity of this process as one that runs jobs.
        lease: after how many seconds without a sign of life the jobs of
            another incarnation are taken over.
        attempts: how many attempts at a job may fail, or end their process,
            if its options set no number.
        timeout: returns for how many seconds outcomes are stored by default.
        event_queue: delivers the events of jobs that fail or expire here.
        dispatcher: decides which process runs a job.
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
        #: Whether the jobs of other incarnations are taken over.
        self._recovers = False
        #: Whether only the chores are done that running jobs need.
        self._winds_down = False
        self._housekeeper: Housekeeper | None = None
        self._observer = Observer(location, jobs, waiters, wake=self.wake)

    @property
    def is_running(self) -> bool:
        """Whether the thread runs, with all its chores."""
        return self._housekeeper is not None and not self._winds_down

    def does(self, *, recover: bool) -> bool:
        """Return whether :meth:`start` with this argument has been called.

        Args:
            recover: whether the jobs of other incarnations must be taken
                over.
        """
        return self.is_running and (self._recovers or not recover)

    def start(self, *, recover: bool) -> None:
        """Start the thread; one that runs is replaced.

        Args:
            recover: whether to take over the jobs of incarnations that are
                gone. If not, only jobs of this incarnation are looked for.
        """
        if self._housekeeper is not None:
            self._housekeeper.stop()
        is_shared = not is_for_one_process(self._location.db.storage)
        self._recovers = recover
        self._winds_down = False
        # Before any job is assigned: on a storage for one process, another
        # scheduler of this process would take the jobs over at once.
        LIVE_INCARNATIONS.add(self._incarnation)
        self._housekeeper = Housekeeper(
            self._slow_chores(is_shared=is_shared)
            + self._quick_chores(is_shared=is_shared)
        )
        self._housekeeper.start()

    def wind_down(self) -> None:
        """Do only what the jobs need that still run.

        These are signs of life, so that no process takes the jobs over, and
        reports of their progress.
        """
        self._winds_down = True

    def stop(self) -> None:
        """Stop the thread; other processes may take over what still runs."""
        LIVE_INCARNATIONS.discard(self._incarnation)
        housekeeper, self._housekeeper = self._housekeeper, None
        if housekeeper is not None:
            housekeeper.stop()

    def wake(self) -> None:
        """Have the thread check what is to be done: there is a new waiter."""
        # in a local name, since another thread may call stop()
        housekeeper = self._housekeeper
        if housekeeper is not None:
            housekeeper.wake()

    def check_soon(self, sid: str) -> None:
        """Have the database checked soon for a job of this process.

        Args:
            sid: the sid of the job.
        """
        self._observer.check_soon(sid)

    def _slow_chores(self, *, is_shared: bool) -> list[Chore]:
        """Return the chores of takeover and of expiry.

        They are done three times in a lease: signs of life must come more
        often than the lease, and a silence must be seen at several checks.
        """
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
        search = (
            takeover.take_over_lost
            if self._recovers
            else takeover.find_unassigned
        )
        tidy = SliceExpiry(self._location, self._event_queue).open_and_drop
        interval = self._lease / 3
        # The beat comes first, and also while the process stops: other
        # processes must see it while jobs still run here.
        return [
            Chore(takeover.beat, interval),
            Chore(search, interval, is_wanted=lambda: not self._winds_down),
            Chore(tidy, interval, is_wanted=lambda: not self._winds_down),
        ]

    def _quick_chores(self, *, is_shared: bool) -> list[Chore]:
        """Return the chores that let processes see the changes of others."""
        observer = self._observer
        observer.is_shared = is_shared
        chores = [
            Chore(
                observer.observe, CHECK_INTERVAL, PATIENCE, observer.is_wanted
            )
        ]
        if is_shared:  # else no other process could read the reports
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
        jobs = self._jobs.take_begun()
        self._location.write(
            lambda store: write_reports(store, self._incarnation, jobs),
            note=f"progress of the jobs of incarnation {self._incarnation}",
        )
