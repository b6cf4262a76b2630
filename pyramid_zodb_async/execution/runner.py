"""The runner, which leads a run from its claim to what is told of its end."""

import contextlib
import functools
import logging
import sys
import threading
import traceback
from typing import Any

from transaction.interfaces import TransientError

from ..contracts import IRun, ISchedulerCore
from ..database.connections import ThreadConnections, use_connections
from ..database.storages import storage_failed
from ..events import (
    JobEvent,
    JobFailed,
    JobRetried,
    JobStarted,
    JobSucceeded,
)
from ..exceptions import JobTimeout
from ..jobs.current_job import running
from ..transactional import use_manager
from ..transfer.failures import as_bytes
from .subscribers import Announcer
from .surroundings import Surroundings, SurroundingsFactory
from .time_limit import Watchdog
from .verdicts import (
    SUCCEEDED,
    AttemptVerdict,
    FailedAttempt,
    GiveBack,
    GivenUp,
    Logged,
    Overruled,
    Raised,
    Repeat,
    Rules,
    Succeeded,
    TryAgain,
    Verdict,
    WaitForStorage,
    longest_delay,
)

__all__ = ["Runner"]

log = logging.getLogger(__name__)


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
        self._scheduler = scheduler
        self._environment = environment
        self._time_limit = time_limit
        self._rules = Rules(
            max_conflicts=max_conflicts,
            attempts=attempts,
            public_errors=public_errors,
            waits_before_retry=waits_before_retry,
        )
        self._watchdog = Watchdog()

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
        try:
            run = self._scheduler.claim(sid)
        except Exception:
            # the database is away, or a conflict was met; no run has begun
            log.warning(
                "Job %s cannot be begun now; it will be tried again.",
                sid,
                exc_info=True,
                extra={"action": "job_not_begun", "sid": sid},
            )
            return longest_delay()
        if run is None:
            return None
        self._announce(JobStarted, run)
        with self._limit_time(run):
            verdict = self._execute(run)
        delay = self._record(run, verdict)
        if delay is None:
            # after the events, since the process forgets the job here, and
            # wakes the waiters for its end; a released job stays assigned
            run.close()
        return delay

    def _announce(self, kind: type[JobEvent], run: IRun) -> None:
        """Call the subscribers to an event of a run, if there are any."""
        announcer: Announcer = self._scheduler.announcer
        if announcer.has_subscribers(kind):
            announcer.announce(kind, run.view())

    def _limit_time(
        self, run: IRun
    ) -> contextlib.AbstractContextManager[None]:
        """Have the job failed when the block takes longer than it may."""
        limit: float | None = run.options.time_limit or self._time_limit
        if limit is None:
            return contextlib.nullcontext()
        thread = threading.get_ident()
        on_timeout = functools.partial(self._time_out, run, limit, thread)
        return self._watchdog.limit(limit, on_timeout)

    def _execute(self, run: IRun) -> Verdict:
        """Give the run its surroundings, and return the verdict on it."""
        verdict: Verdict | None = None
        try:
            with self._environment(run) as surroundings:
                try:
                    _perform(run, surroundings)
                    verdict = SUCCEEDED
                except BaseException as error:  # noqa: BLE001 - of any kind
                    # here, where the transaction is not aborted yet: the
                    # surroundings ask it whether the error is transient, and
                    # the error may refer to objects of its connections
                    verdict = self._judge(
                        run,
                        Raised(
                            error,
                            surroundings.connections,
                            may_repeat=surroundings.may_repeat(error),
                            is_outage=surroundings.met_outage(error),
                        ),
                    )
        except BaseException as error:
            if verdict is None:
                # most likely the surroundings could not be made: nothing was
                # called, and there is no transaction that could be asked
                return self._judge(
                    run,
                    Raised(
                        error,
                        ThreadConnections(),
                        may_repeat=isinstance(error, TransientError),
                        is_outage=storage_failed(error),
                    ),
                )
            # the commit, or the verdict, is not changed by that
            log.exception(
                "Clearing up after job %s failed: %s.",
                run.sid,
                run.function,
                extra=_fields("job_not_cleared_up", run),
            )
        return verdict

    def _judge(self, run: IRun, raised: Raised) -> Verdict:
        """Return the verdict on a run that has raised, and log it."""
        verdict = self._rules.decide(run, raised)
        if isinstance(verdict, FailedAttempt):
            return self._judge_attempt(run, verdict)
        _log(run, verdict, raised.error)
        return verdict

    def _judge_attempt(
        self, run: IRun, failed: FailedAttempt
    ) -> AttemptVerdict:
        """Return the verdict on an attempt that has failed, and log it."""
        verdict = self._rules.decide_on_attempt(run, failed)
        _log(run, verdict, failed.error)
        return verdict

    def _record(self, run: IRun, verdict: Verdict) -> float | None:
        """Record what is to follow, and tell the subscribers.

        Not before the surroundings are gone: a failure is recorded in a
        transaction of its own when the effects are aborted, and subscribers
        are called when no transaction of the job is open. Return the seconds
        after which to run the job again, or ``None``.
        """
        match verdict:
            case Succeeded():
                self._announce(JobSucceeded, run)
            case GivenUp() | Overruled():
                # the job may have cancelled itself
                self._scheduler.commit_queue.deliver()
            case GiveBack():
                _give_back(run)
            case WaitForStorage():
                # not a conflict: an outage of any length must not use up
                # max_conflicts
                run.release(counts=False)
                return verdict.delay
            case Repeat():
                run.release()
                return verdict.delay
            case _:
                is_recorded = self._end_attempt(
                    run,
                    verdict,
                    "The failure of job %s cannot be recorded now; the job"
                    " will be repeated: %s.",
                )
                if is_recorded is None:
                    run.release()
                    return longest_delay()
        return None

    def _end_attempt(
        self, run: IRun, verdict: AttemptVerdict, if_not: str
    ) -> bool | None:
        """Record that an attempt has failed, and tell the subscribers.

        Return whether it is recorded: it is not if the job was not this run's
        any more. If it cannot be recorded now, log *if_not*, and return
        ``None``.
        """
        event: type[JobEvent]
        try:
            if isinstance(verdict, TryAgain):
                event, is_recorded = JobRetried, run.retry(verdict.due)
            else:
                event, is_recorded = (
                    JobFailed,
                    run.fail(verdict.failure, verdict.exception),
                )
        except Exception:
            log.warning(
                if_not,
                run.sid,
                run.function,
                exc_info=True,
                extra=_fields("failure_not_recorded", run),
            )
            return None
        if is_recorded:
            self._announce(event, run)
        return is_recorded

    def _time_out(self, run: IRun, limit: float, thread: int) -> None:
        """Record the failure of a run that takes too long and goes on.

        The watchdog calls this on its own thread. A run cannot be interrupted
        from outside; it ends when the function asks whether it should, and
        its commit meets a conflict with what is recorded here.

        Args:
            run: the run.
            limit: its time limit, in seconds.
            thread: the identifier of the thread that it is on.
        """
        if run.has_ended():
            return
        reason = JobTimeout(f"The job has run for more than {limit:g} seconds")
        # before anything that takes time or may fail: from here on the run
        # cannot succeed, also if the failure cannot be recorded now
        run.time_out(reason)
        log.error(
            "Job %s has run for more than %g s: %s. Its thread is here:\n%s",
            run.sid,
            limit,
            run.function,
            _stack_of(thread),
            extra=_fields("job_timed_out", run),
        )
        failed = FailedAttempt(reason, as_bytes(reason))
        # if it cannot be recorded now, the run fails with this reason, and
        # records that by itself
        if self._end_attempt(
            run,
            self._judge_attempt(run, failed),
            "That job %s took too long cannot be recorded now, but when its"
            " run has ended: %s.",
        ):
            # after the events, for the same reason as close()
            run.leave()


def _perform(run: IRun, surroundings: Surroundings) -> None:
    """Load and make the call, record the success, and commit both.

    Whatever raises here, the commit included, makes the run unsuccessful.
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
    manager.commit()
    log.info(
        "Job %s succeeded: %s.",
        run.sid,
        run.function,
        extra=_fields("job_succeeded", run),
    )


def _give_back(run: IRun) -> None:
    """Record that other processes may run a job, since this one is to end.

    Never raises. If it cannot be recorded, others take the job over when this
    process has given no sign of life for the time of a lease.
    """
    try:
        run.give_back()
    except Exception:
        log.warning(
            "Job %s cannot be left to others now; they may notice after a"
            " lease: %s.",
            run.sid,
            run.function,
            exc_info=True,
            extra=_fields("job_not_given_back", run),
        )


def _log(run: IRun, verdict: Logged, error: BaseException) -> None:
    """Log what is to follow a run that raised, while its transaction is open.

    The log may show the text of *error*, which may depend on persistent
    objects.
    """
    log.log(
        verdict.level,
        verdict.sentence,
        *verdict.values(run),
        exc_info=error if verdict.shows_error else None,
        extra=_fields(verdict.action, run),
    )


def _fields(action: str, run: IRun) -> dict[str, Any]:
    """Return the fields that a log record about a run has.

    Args:
        action: a fixed word for what has happened, for programs that read
            logs.
        run: the run.
    """
    return {"action": action, "sid": run.sid, "function": run.function}


def _stack_of(thread: int) -> str:
    """Return the traceback of where a thread is, for the log."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    return "".join(traceback.format_stack(frame)) if frame else "(gone)"
