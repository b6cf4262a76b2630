"""The worker, a process that runs the jobs that messages name."""

import threading
import time
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.paster import get_app

from ...concurrency.loggers import get_logger
from ...database.pool_sizes import check_pools_of_worker
from ...interfaces import IEngine, IScheduler
from .engine import FOR_WORKER, RemoteEngine

__all__ = ["Worker"]

log = get_logger(__name__)

#: How long a worker waits before it gives a message back to the broker, for
#: instance while the storage is away, in seconds. The broker delivers such a
#: message again at once.
PATIENCE = 5.0


class Worker:
    """A process that gets messages, loads the application and runs jobs.

    Args:
        ini: the path of the file with the settings of the application.
    """

    def __init__(self, ini: str) -> None:
        self._ini = ini
        self._lock = threading.Lock()
        #: The registry of the application, which has the database open.
        self._registry: Any = None
        #: The scheduler and the engine of the application, once both run.
        self._parts: tuple[Any, RemoteEngine] | None = None

    def load(self, threads: int = 1) -> tuple[Any, RemoteEngine]:
        """Load the application and start its scheduler, unless that is done.

        Args:
            threads: how many jobs the process runs at a time, to check the
                size of its connection pool.

        Returns:
            The scheduler and the engine of the application.

        Raises:
            ConfigurationError: the settings do not name Celery as the engine.
            Exception: the application or the scheduler could not be started,
                because the storage is away for instance.
        """
        with self._lock:
            if self._parts is None:
                self._parts = self._load(threads)
            return self._parts

    def _load(self, threads: int) -> tuple[Any, RemoteEngine]:
        """Return the scheduler and the engine of the application."""
        # stored before what may fail: if the scheduler cannot be started now,
        # the next call must not make another application, which would open
        # the database once more
        if self._registry is None:
            self._registry = self._make_application()
        registry = self._registry
        engine = registry.getUtility(IEngine)
        if not isinstance(engine, RemoteEngine):
            raise ConfigurationError(
                f"A worker is to run the jobs of {self._ini}, and that does"
                " not say zodb_async.engine = celery"
            )
        scheduler = registry.getUtility(IScheduler)
        scheduler.start()
        check_pools_of_worker(registry, threads)
        return scheduler, engine

    def _make_application(self) -> Any:
        """Return the registry of a new application, made for a worker."""
        token = FOR_WORKER.set(True)
        try:
            return get_app(self._ini).registry
        finally:
            FOR_WORKER.reset(token)

    def run(self, sid: Any) -> bool:
        """Run the job that a message names, if it is to be run.

        Args:
            sid: the content of the message, which should be a sid.

        Returns:
            Whether the message has been dealt with. If not, it is to be given
            back to the broker.
        """
        # it counts as dealt with: given back, it would come again for ever
        if not isinstance(sid, str):
            log.warning(
                "A message names no job: it has a %s in place of a sid.",
                type(sid).__name__,
                extra={"action": "message_not_understood"},
            )
            return True
        try:
            scheduler, engine = self.load()
            # jobs run on the main thread in the pools prefork and solo, one at
            # a time. There the claim marks the run as begun: if the process
            # ends, this job counts a crash. With several threads, any of their
            # jobs may have ended it
            thread = threading.current_thread()
            is_alone = thread is threading.main_thread()
            is_taken = scheduler.accept_message(sid, begun=is_alone)
        except Exception:
            log.warning(
                "Job %s cannot be taken now; its message is given back.",
                sid,
                exc_info=True,
                extra={"action": "job_not_taken", "sid": sid},
            )
            # before it is given back, so that it does not go to and fro
            # between the broker and its workers without a pause
            time.sleep(PATIENCE)
            return False
        # the claim was committed: from here on the message is not needed, as
        # others notice by the beat if this process ends
        if is_taken:
            assigned_jobs = scheduler.process.assigned_jobs
            engine.run_in_turn(sid, lambda: sid in assigned_jobs)
        return True

    def stop(self) -> None:
        """Stop the scheduler; called when the process ends.

        The next :meth:`load` or :meth:`run` would load the application anew.
        """
        with self._lock:
            parts, self._parts = self._parts, None
            self._registry = None
        # outside of the lock, as it may take as long as zodb_async.grace
        if parts is not None:
            parts[0].stop()
