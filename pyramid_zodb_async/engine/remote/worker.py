"""Runs jobs that messages name, in a process that is there for that."""

import logging
import threading
import time
from typing import Any

from pyramid.exceptions import ConfigurationError
from pyramid.paster import get_app

from ...database.pool_sizes import check_pools_of_worker
from ...interfaces import IEngine, IScheduler
from .engine import FOR_WORKER, RemoteEngine

__all__ = ["Worker"]

log = logging.getLogger(__name__)

#: How long a worker waits before it gives a message back that it can do
#: nothing with, for instance while the storage is away, in seconds.
PATIENCE = 5.0


class Worker:
    """A process that gets messages: loads the application, and runs jobs.

    Args:
        ini: the file with the settings of the application.
    """

    def __init__(self, ini: str) -> None:
        self._ini = ini
        self._lock = threading.Lock()
        #: That of the application, which has the database open.
        self._registry: Any = None
        self._parts: tuple[Any, RemoteEngine] | None = None

    def load(self, threads: int = 1) -> tuple[Any, RemoteEngine]:
        """Load the application, unless that is done; give its parts.

        These are its scheduler and its engine.

        Args:
            threads: how many jobs the process runs at a time.
        """
        with self._lock:
            if self._parts is None:
                self._parts = self._load(threads)
            return self._parts

    def _load(self, threads: int) -> tuple[Any, RemoteEngine]:
        if self._registry is None:  # else only the start has failed
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
        token = FOR_WORKER.set(True)
        try:
            return get_app(self._ini).registry
        finally:
            FOR_WORKER.reset(token)

    def run(self, sid: Any) -> bool:
        """Run a job that a message names, unless it is not to be run.

        Returns whether the message is done with; if not, it is to come
        again.
        """
        if not isinstance(sid, str):  # it would come again for ever
            log.warning(
                "A message names no job: it has a %s in place of a sid.",
                type(sid).__name__,
                extra={"action": "message_not_understood"},
            )
            return True
        try:
            scheduler, engine = self.load()
            # a job that is alone in its process is to blame for its end
            thread = threading.current_thread()
            is_alone = thread is threading.main_thread()
            is_taken = scheduler.take(sid, begun=is_alone)
        except Exception:
            log.warning(
                "Job %s cannot be taken now; its message is given back.",
                sid,
                exc_info=True,
                extra={"action": "job_not_taken", "sid": sid},
            )
            time.sleep(PATIENCE)
            return False
        if is_taken:
            engine.run_in_turn(sid, lambda: sid in scheduler.assigned_jobs)
        return True

    def stop(self) -> None:
        """Do nothing more for jobs; none runs any more."""
        with self._lock:
            parts, self._parts = self._parts, None
            self._registry = None
        if parts is not None:
            parts[0].stop()
