"""The contracts between the parts: what schedules, what keeps, what runs."""

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
    """The connections that one request, job or thread may use."""

    #: The transaction manager that they take part in.
    transaction_manager: Any

    def to(self, db: DB) -> Connection:
        """Give the connection to *db*, opened now if need be."""

    def own(self, jar: Connection) -> bool:
        """Tell whether objects that *jar* loaded may be used here."""

    def sole(self) -> Connection | None:
        """Give the connection to begin with where none is named."""


class IScheduler(Interface):
    """Keeps jobs from their scheduling until their outcome is forgotten.

    The application's scheduler is the registry's utility of this interface.
    Without *connections*, methods use the thread's current transaction, as
    ``transaction.get()`` gives it. In a request use ``request.schedule`` and
    ``request.jobs``, which use the request's transaction and connections.
    """

    announcer = Attribute("Tells of what happens to jobs, an Announcer.")

    def schedule(f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called once the transaction has committed.

        Returns the sid, the job's id. If the transaction does not commit, or
        a savepoint from before this call is rolled back, there is no job.

        Raises:
            TypeError: *f* cannot be a job or cannot be called so.
            ArgumentNotTransferable: an argument cannot cross threads.
            QueueFull: too many jobs are waiting.
        """

    def schedule_call(  # noqa: PLR0913 - what there is to know of a job
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = NONE_GIVEN,
    ) -> str:
        """Do what :meth:`schedule` does, for the transaction of others.

        ``request.schedule`` uses it. *connections* are those of the
        transaction, *owner* is the userid that the job belongs to, *base_url*
        the URL of the application as the job's own request has it. *options*
        are as :func:`.options.checked` gives them, and go before those of the
        function.
        """

    def get(
        sid: str, connections: Connections | None = None
    ) -> JobView | None:
        """Tell what is known of the job, or ``None``.

        It changes nothing. A job whose transaction has not committed is
        known to that transaction alone. Persistent objects in the result are
        loaded through *connections*.
        """

    def completed(sid: str) -> bool | None:
        """``None``, ``False``, ``True``: unknown, unfinished, finished."""

    def get_result(
        sid: str, connections: Connections | None = None
    ) -> tuple[Any, BaseException | None] | bool | None:
        """Fetch the outcome, and forget it when the transaction commits.

        A scheduler that is part of the database forgets it at once, and has
        it again if the transaction aborts. Of two transactions that fetch
        the same outcome one meets a conflict there.

        Returns ``None`` for an unknown job, ``False`` for an unfinished one,
        otherwise the pair *value*, *exception*, one of which is ``None``.
        The exception comes without its traceback. Do not raise it: it
        belongs to another context.
        """

    def remove(sid: str, connections: Connections | None = None) -> None:
        """Forget the job, if it exists.

        In memory that is so at once; in the database it is part of the
        transaction. A waiting job does not run any more; a running one leaves
        no effects unless it is already committing.
        """

    def cancel(sid: str, connections: Connections | None = None) -> bool:
        """End a job that has not ended; it leaves no effects.

        In memory that is so at once; in the database it is part of the
        transaction, which conflicts with the job's own commit. A job that
        runs goes on until it asks whether it should, by
        :meth:`~pyramid_zodb_async.CurrentJob.check` or a report of its
        progress, but what it does then is not committed.

        Returns whether the job had not ended. To get its outcome gives a
        :class:`~pyramid_zodb_async.JobCancelled` as the exception.
        """

    def retry(sid: str, connections: Connections | None = None) -> bool:
        """Have a failed job run again, with the arguments that it had.

        In memory that is so at once; in the database it is part of the
        transaction. The queue is never too full for it.

        Returns whether it was a failed job.
        """

    def glance(sid: str) -> JobView | None:
        """Tell what this process knows of an unfinished job by itself.

        That is without the database. ``None`` if it knows nothing. What
        other processes do to the job may show half a second later.
        """

    def watch(sids: Iterable[str]) -> "IWaiter":
        """Be woken when one of the jobs changes.

        Not for views: it holds the thread, and a view has a transaction.
        """

    def in_own_transaction(
        work: Callable[[Connections], Any],
        connections: Connections,
        note: str,
    ) -> Any:
        """Do *work* in a transaction of its own, and give what it returns.

        It is repeated after conflicts. *note* is for the history of the
        database. A scheduler in memory has no transaction to do it in, and
        does it with *connections*.
        """

    def start() -> None:
        """Begin to run jobs, also those that earlier processes left.

        A process that serves requests does so by itself, with the first
        request. One that does not, a script for instance, leaves the jobs
        that it schedules in a database to one that does.
        """

    def stop(grace: float | None = None) -> list[str]:
        """Take no new job, and wait for the running ones.

        *grace* is the longest wait in seconds, by default that of
        ``zodb_async.grace``. Returns the sids of the jobs that run on.
        """

    def unfinished() -> list[str]:
        """List the sids of the jobs that are committed and have not ended."""

    def backlog() -> int:
        """Count the jobs that this process has accepted and not begun."""

    def wait(sid: str | None = None, timeout: float | None = None) -> bool:
        """Wait until the job, or every committed one, has ended.

        Returns whether that came to pass within *timeout* seconds. Not for
        views: it holds the thread.
        """

    def claim(sid: str) -> "IRun | None":
        """Start a run, or give ``None`` if the job is not to be run.

        For the runner, not for applications. It raises if it needs the
        database and that is not there.
        """


class IWaiter(Interface):
    """One who waits for jobs to change, from its making until it is closed."""

    seen = Attribute("What its owner has seen of the jobs: Version by sid.")

    def notify(*, is_progress: bool) -> None:
        """Take note of a change of one of the jobs."""

    def wait(seconds: float) -> bool:
        """Wait for a change since this was made.

        Returns whether there was one within *seconds*. Progress counts when
        half a second has passed since the first wait began.
        """

    def close() -> None:
        """Wait no more."""


class IJobAccess(Interface):
    """Tells who may do what with the jobs of others.

    An application that shares jobs, among the members of a project for
    instance, registers a utility of it. It is asked after the owner and the
    holders of ``zodb_async.permission``, who may do everything; without it,
    nobody else may do anything.
    """

    def may(request: Any, job: JobView, action: str) -> bool:
        """Tell whether the user of *request* may do *action* with *job*.

        *action* is ``"view"``, ``"cancel"``, ``"retry"`` or ``"forget"``. To
        whom ``"view"`` is denied, the job does not exist; who may view it is
        told that more is forbidden. If it raises, that is logged, and counts
        as a denial.
        """


class IEngineFactory(Interface):
    """What ``config.add_job_engine()`` was given; a utility by its name."""


class IJobWrappers(Interface):
    """The list of what ``config.add_job_wrapper()`` has added."""


class IRun(Interface):
    """One attempt at a job, as a scheduler hands it to the runner.

    It ends with one of :meth:`succeed`, :meth:`fail`, :meth:`retry`,
    :meth:`release` and :meth:`give_back`.
    """

    sid = Attribute("The id of the job.")
    attempt = Attribute("The number of the attempt, from 1.")
    conflicts = Attribute("How often this attempt was repeated already.")
    failures = Attribute("How many attempts have failed, or crashed, before.")
    options = Attribute("How the job is to be run, as Options.")
    owner = Attribute("The userid that scheduled the job, or None.")
    base_url = Attribute("The application's URL as of the scheduling request.")
    function = Attribute("What is called, as module:qualname.")
    call = Attribute(
        "The call: its load(connections) gives a callable that makes it."
    )

    def report(progress: Progress) -> None:
        """Let those who ask for the job see *progress*."""

    def stop_reason() -> JobError | None:
        """Tell why the run should end at once, or ``None``."""

    def has_ended() -> bool:
        """Tell whether the job is this run's no more: it has no effects."""

    def time_out(reason: JobError) -> None:
        """Give :meth:`stop_reason` that reason; the run cannot succeed."""

    def succeed(value: Any, connections: Connections) -> None:
        """Make the success a part of the transaction of *connections*.

        If that commits, the job has succeeded and returned *value*. The
        commit fails with :class:`JobCancelled` if the job should not have
        gone on, and with :class:`ResultNotTransferable` for such a *value*.
        """

    def fail(failure: Failure, exception: bytes) -> bool:
        """Record why the job failed; its effects are aborted.

        *exception* is the pickle of what it raised. Returns whether it was
        recorded: it is not if the job was removed, or has ended, meanwhile.
        It raises if the database is not there.
        """

    def retry(due: float) -> bool:
        """Have the job run again when it is *due*; its effects are aborted.

        That is in seconds since the epoch. The attempt counts as a failure.
        Returns whether it was recorded, as :meth:`fail` does, and raises as
        that does.
        """

    def view() -> JobView:
        """Tell what is known of the job after one of these."""

    def release(*, counts: bool = True) -> None:
        """Put the job back, to repeat the attempt after a conflict.

        With *counts* that is a conflict more.
        """

    def give_back() -> None:
        """Leave the job to other processes: this one ends.

        Its effects are aborted, and nothing counts. It raises if the database
        is not there, or the job is not this run's any more.
        """

    def leave() -> None:
        """Let the run go on for nothing: the job has ended without it."""

    def close() -> None:
        """Take note that all is done; not called after :meth:`release`."""


class IEngine(Interface):
    """Gets committed jobs run."""

    workers = Attribute("The number of jobs that can run at a time, or None.")

    def submit(
        sids: Iterable[str], *, due: float | None = None, priority: int = 0
    ) -> None:
        """Take jobs over; called after the commit that made them.

        They run when they are *due*, in seconds since the epoch, or at once;
        of those that are due, one with a greater *priority* goes first. It
        does not raise, and does not use a database.
        """

    def withdraw(sid: str) -> None:
        """Forget a job that was submitted and need not be run any more."""

    def start() -> None:
        """Begin to run jobs; :meth:`submit` does so by itself."""

    def idle(timeout: float | None = None) -> bool:
        """Wait until no job runs; whether that came to pass in *timeout* s.

        A job has ended a moment before its engine has cleaned up after it.
        """

    def stop(grace: float | None = None) -> list[str]:
        """Take no new job, and wait for the running ones.

        *grace* is the longest wait in seconds. Returns the sids of the jobs
        that run on.
        """


class IRemoteEngine(IEngine):
    """An engine whose jobs, or some of them, are run by other processes.

    It sends these word of a job; the job itself they find in the database.
    Word may be lost, or come twice: it is sent again as long as the job
    waits, and who gets it asks the record.
    """

    is_worker = Attribute("Whether it is for a process that gets such word.")

    def runs(queue: str) -> bool:
        """Tell whether jobs of *queue* run on threads of this process."""

    def sends(queue: str) -> bool:
        """Tell whether word of jobs of *queue* is to be sent.

        If it neither runs nor sends them, others look for them.
        """

    def send(
        sid: str, *, queue: str, due: float | None = None, priority: int = 0
    ) -> None:
        """Send word of a job when it is *due*, or at once.

        It does not raise, does not use a database, and waits for nothing.
        """

    def count(queue: str, tell: Callable[[int], None]) -> None:
        """Have *tell* told how many messages of *queue* wait to be got.

        It is called by another thread, when what is to be sent is sent, and
        not at all if that cannot be found out. This does not raise, and waits
        for nothing.
        """

    def unsent() -> int:
        """Count the jobs that word is to be sent of."""
