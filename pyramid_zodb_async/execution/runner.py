"""The runner, which leads a run from its claim to its commit or verdict.

From top to bottom, :meth:`Runner.run` takes these steps:

1. *Claim*: the scheduler hands out the run, or says that there is none.
2. *Surroundings*: they give the run a transaction and connections.
3. *Call*: the call is loaded from the database, and made.
4. *Record*: the success becomes a part of the same transaction.
5. *Commit*: from here on the effects and the success can be seen.
6. *Verdict*: if any of these raised, the error is judged while the
   transaction is open, and what follows of it is done when all effects are
   aborted: the attempt is repeated, another one follows, or the job fails.
"""

import functools
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

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
from ..exceptions import JobError, JobTimeout
from ..interfaces import Connections
from ..jobs.current_job import running
from ..transactional import use_manager
from ..transfer.failures import as_bytes, describe, pickled_exception
from .subscribers import Announcer
from .surroundings import Surroundings, SurroundingsFactory
from .time_limit import Watchdog
from .verdicts import (
    GREATEST_DELAY,
    Verdict,
    give_back,
    is_told_to_stop,
    leave,
    log_fields,
    repeat,
    wait_for_storage,
)

__all__ = ["Runner"]

log = logging.getLogger(__name__)


class Runner:
    """Runs the jobs of *scheduler* in *environment*.

    An engine calls :meth:`run`, on any number of threads at a time.

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
        self._max_conflicts = max_conflicts
        self._attempts = attempts
        self._time_limit = time_limit
        self._public_errors = public_errors
        self._is_patient = waits_before_retry
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
            return GREATEST_DELAY
        if run is None:
            return None
        self._announce(JobStarted, run)
        limit: float | None = run.options.time_limit or self._time_limit
        if limit is None:
            delay = self._execute(run)
        else:
            thread = threading.get_ident()
            on_timeout = functools.partial(self._time_out, run, limit, thread)
            with self._watchdog.limit(limit, on_timeout):
                delay = self._execute(run)
        if delay is None:
            # after the events, since the process forgets the job here, and
            # wakes the waiters for its end; a released job stays assigned
            run.close()
        return delay

    def _execute(self, run: IRun) -> float | None:
        """Give the run its surroundings, and follow up on how it went.

        Return the seconds after which to run the job again, or ``None``.
        """
        follow_up: Callable[[], float | None] | None = None
        try:
            with self._environment(run) as surroundings:
                try:
                    self._perform(run, surroundings)
                    follow_up = functools.partial(
                        self._announce, JobSucceeded, run
                    )
                except BaseException as error:  # noqa: BLE001 - of any kind
                    # here, where the transaction is not aborted yet: the
                    # surroundings ask it whether the error is transient, and
                    # the error may refer to objects of its connections
                    follow_up = self._judge(
                        run,
                        error,
                        surroundings.connections,
                        may_repeat=surroundings.may_repeat(error),
                        is_outage=surroundings.met_outage(error),
                    )
        except BaseException as error:
            if follow_up is None:
                # most likely the surroundings could not be made: nothing was
                # called, and there is no transaction that could be asked
                follow_up = self._judge(
                    run,
                    error,
                    ThreadConnections(),
                    may_repeat=isinstance(error, TransientError),
                    is_outage=storage_failed(error),
                )
            else:
                # the commit, or the verdict, is not changed by that
                log.exception(
                    "Clearing up after job %s failed: %s.",
                    run.sid,
                    run.function,
                    extra=log_fields("job_not_cleared_up", run),
                )
        # not before the surroundings are gone: a failure is recorded in a
        # transaction of its own when the effects are aborted, and subscribers
        # are called when no transaction of the job is open
        return follow_up()

    def _announce(self, kind: type[JobEvent], run: IRun) -> None:
        """Call the subscribers to an event of a run, if there are any."""
        announcer: Announcer = self._scheduler.announcer
        if announcer.has_subscribers(kind):
            announcer.announce(kind, run.view())

    def _perform(self, run: IRun, surroundings: Surroundings) -> None:
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
            # in this transaction: if another process takes the job over
            # after this read, the commit meets a conflict
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
            extra=log_fields("job_succeeded", run),
        )

    def _judge(
        self,
        run: IRun,
        error: BaseException,
        connections: Connections,
        *,
        may_repeat: bool,
        is_outage: bool,
    ) -> Callable[[], float | None]:
        """Log *error*, and return what to do when the effects are aborted.

        The text and the pickle of an exception may depend on persistent
        objects, which must not be used after their connection is closed. So
        both are made here, and not when the failure is recorded.

        The questions are in this order:

        1. Has the job ended without this run? Then nothing is recorded.
        2. Is the process to end? That is not the job's fault.
        3. Was the storage away? That is not its fault either.
        4. Is the time limit over? Then the attempt has failed with a
           ``JobTimeout``, whatever was raised, and is not repeated.
        5. Is the error transient, with repetitions left?
        6. Otherwise the attempt has failed.
        """
        if run.has_ended():
            # expected errors: the function asked whether it should go on, or
            # its commit met a conflict with a cancel or a takeover
            if isinstance(error, JobError | TransientError):
                log.info(
                    "Job %s was given up by its run: %s.",
                    run.sid,
                    run.function,
                    extra=log_fields("job_given_up", run),
                )
                return leave
            log.warning(
                "Job %s had ended already when its run raised: %s.",
                run.sid,
                run.function,
                exc_info=error,
                extra=log_fields("job_overruled", run),
            )
            return leave
        if is_told_to_stop(error):
            return functools.partial(give_back, run)
        if is_outage:
            return functools.partial(wait_for_storage, run, error)
        reason = run.stop_reason()
        if isinstance(reason, JobTimeout):
            error = reason
        elif may_repeat and run.conflicts < self._max_conflicts:
            return functools.partial(repeat, run, type(error).__qualname__)
        verdict = self._decide(
            run, error, pickled_exception(error, connections)
        )
        return functools.partial(self._record, run, verdict)

    def _decide(
        self, run: IRun, error: BaseException, exception: bytes
    ) -> "Verdict":
        """Log a failed attempt, and return what is to follow: see Verdict.

        *exception* is the pickle of *error*, which becomes the outcome.
        """
        failures = run.failures + 1
        attempts = run.options.attempts or self._attempts
        if run.options.covers(error) and failures < attempts:
            delay = 0.0
            if self._is_patient:
                delay = run.options.backoff.delay(failures)
            log.warning(
                "Job %s will be tried again in %.1f s, for %d of %d attempts"
                " failed: %s.",
                run.sid,
                delay,
                failures,
                attempts,
                run.function,
                exc_info=error,
                extra=log_fields("job_retried", run),
            )
            due = time.time() + delay
            return Verdict(JobRetried, functools.partial(run.retry, due))
        log.error(
            "Job %s failed: %s.",
            run.sid,
            run.function,
            exc_info=error,
            extra=log_fields("job_failed", run),
        )
        failure = describe(error, self._public_errors)
        return Verdict(
            JobFailed, functools.partial(run.fail, failure, exception)
        )

    def _record(self, run: IRun, verdict: "Verdict") -> float | None:
        """Record a failed attempt in a transaction of its own.

        Announce the event. Return the seconds after which to repeat the
        attempt if it cannot be recorded now, else ``None``.
        """
        try:
            is_recorded = verdict.apply()
        except Exception:
            log.warning(
                "The failure of job %s cannot be recorded now; the job will be"
                " repeated: %s.",
                run.sid,
                run.function,
                exc_info=True,
                extra=log_fields("failure_not_recorded", run),
            )
            run.release()
            return GREATEST_DELAY
        if is_recorded:
            self._announce(verdict.event, run)
        return None

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
            extra=log_fields("job_timed_out", run),
        )
        verdict = self._decide(run, reason, as_bytes(reason))
        try:
            is_recorded = verdict.apply()
        except Exception:
            # the run will fail with this reason, and record that by itself
            log.warning(
                "That job %s took too long cannot be recorded now, but when"
                " its run has ended: %s.",
                run.sid,
                run.function,
                exc_info=True,
                extra=log_fields("failure_not_recorded", run),
            )
            return
        if is_recorded:
            # before leave(), for the same reason as before close()
            self._announce(verdict.event, run)
            run.leave()


def _stack_of(thread: int) -> str:
    """Return the traceback of where a thread is, for the log."""
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    return "".join(traceback.format_stack(frame)) if frame else "(gone)"
