"""The exceptions of this package, with what to do about each."""

from typing import ClassVar

from pyramid.i18n import TranslationString

__all__ = [
    "ArgumentNotTransferable",
    "BulkTooLarge",
    "CommitInDoubt",
    "DatabaseForked",
    "JobCancelled",
    "JobCrashed",
    "JobError",
    "JobNotLoadable",
    "JobTimeout",
    "JobUndone",
    "QueueFull",
    "ResultNotRenderable",
    "ResultNotTransferable",
    "StoreNotUsable",
    "TransactionRequired",
    "UnknownJob",
]


class JobError(Exception):
    """Base of this package's errors, and of those a job shows to people.

    Raise it, or a subclass of your own, inside a job to fail the job with a
    message for the users who wait for it: of other exceptions, clients get
    only the name of the type, and the log gets an ERROR. Without arguments,
    the text of an error is the first paragraph of its class's docstring. A
    translation string is translated for those who ask, and interpolated
    elsewhere.
    """

    #: Whether users who wait for a job may see the text. It is false for
    #: errors that tell a developer what to correct.
    public: ClassVar[bool] = True

    def __str__(self) -> str:
        if len(self.args) == 1 and isinstance(self.args[0], TranslationString):
            text: str = self.args[0].interpolate()
            return text
        if self.args:
            return super().__str__()
        first_paragraph = (type(self).__doc__ or "").split("\n\n")[0]
        return " ".join(first_paragraph.split())


class ArgumentNotTransferable(JobError, TypeError):
    """An argument cannot travel to the thread that runs the job.

    Pass plain values, or persistent objects that this request has loaded
    through its own connection; the message names the argument and says what
    to pass.
    """

    public = False


class BulkTooLarge(JobError, ValueError):
    """There are more calls than one bulk may have.

    ``request.schedule.many()`` raises it when it is given more calls than the
    setting ``zodb_async.max_bulk`` allows; nothing is scheduled then. Raise
    the setting, or schedule the calls by several transactions.
    """

    public = False


class ResultNotTransferable(JobError, TypeError):
    """What the job returned cannot travel to the thread that asks for it.

    Return plain values, or persistent objects that are stored in the
    database when the job commits.
    """


class ResultNotRenderable(JobError, TypeError):
    """What the job returned cannot be shown as JSON.

    Return values of the types that JSON has, give the class a ``__json__``
    method, or add an adapter for it to the application's ``json`` renderer.
    """


class JobNotLoadable(JobError, LookupError):
    """Something that the job refers to no longer exists.

    For example, an argument or a result was deleted, and the database was
    packed, after the reference to it was stored, or the function of the job
    was removed from the code.
    """


class JobCancelled(JobError):
    """The job was cancelled.

    :meth:`~pyramid_zodb_async.CurrentJob.check` raises it inside the job. Do
    not catch it, so that the effects of the job are aborted.
    """


class JobCrashed(JobError):
    """The process ended each time the job ran.

    A job that has ended its process as often as its option ``attempts``, or
    the setting ``zodb_async.attempts``, allows is not run any more. Nor is one
    that has kept eight processes from giving signs of life, though they had
    not ended.
    """


class CommitInDoubt(JobError):
    """It is not known whether the work was stored in the database.

    The commit raised after all had voted for it, for instance as the
    connection to the storage broke. To do the work again could do it twice,
    so that is left to people: look whether the work is there, and call it or
    retry the job if it is not.
    """


class JobTimeout(JobError):
    """The job took longer than it may.

    :meth:`~pyramid_zodb_async.CurrentJob.check` raises it inside the job when
    its option ``time_limit``, or the setting ``zodb_async.time_limit``, is
    exceeded. Do not catch it, so that the effects of the job are aborted.
    """


class JobUndone(JobCancelled):
    """What the job did was undone.

    Somebody has undone the transaction of the job, by ``DB.undo`` or on the
    undo page of Zope. The job is not run again, unless it is retried.
    """


class QueueFull(JobError):
    """There are too many jobs waiting already; try again later.

    ``request.schedule()`` raises it when ``zodb_async.max_pending`` jobs
    wait. If the view does not catch it, the request is answered with *503
    Service Unavailable* and a ``Retry-After``.
    """


class TransactionRequired(JobError, RuntimeError):
    """There is no transaction that could commit the job.

    Include ``pyramid_tm`` in the application, or, in a script, schedule
    inside ``with request.tm:``.
    """

    public = False


class StoreNotUsable(JobError, RuntimeError):
    """What the database has at the jobs' place cannot be used.

    A newer version of this package has written it, or the application itself
    has; the message says which.
    """

    public = False


class DatabaseForked(JobError, RuntimeError):
    """This process was forked when its database was open already.

    Two processes that share an open storage lose changes, or hang. Load the
    application after the fork: run gunicorn without ``--preload``, and uWSGI
    with ``lazy-apps = true``.
    """

    public = False


class UnknownJob(JobError, LookupError):
    """There is no such job: it never was, has expired, or is not yours."""


class NotTransferable(TypeError):
    """A value cannot leave its thread; the text says which and why.

    Args:
        text: the reason, which users who wait for a job may see.
        foreign: what other code has said about it, such as the text of its
            exception, which users may not see.
    """

    # databases contain failures that name the class by this path
    __module__ = "pyramid_zodb_async.references"

    def __init__(self, text: str, foreign: str = "") -> None:
        super().__init__(text)
        self.foreign = foreign
