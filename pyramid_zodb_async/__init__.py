"""Background jobs for Pyramid applications that have a ZODB."""

from .config.include import includeme
from .context import PersistentContext
from .exceptions import (
    ArgumentNotTransferable,
    BulkTooLarge,
    CommitInDoubt,
    DatabaseForked,
    JobCancelled,
    JobCrashed,
    JobError,
    JobNotLoadable,
    JobTimeout,
    JobUndone,
    QueueFull,
    ResultNotRenderable,
    ResultNotTransferable,
    StoreNotUsable,
    TransactionRequired,
    UnknownJob,
)
from .interfaces import IEngine, IJobAccess, IScheduler

# before the decorator of that name, whose place the module would take if it
# were imported for the first time later, for an object of a database
from .job import Failure, JobState, JobView, Progress
from .jobs.current_job import CurrentJob, current_job
from .jobs.given_options import job
from .options import Backoff, Options
from .scheduler import (
    PersistentTransactionalScheduler,
    TransactionalScheduler,
)
from .scheduler.names import names_in_jobs
from .transactional import TransactionManager, transactional

__all__ = [
    "ArgumentNotTransferable",
    "Backoff",
    "BulkTooLarge",
    "CommitInDoubt",
    "CurrentJob",
    "DatabaseForked",
    "Failure",
    "IEngine",
    "IJobAccess",
    "IScheduler",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobNotLoadable",
    "JobState",
    "JobTimeout",
    "JobUndone",
    "JobView",
    "Options",
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
    "job",
    "names_in_jobs",
    "transactional",
]
