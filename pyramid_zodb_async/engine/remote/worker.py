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
from .messages import Message, words_of

__all__ = ["Worker"]

log = get_logger(__name__)

#: How long a worker waits before it gives a message back to the broker, for
#: instance while the storage is away, in seconds. The broker delivers such a
#: message again at once.
PATIENCE = 5.0

#: After how many seconds a worker leaves to others what it has not begun of
#: the jobs that one message names.
KEPT = 0.25


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

    def run(
        self, sid: Any, header: Any = None, *, is_redelivered: bool = False
    ) -> bool:
        """Run the jobs that a message names, as far as they are to be run.

        One follows the other. What has not begun after a while is left to
        other workers, however long the others take.

        Args:
            sid: the content of the message, which should be a sid.
            header: that of the name :data:`~.messages.HEADER`, if it has one.
            is_redelivered: whether the broker has delivered it before.

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
        messages = words_of(sid, header, is_redelivered=is_redelivered)
        try:
            self._run_all(messages)
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
        return True

    def _run_all(self, messages: list[Message]) -> None:
        """Run jobs, one after the other; the last ones perhaps elsewhere.

        Args:
            messages: a message for each of them.

        Raises:
            Exception: the application cannot be loaded, or the database is
                away. Then the whole message has to come again.
        """
        scheduler, engine = self.load()
        first, *others = messages
        for message in others:
            engine.offer(message, KEPT)
        try:
            _run_one(scheduler, engine, first)
            while others and not scheduler.process.is_told_to_stop:
                message = others.pop(0)
                if engine.take_back(message.sid):
                    _run_one(scheduler, engine, message)
        except BaseException:
            for message in others:
                engine.take_back(message.sid)
            raise
        for message in others:  # this process is to end
            if engine.take_back(message.sid):
                engine.offer(message, 0.0)

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


def _run_one(scheduler: Any, engine: RemoteEngine, message: Message) -> None:
    """Run the job of a message, if it is to be run.

    Raises:
        Exception: the database is away.
    """
    # jobs run on the main thread in the pools prefork and solo, one at a time.
    # There a claim marks the run as begun: if the process ends, this job
    # counts a crash. With several threads, any of their jobs may have ended it
    is_alone = threading.current_thread() is threading.main_thread()
    sid = message.sid
    # from then on the message is not needed: if this process ends, others
    # notice by its beat, or find that the job waits
    if scheduler.accept_message(sid, begun=is_alone, serial=message.serial):
        assigned_jobs = scheduler.process.assigned_jobs
        engine.run_in_turn(sid, lambda: sid in assigned_jobs)
