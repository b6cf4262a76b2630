"""Keeps jobs in the database, as parts of the transactions of others."""

import atexit
import math
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from zope.interface import implementer

from ..concurrency.forks import call_after_fork
from ..database.connections import JarConnections, current_connections
from ..database.own_transaction import in_own_transaction
from ..events import JobScheduled
from ..exceptions import JobError
from ..execution.announcer import Announcer
from ..interfaces import Connections, IEngine, IRun, IScheduler
from ..jobs.current_job import running_job
from ..jobs.given_options import NONE_GIVEN, resolved
from ..jobs.model import JobState, JobView
from ..jobs.options import NO_OPTIONS, Options
from ..transfer.callables import check_call, function_name
from .event_queue import News
from .maintenance.chores import Upkeep
from .process.assigned_jobs import Held, HeldJobs
from .process.crash_suspects import clear_in_time
from .process.dispatch import Routes
from .process.intake import HandOff
from .process.progress_reports import report_of
from .process.remote_claim import take
from .process.run import DurableRun
from .process.transaction_job import StoredJob
from .process.views import view_of, view_of_held
from .records import Record, Store
from .store.location import Place
from .store.stored_values import kept_call
from .store.transitions import kept_for
from .transaction_changes import OpenChanges
from .waiters import Watch, Watches

__all__ = ["ZODBScheduler"]

T = TypeVar("T")

#: The time between two looks of somebody who waits for a job, in seconds; for
#: one that another process runs it grows to the longer.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 0.5


@implementer(IScheduler)
class ZODBScheduler:
    """A scheduler whose jobs are in a database, and survive the process.

    A job is a record that is written by the transaction that schedules it;
    its success is written by the transaction of its effects. See
    :class:`~pyramid_zodb_async.interfaces.IScheduler`.

    Args:
        place: where the store is.
        timeout: how long an outcome that nobody fetches is kept, in seconds;
            ``None`` if the store has a ``timeout`` of its own.
        max_pending: how many jobs of this process may wait.
        attempts: how many attempts at a job may fail, or end their process,
            if its options do not tell.
        lease: how long another process may give no sign of life before its
            jobs are taken over, in seconds.
    """

    def __init__(
        self,
        place: Place,
        *,
        timeout: float | None = 3600,
        max_pending: int = 10_000,
        attempts: int = 4,
        lease: float = 30,
    ) -> None:
        self.place = place
        self.timeout = timeout
        self.max_pending = max_pending
        #: The identity of this process as one that runs jobs.
        self.runner = secrets.token_hex(6)
        self.announcer = Announcer()
        self.news = News(lambda: self.announcer)
        self.watches = Watches()
        self.routes = Routes(place, self.runner, lease, lambda: self.runs_jobs)
        self.held = HeldJobs(self.routes.submit, self.watches)
        self.changes = OpenChanges(self._hand_over)
        self._committed: deque[Held] = deque()
        self._upkeep = Upkeep(
            place,
            self.held,
            self.watches,
            self.runner,
            lease=lease,
            attempts=attempts,
            timeout=self.timeout_of,
            news=self.news,
            routes=self.routes,
        )
        self._is_stopped = False
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Have nothing to stop; in a child that is the parent's."""
        self._lock = threading.Lock()
        atexit.unregister(self.stop)

    def use(self, engine: IEngine) -> None:
        """Have *engine* run the jobs."""
        self.routes.use(engine)

    @property
    def runs_jobs(self) -> bool:
        """Whether this process runs jobs, or leaves them to others."""
        return self._upkeep.is_running

    def start(self, *, recover: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Without *recover*, only jobs that this process schedules are run, and
        a scheduler that was stopped stays so.
        """
        with self._lock:
            if self._is_stopped and not recover:
                return  # as it was wanted, until somebody starts it again
            self._is_stopped = False
            if not self._upkeep.does(recover=recover):
                if recover:
                    # now, so that no request has to
                    self.place.write(
                        lambda store: store.expect(self.timeout_of(store)),
                        note="the store of jobs",
                    )
                self.routes.engine.start()
                self._upkeep.start(recover=recover)
                # registered last, so that it comes first at the exit
                atexit.unregister(self.stop)
                atexit.register(self.stop)

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        atexit.unregister(self.stop)
        with self._lock:
            self._is_stopped = True
            self._upkeep.wind_down()
        left: list[str] = self.routes.engine.stop(grace)
        with self._lock:
            if self._is_stopped:
                self._upkeep.stop()
            else:  # it was started meanwhile, perhaps before the engine ended
                self.routes.engine.start()
        suspect = self.held.running_suspect()
        if suspect is not None:  # it does not end this process, we do
            clear_in_time(self.place, suspect)
        return left

    def timeout_of(self, store: Store) -> float:
        """Tell for how long an outcome is kept, in seconds."""
        return store.timeout if self.timeout is None else self.timeout

    def schedule(self, f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.schedule_call(f, args, kw, current_connections())

    def schedule_call(  # noqa: PLR0913 - the interface's
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        check_call(function, args, named_args)
        kept, due = resolved(function, options)
        db = self.place.db
        call = kept_call(function, args, named_args, connections, db)
        runner = self.routes.runner_for(due, kept)
        hand_off = None
        if self.routes.needs_handing_over(runner, due, kept):
            # who waits for a moment takes up no place
            hand_off = HandOff(self, is_new=due is None)
            self.changes.add_if_room(
                connections.transaction_manager,
                hand_off,
                waiting=self.backlog,
                most=self.max_pending,
            )
        store = self.place.make(connections.to(db))
        record = Record(
            function_name(function),
            time.time(),
            call,
            owner=owner,
            base_url=base_url,
            runner=runner,
            **_told(kept, due),
        )
        sid = store.add(record, kept_for(record, self.timeout_of(store)))
        if hand_off:
            hand_off.take(sid, record)
        if self.news.wants(JobScheduled):
            StoredJob(self, sid, record, connections).tell(JobScheduled)
        return sid

    def committed(self, held: Held) -> None:
        """Take note of a job whose transaction has committed."""
        self._committed.append(held)

    def ask(self, sid: str) -> None:
        """Find out soon what others have done to a job of this process."""
        self._upkeep.ask(sid)

    def _hand_over(self) -> None:
        self.news.tell()
        if not self._committed:
            return
        committed = []
        while self._committed:
            committed.append(self._committed.popleft())
        self.routes.hand_over(committed, self.held)

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        if record is None:
            return None
        held = self.held.get(sid)
        if held is not None and held.fence == record.fence:
            return view_of_held(held)
        store = self.place.make(connections.to(self.place.db))
        report = report_of(store, sid, record)
        return view_of(sid, record, report, self.place, connections)

    def glance(self, sid: str) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        held = self.held.get(sid)
        if held is None:
            return None
        self._upkeep.ask(sid)
        return view_of_held(held)

    def _find(self, sid: str, connections: Connections) -> Record | None:
        self._hand_over()
        store = self.place.of(connections)
        record = None if store is None else store.find(sid)
        if record is not None and record.expires is not None:
            return record if record.expires > time.time() else None
        return record

    def watch(self, sids: Iterable[str]) -> Watch:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        watch = self.watches.on(sids)
        self._upkeep.wake()
        return watch

    def apart(
        self,
        work: Callable[[Connections], T],
        connections: Connections,
        note: str,
    ) -> T:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return in_own_transaction(
            self.place.db,
            lambda connection: work(JarConnections(connection)),
            note,
        )

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._stored(sid, connections)
        return job.fetch() if job else None

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        _refuse_own(sid)
        job = self._stored(sid, connections)
        if job is not None:
            job.remove()

    def cancel(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        _refuse_own(sid)
        job = self._stored(sid, connections)
        return job is not None and job.cancel()

    def retry(self, sid: str, connections: Connections | None = None) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        job = self._stored(sid, connections)
        return job is not None and job.retry()

    def _stored(
        self, sid: str, connections: Connections | None
    ) -> StoredJob | None:
        """Give a job as the transaction of *connections* sees it."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        return record and StoredJob(self, sid, record, connections)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.place.read(lambda store: list(store.unfinished()), [])

    def backlog(self) -> int:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.held.waiting() + self.routes.unsent()

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        end = math.inf if timeout is None else time.monotonic() + timeout
        pause = SHORTEST_PAUSE
        while True:
            drops = self.held.drops
            if self._has_ended(sid):
                return True
            left = end - time.monotonic()
            if left < 0:
                return False
            # another process may run it, which nobody tells of
            self.held.wait_for_drop(drops, min(pause, left))
            if sid is not None and sid not in self.held:
                pause = min(2 * pause, LONGEST_PAUSE)

    def _has_ended(self, sid: str | None) -> bool:
        """Tell whether a job, or every one, is not unfinished any more."""
        if sid is None:
            return not self.unfinished()

        def look(store: Store) -> bool:
            record = store.find(sid)
            return record is None or record.state != JobState.PENDING

        return self.place.read(look, default=True)

    def take(self, sid: str, *, begun: bool) -> bool:
        """Have this process run a job that another has sent word of.

        With *begun*, an end of the process counts as one that the job has
        caused. Returns whether it is to be run here; the engine is given it
        then. Raises if the database is not there.
        """
        held = take(self.place, sid, self.runner, begun=begun)
        if held is None:
            return False
        self.held.hold([held])
        return True

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        held = self.held.begin(sid)
        if held is None:
            return None
        run = DurableRun(self, held)
        return run if run.begin() else None


def _told(options: Options, due: float | None) -> dict[str, Any]:
    """Give what a record has of them, which is nearly always nothing."""
    if options is NO_OPTIONS and due is None:
        return {}
    return {"options": options.stored(), "due": due}


def _refuse_own(sid: str) -> None:
    """Refuse to remove the job that asks for it.

    Its transaction could not both remove it and leave no effects.
    """
    job = running_job()
    if job is not None and job.sid == sid:
        raise JobError(
            f"The job {sid} cannot remove or cancel itself; let it raise an"
            " exception"
        )
