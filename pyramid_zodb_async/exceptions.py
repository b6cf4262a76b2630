"""What can go wrong with a job, and what to do about it."""

from typing import ClassVar

__all__ = [
    "ArgumentNotTransferable",
    "DatabaseForked",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobNotLoadable",
    "JobTimeout",
    "QueueFull",
    "ResultNotRenderable",
    "ResultNotTransferable",
    "StoreNotUsable",
    "TransactionRequired",
    "UnknownJob",
]


class JobError(Exception):
    """Base of this package's errors, and of those a job shows to people.

    Raise it, or a subclass of your own, inside a job to fail it with a
    message that is meant for whoever waits for the job: of other exceptions
    only the type's name leaves the server. Called without arguments, an
    error says the first paragraph of its class's docstring.
    """

    #: Whether those who wait for a job may read the text. It is not for the
    #: errors that tell a developer what to mend.
    public: ClassVar[bool] = True

    def __str__(self) -> str:
        if self.args:
            return super().__str__()
        first_paragraph = (type(self).__doc__ or "").split("\n\n")[0]
        return " ".join(first_paragraph.split())


class ArgumentNotTransferable(JobError, TypeError):
    """An argument cannot travel to the thread that runs the job.

    Pass plain values, or persistent objects that this request loaded through
    its own connection; the message says which argument and what to pass.
    """

    public = False


class ResultNotTransferable(JobError, TypeError):
    """What the job returned cannot travel to the thread that asks for it.

    Return plain values, or persistent objects that are stored in the
    database when the job commits.
    """


class ResultNotRenderable(JobError, TypeError):
    """What the job returned cannot be shown as JSON.

    Return what JSON knows, give the class a ``__json__`` method, or add an
    adapter for it to the application's ``json`` renderer.
    """


class JobNotLoadable(JobError, LookupError):
    """Something that the job refers to no longer exists.

    An argument or a result was deleted, and the database packed, between the
    storing of the reference and its use.
    """


class JobCancelled(JobError):
    """The job was cancelled.

    Raised inside a job by :meth:`~pyramid_zodb_async.CurrentJob.check`; let
    it pass, so that the effects of the job are aborted.
    """


class JobCrashed(JobError):
    """The process ended each time the job ran.

    After so many such ends as its option ``attempts`` or the setting of that
    name says, the job is not run any more.
    """


class JobTimeout(JobError):
    """The job took longer than it may.

    Raised inside a job by :meth:`~pyramid_zodb_async.CurrentJob.check` when
    its option ``time_limit``, or the setting of that name, is exceeded; let
    it pass, so that the effects of the job are aborted.
    """


class QueueFull(JobError):
    """There are too many jobs waiting already; try again later.

    ``request.schedule()`` raises it when ``zodb_async.max_pending`` jobs
    wait. Left alone, it becomes a *503 Service Unavailable* with a
    ``Retry-After``.
    """


class TransactionRequired(JobError, RuntimeError):
    """There is no transaction that could commit the job.

    Include ``pyramid_tm`` in the application, or, in a script, schedule
    inside ``with request.tm:``.
    """

    public = False


class StoreNotUsable(JobError, RuntimeError):
    """What the database has at the jobs' place cannot be used.

    A newer version of this package wrote it, or the application itself; the
    message says which.
    """

    public = False


class DatabaseForked(JobError, RuntimeError):
    """This process was forked when its database was open already.

    Two processes that share an open storage lose changes, or hang. Configure
    the application after the fork: with gunicorn, for instance, without
    ``--preload``.
    """

    public = False


class UnknownJob(JobError, LookupError):
    """There is no such job: it never was, has expired, or is not yours."""


class NotTransferable(TypeError):
    """A value cannot leave its thread; the text says which and why.

    *foreign* is what code of others says of it, which may be no business of
    whoever waits for a job.
    """

    # failures in databases name it by this path
    __module__ = "pyramid_zodb_async.references"

    def __init__(self, text: str, foreign: str = "") -> None:
        super().__init__(text)
        self.foreign = foreign
