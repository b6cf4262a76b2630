"""The contracts between the parts: what schedules, what keeps, what runs."""

from collections.abc import Callable, Iterable
from typing import Any

from zope.interface import Attribute, Interface

from .connections import Connections
from .exceptions import JobError
from .job import Failure, JobView, Progress

__all__ = ["IEngine", "IRun", "IScheduler"]


class IScheduler(Interface):
    """Keeps jobs from their scheduling until their outcome is forgotten.

    The application's scheduler is the registry's utility of this interface.
    Without *connections*, methods use the thread's current transaction, as
    ``transaction.get()`` gives it. In a request use ``request.schedule`` and
    ``request.jobs``, which use the request's transaction and connections.
    """

    def schedule(f: Callable[..., Any], /, *args: Any, **kw: Any) -> str:
        """Have ``f(*args, **kw)`` called once the transaction has committed.

        Returns the sid, the job's id. If the transaction does not commit, or
        a savepoint from before this call is rolled back, there is no job.

        Raises:
            TypeError: *f* cannot be a job or cannot be called so.
            ArgumentNotTransferable: an argument cannot cross threads.
            QueueFull: too many jobs are waiting.
        """

    def schedule_call(
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
    ) -> str:
        """Do what :meth:`schedule` does, for the transaction of others.

        ``request.schedule`` uses it. *connections* are those of the
        transaction, *owner* is the userid that the job belongs to, *base_url*
        the URL of the application as the job's own request has it.
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


class IRun(Interface):
    """One attempt at a job, as a scheduler hands it to the runner.

    It ends with one of :meth:`succeed`, :meth:`fail` and :meth:`release`.
    """

    sid = Attribute("The id of the job.")
    attempt = Attribute("The number of the attempt, from 1.")
    conflicts = Attribute("How often this attempt was repeated already.")
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

    def release(*, counts: bool = True) -> None:
        """Put the job back, to repeat the attempt after a conflict.

        With *counts* that is a conflict more.
        """

    def close() -> None:
        """Take note that all is done; not called after :meth:`release`."""


class IEngine(Interface):
    """Gets committed jobs run."""

    workers = Attribute("The number of jobs that can run at a time, or None.")

    def submit(sids: Iterable[str]) -> None:
        """Take jobs over; called after the commit that made them.

        It does not raise, and does not use a database.
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
