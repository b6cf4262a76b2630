"""The schedulers that applications make themselves, each with an engine."""

from ..engine.threads import ThreadEngine
from ..execution.runner import Runner
from ..execution.surroundings import SurroundingsFactory, bare_thread
from .durable import PersistentTransactionalScheduler
from .memory import MemoryScheduler

__all__ = ["PersistentTransactionalScheduler", "TransactionalScheduler"]


class TransactionalScheduler(MemoryScheduler):
    """A scheduler in memory for scripts and threads outside Pyramid.

    A job is a call of the function on one of *workers* threads, without a
    transaction of its own: decorate the function with
    :func:`~pyramid_zodb_async.transactional` if it needs one. What the
    function leaves uncommitted is aborted. All jobs are lost when the process
    ends.

    Args:
        timeout: for how long an outcome that is not fetched is stored, in
            seconds; ``None`` stands for the attribute ``timeout``.
        workers: how many jobs run at a time.
        max_pending: how many jobs may wait to be run.
        max_bulk: how many calls ``many()`` may be given.

    Raises:
        ValueError: *timeout* is negative or no number.
    """

    # Makes the context manager that surrounds each run.
    _environment: SurroundingsFactory = staticmethod(bare_thread)

    def __init__(
        self,
        timeout: float | None = None,
        *,
        workers: int = 2,
        max_pending: int = 10_000,
        max_bulk: int = 100_000,
    ) -> None:
        super().__init__(timeout, max_pending=max_pending, max_bulk=max_bulk)
        runner = Runner(self, self._environment)
        self.engine = ThreadEngine(runner.run, workers=workers)
        self.use(self.engine)
