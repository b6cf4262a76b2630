"""Keeps jobs in the database, as parts of the transactions of others."""

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from ..call import check_call, function_name, require_transferable
from ..changes import OpenChanges
from ..connections import Connections, current_connections
from ..current import current_job
from ..exceptions import JobError
from ..failure import loaded_exception
from ..interfaces import IEngine, IRun, IScheduler
from ..job import JobState, JobView
from ..storing import require_storable, stored_form
from .expiry import Janitor
from .held import Held, HeldJobs
from .housekeeper import Housekeeper
from .place import Place
from .records import REMOVED, Record, Store, StoredCall
from .recovery import LIVE, Recovery
from .run import DurableRun
from .single import is_for_one_process
from .view import Result, view_of

__all__ = ["ZODBScheduler"]


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
        attempts: how often a job may end its process.
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
        self.attempts = attempts
        self.lease = lease
        #: The identity of this process as one that runs jobs.
        self.runner = secrets.token_hex(6)
        self.held = HeldJobs(self._submit)
        self.changes = OpenChanges(self._hand_over)
        self._committed: deque[Held] = deque()
        self._engine: Any = None
        self._lock = threading.Lock()
        self._housekeeper: Housekeeper | None = None
        self._recovers = False
        self._is_stopped = False

    def use(self, engine: IEngine) -> None:
        """Have *engine* run the jobs."""
        self._engine = engine

    @property
    def runs_jobs(self) -> bool:
        """Whether this process runs jobs, or leaves them to others."""
        return self._housekeeper is not None

    def start(self, *, recover: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`.

        Without *recover*, only jobs that this process schedules are run, and
        a scheduler that was stopped stays so.
        """
        with self._lock:
            if self._is_stopped and not recover:
                return  # as it was wanted, until somebody starts it again
            self._is_stopped = False
            running, self._housekeeper = self._housekeeper, None
            if running is not None:
                if self._recovers or not recover:
                    self._housekeeper = running
                    return
                running.stop()
            db = self.place.db
            if recover:
                # now, so that no request has to
                self.place.write(
                    lambda store: store.expect(self.timeout_of(store)),
                    note="the store of jobs",
                )
            alone = is_for_one_process(db.storage)
            recovery = Recovery(
                self.place,
                self.held,
                self.runner,
                lease=None if alone else self.lease,
                attempts=self.attempts,
                timeout=self.timeout_of,
            )
            self._engine.start()
            self._recovers = recover
            LIVE.add(self.runner)
            look = recovery.look if recover else recovery.look_for_lost
            chores = [recovery.tick, look, Janitor(self.place).tidy]
            self._housekeeper = Housekeeper(chores, self.lease / 3)
            self._housekeeper.start()

    def stop(self, grace: float | None = None) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        with self._lock:
            self._is_stopped = True
            LIVE.discard(self.runner)
            housekeeper, self._housekeeper = self._housekeeper, None
        if housekeeper is not None:
            housekeeper.stop()
        left: list[str] = self._engine.stop(grace)
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
    ) -> str:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        check_call(function, args, named_args)
        db = self.place.db
        form = stored_form(function)

        def check(value: object) -> None:
            require_storable(value, connections, db)

        require_transferable(check, function, form, args, named_args)
        hand_off = _HandOff(self) if self.runs_jobs else None
        if hand_off:
            self.changes.add_if_room(
                connections.transaction_manager,
                hand_off,
                waiting=self.held.waiting,
                most=self.max_pending,
            )
        store = self.place.make(connections.to(db))
        record = Record(
            function_name(function),
            time.time(),
            StoredCall(form, args, named_args),
            owner=owner,
            base_url=base_url,
            runner=self.runner if hand_off else None,
        )
        sid = store.add(record, self.timeout_of(store))
        if hand_off:
            hand_off.take(sid, record)
        return sid

    def committed(self, held: Held) -> None:
        """Take note of a job whose transaction has committed."""
        self._committed.append(held)

    def _hand_over(self) -> None:
        committed = []
        while self._committed:
            committed.append(self._committed.popleft())
        self.held.hold(committed)

    def _submit(self, sids: list[str]) -> None:
        self._engine.submit(sids)

    def get(
        self, sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        if record is None:
            return None
        held = self.held.get(sid)
        return view_of(sid, record, held, self.place, connections)

    def _find(self, sid: str, connections: Connections) -> Record | None:
        self._hand_over()
        store = self.place.of(connections)
        record = None if store is None else store.find(sid)
        if record is not None and record.expires is not None:
            return record if record.expires > time.time() else None
        return record

    def completed(self, sid: str) -> bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        view = self.get(sid)
        return view.done if view else None

    def get_result(
        self, sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        record = self._find(sid, connections)
        if record is None:
            return None
        if record.state == JobState.PENDING:
            return False
        outcome, error = record.outcome, None
        if outcome is not None and outcome.exception is not None:
            error = loaded_exception(outcome.exception)
        value = Result(self.place, outcome, connections)()
        self._forget(sid, record, connections)
        return value, error

    def remove(self, sid: str, connections: Connections | None = None) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        connections = connections or current_connections()
        _refuse_own(sid)
        record = self._find(sid, connections)
        if record is not None:
            self._forget(sid, record, connections)
            self.changes.of(connections.transaction_manager).add(
                _Removal(self, sid)
            )

    def _forget(
        self, sid: str, record: Record, connections: Connections
    ) -> None:
        store = self.place.make(connections.to(self.place.db))
        store.change(sid, record.fence, state=REMOVED, call=None, outcome=None)

    def unfinished(self) -> list[str]:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        return self.place.read(
            lambda store: [sid for sid, _ in store.unfinished()], []
        )

    def wait(
        self, sid: str | None = None, timeout: float | None = None
    ) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        self._hand_over()
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            drops = self.held.drops
            unfinished = self.unfinished()
            if not (unfinished if sid is None else sid in unfinished):
                return True
            if end is not None and time.monotonic() > end:
                return False
            # another process may run it
            self.held.wait_for_drop(drops, 0.05)

    def claim(self, sid: str) -> IRun | None:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        held = self.held.begin(sid)
        if held is None:
            return None
        run = DurableRun(self.place, self.held, held, self.timeout_of)
        return run if run.begin() else None


def _refuse_own(sid: str) -> None:
    """Refuse to remove the job that asks for it.

    Its transaction could not both remove it and leave no effects.
    """
    try:
        own = current_job().sid
    except JobError:
        return
    if own == sid:
        raise JobError(
            f"The job {sid} cannot remove itself; let it raise an exception"
        )


class _HandOff:
    """A job that goes to the engine after the commit."""

    places = 1

    def __init__(self, scheduler: ZODBScheduler) -> None:
        self._scheduler = scheduler
        self._job: tuple[Held, Record] | None = None

    def take(self, sid: str, record: Record) -> None:
        """Be told of the job, when there is a place for it."""
        self._job = Held.of(sid, record, is_new=True), record

    def prepare(self) -> None:
        """Nothing can fail."""

    def apply(self) -> None:
        if self._job is None:
            return
        held, record = self._job
        # not one that was removed again, if that can be told without loading
        if record._p_changed is None or record.state == JobState.PENDING:
            self._scheduler.committed(held)


class _Removal:
    """A job that was removed is no job of this process any more."""

    places = 0

    def __init__(self, scheduler: ZODBScheduler, sid: str) -> None:
        self._scheduler = scheduler
        self._sid = sid

    def prepare(self) -> None:
        """Nothing can fail."""

    def apply(self) -> None:
        self._scheduler.held.drop(self._sid)
