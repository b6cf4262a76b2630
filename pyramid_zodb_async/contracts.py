"""The interfaces by which the rooms of this package use each other."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ZODB.DB import DB
from ZODB.POSException import POSKeyError
from zope.interface import Attribute, Interface

from .exceptions import JobError
from .interfaces import Connections, IScheduler
from .jobs.model import Failure, JobView, Progress

__all__ = [
    "IBatchRun",
    "IRun",
    "ISchedulerCore",
    "ITransactionJob",
    "IWaiter",
]


class ISchedulerCore(IScheduler):
    """What the package uses of a scheduler, besides what applications do."""

    announcer = Attribute("The Announcer, which sends the events of jobs.")
    commit_queue = Attribute("The CommitQueue, which has events to deliver.")
    max_bulk = Attribute("How many calls schedule_calls may be given.")

    def schedule_call(  # noqa: PLR0913 - all that defines a job
        function: Callable[..., Any],
        args: tuple[Any, ...],
        named_args: dict[str, Any],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = {},
    ) -> str:
        """Schedule a job as :meth:`schedule` does, in a given transaction.

        ``request.schedule`` uses it. *connections* are those of the
        transaction, *owner* is the userid that the job belongs to, *base_url*
        is the URL of the application for the job's own request. *options* are
        those that ``checked`` returns, and take precedence over those of the
        function.
        """

    def schedule_calls(  # noqa: PLR0913 - all that defines the jobs
        function: Callable[..., Any],
        calls: Iterable[tuple[tuple[Any, ...], dict[str, Any]]],
        connections: Connections,
        *,
        owner: str | None = None,
        base_url: str | None = None,
        options: Mapping[str, Any] = {},
        spread: float = 0.0,
    ) -> Sequence[str]:
        """Schedule many jobs as :meth:`many` does, in a given transaction.

        ``request.schedule.many`` uses it. The positional and the named
        arguments of the *calls* come from ``normalised_calls``, at most
        :attr:`max_bulk` of them; they are iterated over once. The n-th, from
        0, is the call n: an error about it says so by ``of_call``. What the
        iteration raises passes as it is. After any error nothing is
        scheduled, though the transaction may go on. The first job is due
        when a single one would be, and the n-th at that time plus *spread*
        seconds times n / the number of calls. The rest is as for
        :meth:`schedule_call`.

        Returns the sids in the order of the calls.
        """

    def find(sid: str, connections: Connections) -> "ITransactionJob | None":
        """Return a job as the transaction of *connections* sees it.

        ``None`` if there is no such job. It is not to be used any more when
        the transaction has ended.
        """

    def glance(
        sid: str, is_open: Callable[[str | None], bool] = lambda _owner: True
    ) -> JobView | None:
        """Return a view of an unfinished job from the memory of this process.

        It does not use the database. ``None`` if the job is not in memory, or
        if *is_open*, called with its owner, says that it is not to be shown.
        Then nothing is done for it. What other processes do to the job may
        show half a second later.
        """

    def watch(sids: Iterable[str]) -> "IWaiter":
        """Return a waiter, which waits until one of the jobs changes.

        Not for views: it blocks the thread while a transaction is open.
        """

    def in_own_transaction(
        work: Callable[[Connections], Any],
        get_connections: Callable[[], Connections],
        note: str,
    ) -> Any:
        """Call *work* in a transaction of its own; return what it returns.

        It is repeated after conflicts. *note* is the description that the
        history of the database shows. A scheduler in memory has no such
        transaction, and calls *work* with what *get_connections* returns.
        """

    def may_batch(sid: str) -> bool:
        """Return whether a waiting job may be run in a batch with others.

        It uses no lock and no database.
        """

    def claim(sid: str) -> "IRun | None":
        """Return a new run, or ``None`` if the job is not to be run.

        For the runner, not for applications. It raises if it needs the
        database and that is not available.
        """


class ITransactionJob(Interface):
    """A job as one transaction sees and changes it.

    In memory changes are made at once; in the database they are part of the
    transaction, but for those that a running job makes of itself: they are
    committed at once, and the run leaves no effects.
    """

    sid = Attribute("The id of the job.")
    owner = Attribute("The userid that scheduled the job, or None.")
    done = Attribute("Whether the job has ended, one way or another.")

    def view() -> JobView:
        """Return a view of the job as it is now.

        Persistent objects in its result are loaded through the connections
        of the transaction.
        """

    def fetch() -> tuple[Any, BaseException | None] | bool:
        """Return the outcome, and remove the job when this commits.

        The result and the exception, one of which is ``None``; ``False`` if
        the job has not ended, and then it is not removed.
        """

    def remove() -> None:
        """Remove the job, whether or not it has ended."""

    def cancel() -> JobView | None:
        """Cancel the job; return its new view, ``None`` if it had ended."""

    def retry() -> JobView | None:
        """Have the job run again; return its new view.

        ``None`` if it had not failed, nor was undone.
        """


class IWaiter(Interface):
    """Waits for changes of jobs, and notes them from its creation on."""

    seen = Attribute("The versions of the views that its user has, by sid.")

    def notify(sid: str, *, is_progress: bool) -> None:
        """Note a change of one of the jobs, and wake a wait."""

    def limit(sids: Iterable[str]) -> None:
        """Wait for these jobs only, and forget what was noted of others.

        For those that the asker may not see: he is not to learn when they
        change.
        """

    def wait(seconds: float) -> bool:
        """Wait for a change since the creation of the waiter.

        Returns whether there was one within *seconds*. Progress counts only
        half a second after the first wait began.
        """

    def close() -> None:
        """Note no more changes."""


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
    doubt = Attribute("What :meth:`keep_doubt` got last, or None.")

    def load(connections: Connections) -> Callable[[], Any]:
        """Return a callable that makes the call of the job.

        Raises :class:`JobNotLoadable` if something that it refers to is gone.
        """

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

    def require_job(error: POSKeyError) -> None:
        """Raise :class:`JobCancelled` if the job is gone with its scheduler.

        *error* is what the commit of the success has raised.
        """

    def can_find_out(participants: list[Any]) -> bool:
        """Return whether :meth:`find_out` tells what became of a commit.

        *participants* are those of the transaction of the run.
        """

    def find_out() -> bool | None:
        """Return whether the run has succeeded, though its commit raised.

        ``False`` if it can still succeed or fail; ``None`` if the job has
        ended, or was taken over, without it. It raises if it needs the
        database and that is not available.
        """

    def storage_works(databases: Iterable[DB]) -> bool:
        """Return whether a small transaction works now.

        *databases* are those that the run could use.
        """

    def count_refusal() -> int:
        """Count a run of this attempt that its storage refused.

        Returns how many there were by now.
        """

    def keep_doubt(doubt: Any) -> None:
        """Keep a verdict until it is known whether it counts.

        With ``None`` there is nothing to find out any more.
        """

    def fail(
        failure: Failure, exception: bytes, *, in_doubt: bool = False
    ) -> bool:
        """Record why the job has failed, after its effects were aborted.

        *exception* is the pickle of what it has raised. *in_doubt* is whether
        nobody knows if the effects are committed. Returns whether this
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

    def note_commit() -> bool:
        """Note that the commit of the success has returned.

        Called before the connections of the run are closed.

        Returns:
            Whether it has stored the success. A hook that is called before
            the commit may have aborted the transaction.
        """

    def close() -> None:
        """Finish the run; not called after :meth:`release`."""


class IBatchRun(IRun):
    """A run that may have its transaction together with others.

    It is one of a job of which :meth:`ISchedulerCore.may_batch` has said so.
    """

    def note_turn() -> None:
        """Note that the function is called now, some time after the claim.

        The jobs of a batch are claimed together, and run one after the other.
        """

    def leave_batch() -> None:
        """Put the job back, to run in no batch.

        Its effects were aborted, and nothing was recorded.
        """

    def break_away() -> None:
        """Have the job run again by itself, as another one holds up its end.

        Called by another thread than that of the run, whose transaction
        cannot commit any more then. It raises if the database is not
        available, or the job no longer belongs to the run.
        """
