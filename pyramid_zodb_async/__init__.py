"""Background jobs for Pyramid applications that have a ZODB."""

from .config import includeme
from .context import PersistentContext
from .current import CurrentJob, current_job
from .exceptions import (
    ArgumentNotTransferable,
    JobCancelled,
    JobError,
    JobNotLoadable,
    QueueFull,
    ResultNotRenderable,
    ResultNotTransferable,
    TransactionRequired,
    UnknownJob,
)
from .interfaces import IEngine, IScheduler
from .job import Failure, JobState, JobView, Progress
from .scheduler import TransactionalScheduler
from .transactional import TransactionManager, transactional

__all__ = [
    "ArgumentNotTransferable",
    "CurrentJob",
    "Failure",
    "IEngine",
    "IScheduler",
    "JobCancelled",
    "JobError",
    "JobNotLoadable",
    "JobState",
    "JobView",
    "PersistentContext",
    "Progress",
    "QueueFull",
    "ResultNotRenderable",
    "ResultNotTransferable",
    "TransactionManager",
    "TransactionRequired",
    "TransactionalScheduler",
    "UnknownJob",
    "current_job",
    "includeme",
    "transactional",
]
