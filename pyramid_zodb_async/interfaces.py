"""The interfaces of schedulers, engines, runs, waiters and connections."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from ZODB.Connection import Connection
from ZODB.DB import DB
from zope.interface import Attribute, Interface

from .exceptions import JobError
from .jobs.given_options import NONE_GIVEN
from .jobs.model import Failure, JobView, Progress

__all__ = [
    "Connections",
    "IEngine",
    "IEngineFactory",
    "IJobAccess",
    "IJobWrappers",
    "IRemoteEngine",
    "IRun",
    "IScheduler",
    "IWaiter",
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

    announcer = Attribute("The Announcer, which sends the events of jobs.")

    def schedule(f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called after the transaction has committed.

        Returns the sid, the job's id. If the transaction does not commit, or
        a savepoint from before this call is rolled back, there is no job.

        Raises:
            TypeError: *f* cannot be a job or be called with the arguments.
            ArgumentNotTransferable: an argument cannot go to another thread.
            QueueFull: too many jobs wait.
        """

    def schedule_call(  # noqa: PLR0913 - all that defines a job
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """Schedule a job as :meth:`schedule` does, in a given transaction.

        ``request.schedule`` uses it. *connections* are those of the
        transaction, *owner* is the userid that the job belongs to, *base_url*
        is the URL of the application for the job's own request. *options* are
        those that ``checked`` returns, and take precedence over those of the
        function.
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
        or reports its progress, but what it does is not committed.

        Returns whether the job had not ended before. The exception of its
        outcome is a :class:`~pyramid_zodb_async.JobCancelled`.
        """

    def retry(sid: str, connections: Connections | None = None) -> bool:
        """Have a failed job run again, with the same arguments.

        In memory this happens at once; in the database it is part of the
        transaction. It never raises ``QueueFull``.

        Returns whether there is such a job and it had failed.
        """

    def glance(sid: str) -> JobView | None:
        """Return a view of an unfinished job from the memory of this process.

        It does not use the database. ``None`` if the job is not in memory.
        What other processes do to the job may show half a second later.
        """

    def watch(sids: Iterable[str]) -> "IWaiter":
        """Return a waiter, which waits until one of the jobs changes.

        Not for views: it blocks the thread while a transaction is open.
        """

    def in_own_transaction(
        work: Callable[[Connections], Any],
        connections: Connections,
        note: str,
    ) -> Any:
        """Call *work* in a transaction of its own; return what it returns.

        It is repeated after conflicts. *note* is the description that the
        history of the database shows. A scheduler in memory has no such
        transaction, and calls *work* with *connections*.
        """

    def start() -> None:
        """Begin to run jobs, also those that earlier processes have left.

        In a process that serves requests, the first request does this. Jobs
        that other processes, such as scripts, schedule in a database are run
        by those that have started.
        """

    def stop(grace: float | None = None) -> list[str]:
        """Start no more jobs, and wait for the running ones.

        *grace* is the longest wait in seconds, by default that of
        ``zodb_async.grace``. Returns the sids of the jobs that still run.
        """

    def unfinished() -> list[str]:
        """Return the sids of the committed jobs that have not ended."""

    def backlog() -> int:
        """Return how many jobs this process has accepted and not begun."""

    def wait(sid: str | None = None, timeout: float | None = None) -> bool:
        """Wait until the job, or every committed one, has ended.

        Returns whether that has happened within *timeout* seconds. Not for
        views: it blocks the thread.
        """

    def claim(sid: str) -> "IRun | None":
        """Return a new run, or ``None`` if the job is not to be run.

        For the runner, not for applications. It raises if it needs the
        database and that is not available.
        """


class IWaiter(Interface):
    """Waits for changes of jobs, and notes them from its creation on."""

    seen = Attribute("The versions of the views that its user has, by sid.")

    def notify(*, is_progress: bool) -> None:
        """Note a change of one of the jobs, and wake a wait."""

    def wait(seconds: float) -> bool:
        """Wait for a change since the creation of the waiter.

        Returns whether there was one within *seconds*. Progress counts only
        half a second after the first wait began.
        """

    def close() -> None:
        """Note no more changes."""


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


class IRun(Interface):
    """One attempt at a job, which a scheduler gives to the runner.

    It ends with one of :meth:`succeed`, :meth:`fail`, :meth:`retry`,
    :meth:`release` and :meth:`give_back`.
    """

    sid = Attribute("The id of the job.")
    attempt = Attribute("The number of the attempt, from 1.")
    conflicts = Attribute("How often this attempt was repeated before.")
    failures = Attribute("How many attempts have failed or crashed before.")
    options = Attribute("The Options of the job.")
    owner = Attribute("The userid that scheduled the job, or None.")
    base_url = Attribute("The application's URL in the scheduling request.")
    function = Attribute("The name of what is called, as module:qualname.")
    call = Attribute(
        "The call: its load(connections) returns a callable that makes it."
    )

    def report(progress: Progress) -> None:
        """Show *progress* to those who ask for the job."""

    def stop_reason() -> JobError | None:
        """Return why the run should end at once, or ``None``."""

    def has_ended() -> bool:
        """Return whether the run can no longer have effects or an outcome."""

    def time_out(reason: JobError) -> None:
        """Set the :meth:`stop_reason`, so that the run cannot succeed."""

    def succeed(value: Any, connections: Connections) -> None:
        """Make the success a part of the transaction of *connections*.

        If that commits, the job has succeeded and returned *value*. This or
        the commit fails with :class:`JobCancelled` if the job should not have
        gone on, and with :class:`ResultNotTransferable` for such a *value*.
        """

    def fail(failure: Failure, exception: bytes) -> bool:
        """Record why the job has failed, after its effects were aborted.

        *exception* is the pickle of what it has raised. Returns whether this
        was recorded: it is not if the job was removed or has ended meanwhile.
        It raises if the database is not available.
        """

    def retry(due: float) -> bool:
        """Have the job run again, after its effects were aborted.

        *due* is the time of that, in seconds since the epoch. The attempt
        counts as a failure. Returns whether this was recorded, and raises, as
        :meth:`fail` does.
        """

    def view() -> JobView:
        """Return a view of the job at this time, for events."""

    def release(*, counts: bool = True) -> None:
        """Put the job back, to repeat the attempt after a conflict.

        *counts* is whether to add one to :attr:`conflicts`.
        """

    def give_back() -> None:
        """Leave the job to other processes, because this one ends.

        Its effects were aborted, and the attempt does not count. It raises if
        the database is not available or the job no longer belongs to the run.
        """

    def leave() -> None:
        """Note that the job has ended although its function still runs."""

    def close() -> None:
        """Finish the run; not called after :meth:`release`."""


class IEngine(Interface):
    """Runs committed jobs, or has other processes run them."""

    workers = Attribute("The number of jobs that can run at a time, or None.")

    def submit(
        sids: Iterable[str], *, due: float | None = None, priority: int = 0
    ) -> None:
        """Accept jobs, after the commit of the transaction that made them.

        They run when they are *due*, in seconds since the epoch, or at once;
        of those that are due, the one with the greatest *priority* runs
        first. It does not raise, and does not use a database.
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
        sid: str, *, queue: str, due: float | None = None, priority: int = 0
    ) -> None:
        """Send a message for a job when it is *due*, or at once.

        It does not raise, does not use a database, and does not block.
        """

    def count(queue: str, callback: Callable[[int], None]) -> None:
        """Have *callback* called with the number of messages in *queue*.

        Another thread calls it after it has sent all messages that are due,
        and does not call it if the number cannot be found out. This method
        does not raise, and does not block.
        """

    def unsent() -> int:
        """Return for how many jobs messages are still to be sent."""
