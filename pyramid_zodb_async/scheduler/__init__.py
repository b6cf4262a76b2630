"""The schedulers as an application makes them, complete with an engine."""

from ..engine.threads import ThreadEngine
from ..execution.runner import Runner
from ..execution.surroundings import SurroundingsFactory, bare_thread
from .durable import PersistentTransactionalScheduler
from .memory import MemoryScheduler

__all__ = ["PersistentTransactionalScheduler", "TransactionalScheduler"]


class TransactionalScheduler(MemoryScheduler):
    """A scheduler in memory for scripts and threads outside Pyramid.

    It calls the function as it is, on one of *workers* threads: let
    :func:`~pyramid_zodb_async.transactional` see to the function's
    transaction. What the function leaves uncommitted is aborted. A restart
    forgets all jobs.

    Args:
        timeout: how long an outcome that nobody fetches is kept, in seconds.
        workers: how many jobs run at a time.
        max_pending: how many jobs may wait.
    """

    # surrounds each run
    _environment: SurroundingsFactory = staticmethod(bare_thread)

    def __init__(
        self,
        timeout: float | None = None,
        *,
        workers: int = 2,
        max_pending: int = 10_000,
    ) -> None:
        super().__init__(timeout, max_pending=max_pending)
        runner = Runner(self, self._environment)
        self.engine = ThreadEngine(runner.run, workers=workers)
        self.use(self.engine)
