"""The runner, which leads a run from its claim to what is told of its end."""

import contextlib
import functools
import threading

from transaction.interfaces import TransientError
from ZODB.POSException import POSKeyError

from ..concurrency.loggers import get_logger
from ..contracts import IRun, ISchedulerCore
from ..database.commits import LONGEST_NOTE, cut_notes
from ..database.connections import ThreadConnections, use_connections
from ..database.storages import storage_failed
from ..events import JobStarted, JobSucceeded
from ..exceptions import TransactionRequired
from ..jobs.current_job import running
from ..jobs.exception_groups import is_of, leaves_of
from ..transactional import use_manager
from .judging import fail_untold, judge, log_fields
from .overdue import fail_overdue
from .recording import record
from .rules import Rules, longest_delay
from .subscribers import Announcer
from .surroundings import Surroundings, SurroundingsFactory
from .time_limit import Watchdog
from .verdicts import SUCCEEDED, Raised, Succeeded, Verdict

__all__ = ["Runner", "commit", "make_call", "raised_in"]

log = get_logger(__name__)


class Runner:
    """Runs the jobs of *scheduler* in *environment*.

    An engine calls :meth:`run`, on any number of threads at a time. That
    takes these steps:

    1. *Claim*: the scheduler hands out the run, or says that there is none.
    2. *Run*: surroundings give it a transaction and connections. The call is
       loaded and made, and its success becomes a part of the transaction,
       which commits.
    3. *Verdict*: if any of these raised, it is decided what is to follow,
       and logged, while the transaction is open.
    4. *Record*: when all effects are aborted, that is recorded.
    5. *Tell*: subscribers are told, when no transaction of the job is open.

    Args:
        scheduler: where runs are claimed, and outcomes are recorded.
        environment: makes the surroundings of each run.
        max_conflicts: how often an attempt is repeated after conflicts and
            other transient errors.
        attempts: after how many failed attempts a job fails whose options
            do not say.
        time_limit: how long a run of a job may take whose options do not
            say, in seconds; ``None`` for any time.
        public_errors: exceptions whose text may be shown to people.
        waits_before_retry: whether a job waits before its next attempt, as
            its option ``backoff`` says.
    """

    def __init__(  # noqa: PLR0913 - a figure each for what a job may do
        self,
        scheduler: ISchedulerCore,
        environment: SurroundingsFactory,
        *,
        max_conflicts: int = 50,
        attempts: int = 4,
        time_limit: float | None = None,
        public_errors: tuple[type[BaseException], ...] = (),
        waits_before_retry: bool = True,
    ) -> None:
        self.scheduler = scheduler
        self._environment = environment
        self._time_limit = time_limit
        self.rules = Rules(
            max_conflicts=max_conflicts,
            attempts=attempts,
            public_errors=public_errors,
            waits_before_retry=waits_before_retry,
        )
        self.watchdog = Watchdog()
        #: The runs of which it is not known yet whether they have committed,
        #: by sid. Here, since the scheduler may drop their jobs meanwhile.
        self._in_doubt: dict[str, IRun] = {}

    def run(self, sid: str) -> float | None:
        """Claim a run of the job, and execute it within its time limit.

        Never raises.

        Args:
            sid: the sid of the job. If it is not to be run (any more), this
                does nothing.

        Returns:
            The seconds after which to call this again for the job, or
            ``None`` if there is nothing more to do.
        """
        doubtful = self._in_doubt.pop(sid, None)
        if doubtful is not None:
            return self.end(doubtful, doubtful.doubt)
        run = self.claim(sid)
        if run is None or isinstance(run, float):
            return run
        with self.limit_time(run):
            verdict = self._execute(run)
        return self.end(run, verdict)

    def claim(self, sid: str) -> IRun | float | None:
        """Claim a run of a job, and tell that it begins.

        Args:
            sid: the sid of the job.

        Returns:
            The run; the seconds after which to try it again, if no run can
            begin now; ``None`` if the job is not to be run (any more).
        """
        try:
            run: IRun | None = self.scheduler.claim(sid)
        except Exception:
            # the database is away, or a conflict was met; no run has begun
            log.warning(
                "Job %s cannot be begun now; it will be tried again.",
                sid,
                exc_info=True,
                extra={"action": "job_not_begun", "sid": sid},
            )
            return longest_delay()
        if run is not None:
            announcer: Announcer = self.scheduler.announcer
            announcer.announce_run(JobStarted, run)
        return run

    def end(self, run: IRun, verdict: Verdict) -> float | None:
        """Record what is to follow a run, and tell the subscribers.

        To be called when no transaction of the run is open.

        Args:
            run: the run.
            verdict: the verdict on it.

        Returns:
            The seconds after which to go on with the job, or ``None``.
        """
        announcer: Announcer = self.scheduler.announcer
        delay = None
        if isinstance(verdict, Succeeded):
            # not before: whatever a log call lets through, such as the
            # signal that ends a worker of Celery, must change no verdict
            _log_success(run)
            announcer.announce_run(JobSucceeded, run)
        else:
            # not before the surroundings are gone, as for the event
            delay = record(self.scheduler, run, verdict)
            if run.doubt is not None:
                self._in_doubt[run.sid] = run
        if delay is None:
            # after the events, since the process forgets the job here, and
            # wakes the waiters for its end; a released job stays assigned
            run.close()
        return delay

    def limit_time(self, run: IRun) -> contextlib.AbstractContextManager[None]:
        """Have the job failed when the block takes longer than it may.

        Args:
            run: the run that the block is of.

        Returns:
            A context manager.
        """
        limit: float | None = run.options.time_limit or self._time_limit
        if limit is None:
            return contextlib.nullcontext()
        on_timeout = functools.partial(
            fail_overdue,
            self.scheduler,
            self.rules,
            run,
            limit,
            threading.get_ident(),
        )
        return self.watchdog.limit(limit, on_timeout)

    def _execute(self, run: IRun) -> Verdict:
        """Give the run its surroundings, and return the verdict on it."""
        verdict: Verdict | None = None
        try:
            with self._environment(run) as surroundings:
                try:
                    make_call(run, surroundings)
                    commit(run, surroundings)
                    verdict = SUCCEEDED
                except BaseException as error:  # noqa: BLE001 - of any kind
                    # here, where the transaction is not aborted yet: the
                    # surroundings ask it whether the error is transient, and
                    # the error may refer to objects of its connections
                    verdict = judge(
                        self.rules, run, raised_in(run, error, surroundings)
                    )
        except BaseException as error:
            if verdict is None:
                # most likely the surroundings could not be made: nothing was
                # called, and there is no transaction that could be asked
                return self._judge_outside(run, error)
            # the commit, or the verdict, is not changed by that
            log.exception(
                "Clearing up after job %s failed: %s.",
                run.sid,
                run.function,
                extra=log_fields("job_not_cleared_up", run),
            )
        return verdict

    def _judge_outside(self, run: IRun, error: BaseException) -> Verdict:
        """Return the verdict on a run whose transaction is over."""
        try:
            leaves = leaves_of(error)
            raised = Raised(
                error,
                ThreadConnections(),
                may_repeat=any(is_of(leaf, TransientError) for leaf in leaves),
                is_outage=any(map(storage_failed, leaves)),
            )
            return judge(self.rules, run, raised)
        except Exception:  # noqa: BLE001 - of the error's class
            return fail_untold(run)


def raised_in(
    run: IRun, error: BaseException, surroundings: Surroundings
) -> Raised:
    """Return what a run has raised, while its transaction is open.

    If it has raised several exceptions together, the transaction is asked
    about each. What one of them says of the database concerns all: the others
    may have come of what was read before it.

    Args:
        run: the run.
        error: what it has raised.
        surroundings: those of the run.
    """
    leaves = leaves_of(error)
    doubtful = surroundings.doubtful_participants()
    is_refused = any(map(surroundings.is_refusal, leaves))
    return Raised(
        error,
        surroundings.connections,
        may_repeat=any(map(surroundings.may_repeat, leaves)),
        is_outage=any(map(surroundings.met_outage, leaves)),
        is_refused=is_refused,
        databases=surroundings.databases() if is_refused else (),
        is_in_doubt=bool(doubtful),
        # the function may have committed by itself, which is not recorded
        record_tells=surroundings.is_committing and run.can_find_out(doubtful),
    )


def make_call(run: IRun, surroundings: Surroundings) -> None:
    """Load and make the call of a job, and record its success.

    Whatever raises here, or in the commit that is to follow, makes the run
    unsuccessful.

    Args:
        run: the run.
        surroundings: those of the run.
    """
    manager = surroundings.transaction_manager
    connections = surroundings.connections
    with (
        running(run),
        use_connections(connections),
        use_manager(manager),
    ):
        # in this transaction: if another process takes the job over after
        # this read, the commit meets a conflict
        call = run.load(connections)
        surroundings.has_loaded = True
        value = surroundings.call(call)
    # the function may have ended the transaction that it got
    surroundings.ensure_transaction()
    run.succeed(value, connections)


def commit(run: IRun, surroundings: Surroundings) -> None:
    """Commit the effects and the success of a run.

    Args:
        run: the run.
        surroundings: those of the run.

    Raises:
        TransactionRequired: a hook has aborted the transaction.
    """
    manager = surroundings.transaction_manager
    current = manager.get()
    # asked here, so that the ordinary run takes no way
    if len(current.description) > LONGEST_NOTE:
        cut_notes(current)
    surroundings.is_committing = True
    try:
        manager.commit()
    except POSKeyError as error:
        # of what the success is written to, perhaps, and not of the effects
        run.require_job(error)
        raise
    if not run.note_commit():
        raise TransactionRequired(
            "The transaction of the job was aborted in its commit, so neither"
            " its effects nor its success are stored. A function that is"
            " called before the commit, for instance by addBeforeCommitHook(),"
            " has to raise an exception to prevent it."
        )


def _log_success(run: IRun) -> None:
    log.info(
        "Job %s succeeded: %s.",
        run.sid,
        run.function,
        extra={
            "action": "job_succeeded",
            "sid": run.sid,
            "function": run.function,
        },
    )
