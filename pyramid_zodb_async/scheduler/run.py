"""One attempt at a job that is in the database."""

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from ..connections import Connections
from ..exceptions import JobCancelled, ResultNotTransferable
from ..interfaces import IRun
from ..job import Failure, JobState, Progress
from ..references import NotTransferable
from ..storing import callable_of, refuse_broken, require_storable
from .held import Held, HeldJobs
from .place import Place
from .records import Fence, Outcome, Record, Store, TakenOver

__all__ = ["DurableRun"]

log = logging.getLogger(__name__)


@implementer(IRun)
class DurableRun:
    """See :class:`~pyramid_zodb_async.interfaces.IRun`.

    What it writes it writes only if the record is what this process believes
    it is: another may have taken the job over, or ended it.

    Args:
        place: where the store is.
        jobs: the jobs of this process.
        held: the one to run.
        timeout: gives the seconds for which an outcome is kept.
    """

    def __init__(
        self,
        place: Place,
        jobs: HeldJobs,
        held: Held,
        timeout: Callable[[Store], float],
    ) -> None:
        self._place = place
        self._jobs = jobs
        self._held = held
        self._timeout = timeout
        self._is_lost = False
        self.sid = held.sid
        self.attempt = held.attempt
        self.conflicts = held.conflicts
        self.owner = held.owner
        self.base_url = held.base_url
        self.function = held.function

    @property
    def call(self) -> "DurableRun":
        """What loads the call."""
        return self

    def begin(self) -> bool:
        """Mark the run of a suspect; tell whether the job is still ours."""
        if not self._held.suspect:
            return True
        try:
            self._place.write(self._mark, note=f"job {self.sid} begins")
        except TakenOver:
            self.close()
            return False
        except BaseException:
            self._jobs.release(self._held, counts=False)
            raise
        return True

    def _mark(self, store: Store) -> None:
        self._change(store, begun=True)

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Give a callable that makes the call, with everything read anew.

        Raises:
            JobNotLoadable: something that the call refers to is gone.
            TakenOver: the job is not this process's any more.
        """
        store = self._place.of(connections)
        record = None if store is None else store.find(self.sid)
        if record is None or record.fence != self._fence or not record.call:
            self._is_lost = True
            raise TakenOver(f"The job {self.sid} is not this run's any more")
        parts = record.call.parts()
        refuse_broken(parts)
        form, args, named_args = parts
        return functools.partial(callable_of(form), *args, **named_args)

    @property
    def _fence(self) -> Fence:
        return self._held.fence

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._held.progress = progress

    def stop_reason(self) -> JobCancelled | None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if not self._is_lost and self._jobs.get(self.sid) is self._held:
            return None
        return JobCancelled(f"The job {self.sid} is not to be run any more")

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        db = self._place.db
        try:
            require_storable(value, connections, db)
        except NotTransferable as error:
            raise ResultNotTransferable(
                f"The result of {self.function}() cannot be kept: {error}"
            ) from error
        store = self._place.make(connections.to(db))
        now = time.time()
        self._change(
            store,
            state=JobState.SUCCEEDED.value,
            finished=now,
            expires=now + self._timeout(store),
            call=None,
            outcome=None if value is None else Outcome(value),
            **self._history(),
        )

    def _history(self) -> dict[str, Any]:
        """Tell what the record has to know of the run when that is over."""
        started, progress = self._held.started, self._held.progress
        return {
            "attempt": self.attempt,
            "started": started and started.timestamp(),
            "progress": progress
            and (progress.done, progress.total, progress.message),
        }

    def _change(self, store: Store, **values: Any) -> Record:
        try:
            return store.change(self.sid, self._fence, **values)
        except TakenOver:
            self._is_lost = True
            raise

    def fail(self, failure: Failure, exception: bytes) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""

        def write(store: Store) -> None:
            store.fail(
                self.sid,
                self._fence,
                failure,
                exception,
                timeout=self._timeout(store),
                **self._history(),
            )

        try:
            self._place.write(write, note=f"job {self.sid} failed")
        except TakenOver:
            return False
        return True

    def release(self, *, counts: bool = True) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if self._held.suspect:
            self._unmark()
        self._jobs.release(self._held, counts=counts)

    def _unmark(self) -> None:
        """Clear a suspect of what happens while it waits for its next run."""
        try:
            self._place.write(
                lambda store: self._change(store, begun=False),
                note=f"job {self.sid} waits",
            )
        except TakenOver:
            pass  # the next run, which is none, will find out
        except Exception:
            log.warning(
                "Job %s is to blame if the process ends before its next run.",
                self.sid,
                exc_info=True,
                extra={"action": "suspect_not_cleared", "sid": self.sid},
            )

    def close(self) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._jobs.drop(self.sid)
