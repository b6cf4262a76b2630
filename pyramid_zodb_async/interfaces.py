"""The interfaces that applications use or implement."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from ZODB.Connection import Connection
from ZODB.DB import DB
from zope.interface import Attribute, Interface

from .jobs.model import JobView

__all__ = [
    "Connections",
    "IBatchEngine",
    "IBatches",
    "IEngine",
    "IEngineFactory",
    "IJobAccess",
    "IJobWrappers",
    "IRemoteEngine",
    "IScheduler",
]


class Connections(Protocol):
    """The database connections that one request, job or thread may use."""

    #: The transaction manager that they take part in.
    transaction_manager: Any

    def to(self, db: DB) -> Connection:
        """Return the connection to *db*, which is opened if there is none."""

    def own(self, jar: Connection) -> bool:
        """Return whether objects that *jar* has loaded may be used here."""

    def sole(self) -> Connection | None:
        """Return the connection to use where no database is named, if any."""


class IScheduler(Interface):
    """Stores jobs from their scheduling until their outcome is removed.

    The application's scheduler is the registry's utility of this interface.
    Without *connections*, methods use the current transaction of the thread,
    ``transaction.get()``. In a request use ``request.schedule`` and
    ``request.jobs``, which use the request's transaction and connections.
    """

    def schedule(f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called after the transaction has committed.

        Plain arguments are taken as they are now, persistent objects as the
        transaction commits them.

        Returns the sid, the job's id. If the transaction does not commit, or
        a savepoint from before this call is rolled back, there is no job.

        Raises:
            TypeError: *f* cannot be a job or be called with the arguments.
            ArgumentNotTransferable: an argument cannot go to another thread.
            QueueFull: too many jobs wait.
        """

    def many(
        f: Callable[..., Any],
        /,
        calls: Iterable[tuple[Any, ...]],
        *,
        spread: float | timedelta | None = None,
    ) -> Sequence[str]:
        """Have *f* called many times after the transaction has committed.

        Each of *calls* is a tuple of positional arguments, or a pair of such
        a tuple and a dict of named ones. So two arguments of which the first
        is a tuple and the second a dict have to be written ``((first,
        second), {})``. *calls* may be a generator, and is iterated over once.
        With *spread*, in seconds or as a ``timedelta``, the beginnings are
        spread evenly over that time.

        Returns the sids in the order of the calls. All jobs are scheduled or,
        if this raises, none: what *calls* raises passes.

        Raises:
            TypeError: *f* cannot be a job, or a call is none or does not fit;
                the text has its index, from 0.
            ValueError: *spread* is negative, or more than a thousand years.
            ArgumentNotTransferable: an argument cannot go to another thread;
                the text has the index of its call.
            BulkTooLarge: there are more calls than the setting
                ``zodb_async.max_bulk`` allows.
            QueueFull: too many jobs wait in memory. In the database those of
                a bulk may be any number.
        """

    def get(
        sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """Return a view of the job, or ``None`` if there is no such job.

        It changes nothing. A job whose transaction has not committed is
        visible to that transaction alone. Persistent objects in the result
        are loaded through *connections*.
        """

    def completed(sid: str) -> bool | None:
        """Return whether the job has ended; ``None`` if there is none."""

    def get_result(
        sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Fetch the outcome, and remove the job when the transaction commits.

        In the database, the removal is part of the transaction, which sees it
        at once. Of two transactions that fetch the same outcome, one gets a
        conflict there.

        Returns ``None`` for an unknown job, ``False`` for an unfinished one,
        otherwise the pair *value*, *exception*, one of which is ``None``.
        The exception comes without its traceback. Do not raise it: it
        belongs to another context.
        """

    def remove(sid: str, connections: Connections | None = None) -> None:
        """Remove the job, if it exists.

        In memory this happens at once; in the database it is part of the
        transaction. A waiting job does not run any more; a running one leaves
        no effects unless it is already committing.
        """

    def cancel(sid: str, connections: Connections | None = None) -> bool:
        """Cancel a job that has not ended, so that it leaves no effects.

        In memory this happens at once; in the database it is part of the
        transaction, which conflicts with the job's own commit. A running job
        goes on until it calls :meth:`~pyramid_zodb_async.CurrentJob.check`
        or reports its progress, but what it does is not committed. A job
        that cancels itself is cancelled at once, whatever becomes of its
        transaction.

        Returns whether the job had not ended before. The exception of its
        outcome is a :class:`~pyramid_zodb_async.JobCancelled`.
        """

    def retry(sid: str, connections: Connections | None = None) -> bool:
        """Have a failed job run again, with the same arguments.

        A job in the database that was undone, and is cancelled for that, can
        be retried too. In memory this happens at once; in the database it is
        part of the transaction. It never raises ``QueueFull``.

        Returns whether there is such a job and it had failed, or was undone.
        """

    def start() -> None:
        """Begin to run jobs, also those that earlier processes have left.

        In a process that serves requests, the first request does this. Jobs
        that other processes, such as scripts, schedule in a database are run
        by those that have started. It raises if there is no database or no
        room for a thread now, and another call tries again.
        """

    def stop(grace: float | None = None) -> list[str]:
        """Start no more jobs, and wait for the running ones.

        *grace* is the longest wait in seconds, by default that of
        ``zodb_async.grace``; in the main thread, a Ctrl-C ends it. Returns
        the sids of the jobs that still run.

        Jobs in a database are left to other processes, which learn that this
        one has ended in order.
        """

    def unfinished() -> list[str]:
        """Return the sids of the committed jobs that have not ended.

        In the database this reads each of these jobs.
        """

    def count_unfinished() -> int:
        """Return how many committed jobs have not ended.

        In the database this does not read the jobs of bulks, so it is quick
        however many there are. Those that have ended in another process, or
        without success, since the last look of a process, three times in
        ``zodb_async.lease``, may still count.
        """

    def backlog() -> int:
        """Return how many jobs this process has accepted and not begun."""

    def wait(sid: str | None = None, timeout: float | None = None) -> bool:
        """Wait until the job, or every committed one, has ended.

        Returns whether that has happened within *timeout* seconds; a job that
        is forgotten meanwhile has ended. Not for views: it blocks the thread.

        Raises:
            RuntimeError: the transaction that schedules it has not committed.
            UnknownJob: there is no such job.
        """


class IJobAccess(Interface):
    """Decides who may do what with the jobs of others.

    An application that shares jobs, among the members of a project for
    instance, registers a utility of it. It is not asked about the owner and
    users with the permission ``zodb_async.permission``, who may do
    everything. Without a utility, other users may do nothing.
    """

    def may(request: Any, job: JobView, action: str) -> bool:
        """Return whether the user of *request* may do *action* with *job*.

        *action* is ``"view"``, ``"cancel"``, ``"retry"`` or ``"forget"``. For
        a user who may not view the job, it does not exist; one who may view
        it gets *403 Forbidden* for other actions. If it raises, the exception
        is logged, and the action is denied.
        """


class IEngineFactory(Interface):
    """What ``config.add_job_engine()`` registers, a utility by its name."""


class IJobWrappers(Interface):
    """The list of the wrappers that ``config.add_job_wrapper()`` has added."""


class IEngine(Interface):
    """Runs committed jobs, or has other processes run them."""

    workers = Attribute("The number of jobs that can run at a time, or None.")

    def submit(
        sids: Iterable[str], *, due: float | None = None, priority: int = 0
    ) -> None:
        """Accept jobs, after the commit of the transaction that made them.

        They run when they are *due*, in seconds since the epoch, or at once;
        of those that are due, the one with the greatest *priority* runs
        first. It does not raise, and does not use a database. Now and then
        there are none: who could start no thread for others is to try again.
        """

    def withdraw(sid: str) -> None:
        """Remove a submitted job that need not be run any more."""

    def start() -> None:
        """Begin to run jobs; :meth:`submit` does so by itself."""

    def idle(timeout: float | None = None) -> bool:
        """Return whether no job runs, after up to *timeout* seconds.

        A job has ended shortly before its engine has cleaned up after it.
        """

    def stop(grace: float | None = None) -> list[str]:
        """Start no more jobs, and wait for the running ones.

        *grace* is the longest wait in seconds. Returns the sids of the jobs
        that still run.
        """


class IBatches(Interface):
    """Runs several jobs in one transaction, if their options allow it."""

    def may_batch(sid: str) -> bool:
        """Return whether a submitted job may be in a batch.

        It uses no lock and no database.
        """

    def run(sids: Sequence[str]) -> Sequence[tuple[str, float]]:
        """Run jobs, of all of which :meth:`may_batch` has said so.

        Returns the sids of those that are to be run again, each with the
        seconds after which: 0 for those to which the batch did not come.
        Those are to be run before others that were submitted later. It does
        not raise.
        """


class IBatchEngine(IEngine):
    """An engine that can run several jobs in one transaction."""

    def use_batches(batches: IBatches) -> None:
        """Set what runs batches; called before there are any jobs."""


class IRemoteEngine(IEngine):
    """An engine whose jobs, or some of them, are run by other processes.

    It sends them a message with the sid; the job itself is in the database.
    Messages may be lost, or arrive twice: they are sent again as long as the
    job waits, and the process that gets one checks the record of the job.
    """

    is_worker = Attribute("Whether its process gets messages and runs jobs.")

    def runs(queue: str) -> bool:
        """Return whether jobs of *queue* run on threads of this process."""

    def sends(queue: str) -> bool:
        """Return whether to send messages for jobs of *queue*.

        If it neither runs nor sends them, other processes find them.
        """

    def send(
        sid: str,
        *,
        queue: str,
        due: float | None = None,
        priority: int = 0,
        serial: bytes | None = None,
    ) -> None:
        """Send a message for a job when it is *due*, or at once.

        The first one may say what *serial* the record of the job has since
        it was scheduled; who gets it then need not claim the job.

        It does not raise, does not use a database, and does not block.
        """

    def send_all(
        sids: Sequence[str],
        *,
        queue: str,
        priority: int = 0,
        serial: bytes | None = None,
    ) -> None:
        """Send messages for many jobs, when none for another job is due.

        It does not raise, does not use a database, and takes no longer if
        there are more of them. Each sid is asked for when its message is to
        be sent, by another thread; they must not change.
        """

    def count(queue: str, callback: Callable[[int], None]) -> None:
        """Have *callback* called with the number of messages in *queue*.

        Another thread calls it after it has sent all messages that are due,
        and does not call it if the number cannot be found out. This method
        does not raise, and does not block.
        """

    def unsent() -> int:
        """Return for how many jobs messages are still to be sent.

        Those of :meth:`send_all` do not count.
        """
