"""The one way in which a job is run: claim, load, call, record, commit."""

import functools
import logging
import random
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError

from .connections import Connections, ThreadConnections, use_connections
from .current import running
from .environment import Environment, Surroundings
from .failure import describe, pickled_exception
from .interfaces import IRun, IScheduler
from .job import Failure
from .outages import storage_failed
from .transactional import use_manager

__all__ = ["Runner"]

log = logging.getLogger(__name__)

#: The first and the greatest delay after a conflict, in seconds, before
#: chance makes it shorter.
FIRST_DELAY, GREATEST_DELAY = 0.05, 5.0


class Runner:
    """Runs the jobs of *scheduler* in *environment*.

    Args:
        scheduler: where jobs come from, and where their outcome goes.
        environment: what surrounds them.
        max_conflicts: how often an attempt is repeated after conflicts and
            other transient errors.
        public_errors: exceptions whose text may be shown to people.
    """

    def __init__(
        self,
        scheduler: IScheduler,
        environment: Environment,
        *,
        max_conflicts: int = 50,
        public_errors: tuple[type[BaseException], ...] = (),
    ) -> None:
        self._scheduler = scheduler
        self._environment = environment
        self._max_conflicts = max_conflicts
        self._public_errors = public_errors

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
                    ended = _leave
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
                    extra=_extra("job_not_cleared_up", run),
                )
        return ended()

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
            value = call()
        surroundings.settle()
        run.succeed(value, connections)
        manager.commit()
        log.info(
            "Job %s succeeded: %s.",
            run.sid,
            run.function,
            extra=_extra("job_succeeded", run),
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
        if run.stop_reason():
            log.warning(
                "Job %s had ended already when its run raised: %s.",
                run.sid,
                run.function,
                exc_info=error,
                extra=_extra("job_overruled", run),
            )
            return _leave
        if is_outage:
            return functools.partial(_wait, run, error)
        if may_repeat and run.conflicts < self._max_conflicts:
            return functools.partial(_repeat, run, type(error).__qualname__)
        log.error(
            "Job %s failed: %s.",
            run.sid,
            run.function,
            exc_info=error,
            extra=_extra("job_failed", run),
        )
        failure = describe(error, self._public_errors)
        exception = pickled_exception(error, connections)
        return functools.partial(_fail, run, failure, exception)


def _leave() -> None:
    """Do nothing more: the job has ended."""


def _repeat(run: IRun, kind: str) -> float:
    # no larger power, which could not be multiplied any more
    most = min(GREATEST_DELAY, FIRST_DELAY * 2 ** min(run.conflicts, 20))
    delay = random.uniform(0, most)  # noqa: S311 - no secret
    log.info(
        "Job %s will be repeated in %.2f s: %s met %s.",
        run.sid,
        delay,
        run.function,
        kind,
        extra=_extra("job_repeated", run),
    )
    run.release()
    return delay


def _wait(run: IRun, error: BaseException) -> float:
    log.warning(
        "Job %s will be repeated when the storage is back: %s met %s.",
        run.sid,
        run.function,
        type(error).__qualname__,
        extra=_extra("job_waits_for_storage", run),
    )
    run.release(counts=False)
    return random.uniform(0, GREATEST_DELAY)  # noqa: S311 - no secret


def _fail(run: IRun, failure: Failure, exception: bytes) -> float | None:
    try:
        run.fail(failure, exception)
    except Exception:
        log.warning(
            "The failure of job %s cannot be recorded now; the job will be"
            " repeated: %s.",
            run.sid,
            run.function,
            exc_info=True,
            extra=_extra("failure_not_recorded", run),
        )
        run.release()
        return GREATEST_DELAY
    return None


def _extra(action: str, run: IRun) -> dict[str, Any]:
    return {"action": action, "sid": run.sid, "function": run.function}
