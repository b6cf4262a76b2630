"""The one way in which a job is run: claim, load, call, record, commit."""

import functools
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

from transaction.interfaces import TransientError

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
from ..interfaces import Connections, IRun, IScheduler
from ..jobs.current_job import running
from ..transactional import use_manager
from ..transfer.failures import as_bytes, describe, pickled_exception
from .announcer import Announcer
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

    Args:
        scheduler: where jobs come from, and where their outcome goes.
        environment: what surrounds them.
        max_conflicts: how often an attempt is repeated after conflicts and
            other transient errors.
        attempts: how many attempts may fail, of a job whose options do not
            tell.
        time_limit: how long a run may take, in seconds, of such a job.
        public_errors: exceptions whose text may be shown to people.
        waits_before_retry: whether a job waits before it is tried again.
    """

    def __init__(  # noqa: PLR0913 - a figure each for what a job may do
        self,
        scheduler: IScheduler,
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
        """Run the job once, if it still waits.

        Never raises. Returns the seconds after which to run it again, or
        ``None`` if this is all.
        """
        try:
            run = self._scheduler.claim(sid)
        except Exception:
            log.warning(
                "Job %s cannot be begun now; it will be tried again.",
                sid,
                exc_info=True,
                extra={"action": "job_not_begun", "sid": sid},
            )
            return GREATEST_DELAY
        if run is None:
            return None
        self._tell(JobStarted, run)
        limit: float | None = run.options.time_limit or self._time_limit
        if limit is None:
            again = self._end(run)
        else:
            thread = threading.get_ident()
            on_timeout = functools.partial(self._end_late, run, limit, thread)
            with self._watchdog.limit(limit, on_timeout):
                again = self._end(run)
        if again is None:
            run.close()
        return again

    def _end(self, run: IRun) -> float | None:
        """Run the job, and record what came of it."""
        ended: Callable[[], float | None] | None = None
        try:
            with self._environment(run) as surroundings:
                try:
                    self._perform(run, surroundings)
                    ended = functools.partial(self._tell, JobSucceeded, run)
                except BaseException as error:  # noqa: BLE001 - of any kind
                    ended = self._judge(
                        run,
                        error,
                        surroundings.connections,
                        may_repeat=surroundings.may_repeat(error),
                        is_outage=surroundings.met_outage(error),
                    )
        except BaseException as error:
            if ended is None:  # the job was not reached
                ended = self._judge(
                    run,
                    error,
                    ThreadConnections(),
                    may_repeat=isinstance(error, TransientError),
                    is_outage=storage_failed(error),
                )
            else:
                log.exception(
                    "Clearing up after job %s failed: %s.",
                    run.sid,
                    run.function,
                    extra=log_fields("job_not_cleared_up", run),
                )
        return ended()

    def _tell(self, kind: type[JobEvent], run: IRun) -> None:
        announcer: Announcer = self._scheduler.announcer
        if announcer.has_subscribers(kind):
            announcer.announce(kind, run.view())

    def _perform(self, run: IRun, surroundings: Surroundings) -> None:
        manager = surroundings.transaction_manager
        connections = surroundings.connections
        with (
            running(run),
            use_connections(connections),
            use_manager(manager),
        ):
            call = run.call.load(connections)
            surroundings.has_loaded = True
            value = surroundings.call(call)
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
        """Log *error*, and tell what to do when its effects are aborted.

        The text of an exception may depend on objects that must not be
        touched when the connection is given back, so all that is needed of
        it is taken here.
        """
        if run.has_ended():
            # it has asked, or its commit met that of the cancel
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
        """Log a failed attempt, and tell what is to come of it."""
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
            self._tell(verdict.event, run)
        return None

    def _end_late(self, run: IRun, limit: float, thread: int) -> None:
        """End a job whose run takes too long, though that goes on."""
        if run.has_ended():
            return
        reason = JobTimeout(f"The job has run for more than {limit:g} seconds")
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
            self._tell(verdict.event, run)
            run.leave()


def _stack_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)  # noqa: SLF001 - documented
    return "".join(traceback.format_stack(frame)) if frame else "(gone)"
