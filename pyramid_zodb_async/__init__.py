"""Background jobs for Pyramid applications that have a ZODB."""

from .config import includeme
from .context import PersistentContext
from .current import CurrentJob, current_job
from .exceptions import (
    ArgumentNotTransferable,
    DatabaseForked,
    JobCancelled,
    JobCrashed,
    JobError,
    JobNotLoadable,
    QueueFull,
    ResultNotRenderable,
    ResultNotTransferable,
    StoreNotUsable,
    TransactionRequired,
    UnknownJob,
)
from .interfaces import IEngine, IScheduler
from .job import Failure, JobState, JobView, Progress
from .scheduler import (
    PersistentTransactionalScheduler,
    TransactionalScheduler,
)
from .transactional import TransactionManager, transactional

__all__ = [
    "ArgumentNotTransferable",
    "CurrentJob",
    "DatabaseForked",
    "Failure",
    "IEngine",
    "IScheduler",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobNotLoadable",
    "JobState",
    "JobView",
    "PersistentContext",
    "PersistentTransactionalScheduler",
    "Progress",
    "QueueFull",
    "ResultNotRenderable",
    "ResultNotTransferable",
    "StoreNotUsable",
    "TransactionManager",
    "TransactionRequired",
    "TransactionalScheduler",
    "UnknownJob",
    "current_job",
    "includeme",
    "transactional",
]
