"""Batches: several short runs in one transaction, so in one commit."""

import contextvars
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from zope.interface import implementer

from ..concurrency.loggers import get_logger
from ..contracts import IBatchRun
from ..interfaces import IBatches
from .batch_surroundings import BatchSurroundings, surround_batch
from .judging import judge, log_fields
from .request_surroundings import RequestSurroundings
from .runner import Runner, commit, make_call, raised_in
from .surroundings import Surroundings
from .verdicts import SUCCEEDED, InDoubt, Repeat, Verdict

__all__ = ["Batches"]

log = get_logger(__name__)

#: After how many seconds no further run begins in a batch: a run that waits
#: for its commit should not wait for much longer than for a disk.
LONGEST = 0.05

#: After how many seconds a run holds up no others of its batch any more.
PATIENCE = 5.0


class _Batch:
    """What becomes of the runs of a batch.

    Args:
        runs: the runs, which are claimed.
    """

    def __init__(self, runs: Iterable[IBatchRun]) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        #: The runs that have not begun.
        self.waiting = list(runs)
        self.waiting.reverse()
        #: The runs whose success is a part of the open transaction.
        self.pending: list[IBatchRun] = []
        #: The runs on which there is a verdict, with that.
        self.ended: list[tuple[IBatchRun, Verdict]] = []
        #: The runs whose effects are gone, each to be run by itself.
        self.left: list[IBatchRun] = []
        #: The run that has begun last.
        self._last: IBatchRun | None = None
        #: Whether the runs that were held up have broken away.
        self.is_broken = False
        #: Whether the transaction is being committed, or is over.
        self._is_closed = False

    def next(self) -> IBatchRun | None:
        """Return the run that begins now, if one may."""
        with self._lock:
            is_late = time.monotonic() > self._began + LONGEST
            is_over = self.is_broken or (is_late and self.pending)
            if is_over or not self.waiting:
                return None
            self._last = self.waiting.pop()
            return self._last

    def close(self) -> bool:
        """Begin to commit; return whether nobody has broken away."""
        with self._lock:
            self._is_closed = True
            return not self.is_broken

    def break_up(self) -> tuple[list[IBatchRun], list[IBatchRun]]:
        """Return the runs that have not begun, and those that wait.

        They are to be run again, by others.
        """
        with self._lock:
            if self._is_closed:
                return [], []
            waiting, self.waiting = self.waiting, []
            self.is_broken = bool(self.pending)
            return waiting[::-1], list(self.pending)

    def succeed(self) -> None:
        """Note that the transaction has committed what it had."""
        for run in self.pending:
            run.note_commit()
            self.ended.append((run, SUCCEEDED))
        self.pending = []

    def lose(self, *runs: IBatchRun) -> None:
        """Note that the transaction is aborted; *runs* had their turn."""
        self.left += [*self.pending, *runs]
        self.pending = []

    def lose_all(self) -> None:
        """Note that the transaction is over, whatever has happened."""
        if self._last is None:
            # none has begun: each is to meet by itself what has prevented it
            self.left, self.waiting = self.waiting[::-1], []
            return
        known = [*self.pending, *self.left, *(run for run, _ in self.ended)]
        self.lose(*({self._last} - set(known)))


@implementer(IBatches)
class Batches:
    """Runs several jobs in one transaction, each in a request of its own.

    The jobs are claimed, and their functions called one after the other, for
    a twentieth of a second. Then one commit has the effects and the successes
    of all of them. If something goes wrong, all effects are aborted, and each
    job that had its turn is run by itself, as if there had been no batch.

    A function that ends the transaction by itself decides for those before
    it: they have succeeded if it commits, and are run again if it aborts. It
    goes on in transactions of its own, and its verdict is that of any run.

    Args:
        runner: runs single jobs; the verdicts are those of its rules.
        environment: makes the requests of the runs.
        submit: has the engine run jobs.
    """

    def __init__(
        self,
        runner: Runner,
        environment: RequestSurroundings,
        submit: Callable[..., None],
    ) -> None:
        self._runner = runner
        self._environment = environment
        self._submit = submit

    def may_batch(self, sid: str) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IBatches`."""
        return bool(self._runner.scheduler.may_batch(sid))

    def run(self, sids: Sequence[str]) -> Sequence[tuple[str, float]]:
        """See :class:`~pyramid_zodb_async.interfaces.IBatches`."""
        again: list[tuple[str, float]] = []
        runs: list[IBatchRun] = []
        for sid in sids:
            claimed: Any = self._runner.claim(sid)
            if isinstance(claimed, float):
                again.append((sid, claimed))
            elif claimed is not None:
                runs.append(claimed)
        if runs:
            batch = _Batch(runs)
            with self._runner.watchdog.limit(
                PATIENCE, lambda: self._break_up(batch)
            ):
                self._execute(batch, runs[0])
            again += self._end(batch)
        return again

    def _end(self, batch: _Batch) -> list[tuple[str, float]]:
        """Record what is to follow each run, when none has a transaction."""
        again = []
        for run, verdict in batch.ended:
            delay = self._runner.end(run, verdict)
            if delay is not None:
                again.append((run.sid, delay))
        for run in batch.left:
            if not run.has_ended():
                again.append((run.sid, 0.0))
            run.leave_batch()
        # first, as a job that has lost its effects comes before the others
        for run in reversed(batch.waiting):
            run.release(counts=False)
            again.append((run.sid, 0.0))
        return again

    def _execute(self, batch: _Batch, first: IBatchRun) -> None:
        """Run the jobs of a batch, and commit."""
        try:
            with surround_batch(self._environment, first) as shared:
                while (run := batch.next()) is not None:
                    with shared.turn(run) as surroundings:
                        goes_on = self._take_turn(
                            batch, run, shared, surroundings
                        )
                    if not goes_on:
                        return
                self._commit(batch, surroundings)
        except BaseException as error:  # noqa: BLE001 - of any kind
            # most likely the surroundings could not be made, and the storage
            # is away: each run meets that by itself
            batch.lose_all()
            _log_trouble(first, error)

    def _take_turn(
        self,
        batch: _Batch,
        run: IBatchRun,
        shared: BatchSurroundings,
        surroundings: Surroundings,
    ) -> bool:
        """Run one job; return whether others may use the transaction."""
        try:
            # in a new context, so that no job sees the context variables that
            # another has set
            contextvars.Context().run(self._call, run, surroundings)
        except BaseException as error:  # noqa: BLE001 - of any kind
            self._settle(batch, run, shared, surroundings, error)
            return False
        if shared.is_over():
            # by the function; its success is a part of another one
            self._close(batch, shared)
            self._commit_alone(batch, run, surroundings)
            return False
        batch.pending.append(run)
        if shared.may_go_on():
            return True
        self._commit(batch, surroundings)
        return False

    def _call(self, run: IBatchRun, surroundings: Surroundings) -> None:
        run.note_turn()
        with self._runner.limit_time(run):
            make_call(run, surroundings)

    def _settle(
        self,
        batch: _Batch,
        run: IBatchRun,
        shared: BatchSurroundings,
        surroundings: Surroundings,
        error: BaseException,
    ) -> None:
        """Decide what follows a function that has raised."""
        if surroundings.doubtful_participants():
            self._doubt(batch, surroundings, error)
        elif shared.is_over():
            self._close(batch, shared)
        elif batch.pending:
            _log_trouble(run, error)
            batch.lose(run)
            return
        # nothing of another run is open: it is as if it had run by itself
        self._judge(batch, run, surroundings, error)

    def _close(self, batch: _Batch, shared: BatchSurroundings) -> None:
        """Note what a function did to those before it that ended them."""
        batch.close()
        if shared.has_committed():
            batch.succeed()
        else:
            batch.lose()

    def _commit(self, batch: _Batch, surroundings: Surroundings) -> None:
        """Commit the effects and the successes of the runs so far."""
        if not batch.close():
            batch.lose()
            return
        if len(batch.pending) == 1:
            self._commit_alone(batch, batch.pending.pop(), surroundings)
            return
        last = batch.pending[-1]
        try:
            commit(last, surroundings)
        except BaseException as error:  # noqa: BLE001 - of any kind
            if surroundings.doubtful_participants():
                self._doubt(batch, surroundings, error)
            else:
                _log_trouble(last, error)
                batch.lose()
        else:
            batch.succeed()

    def _commit_alone(
        self, batch: _Batch, run: IBatchRun, surroundings: Surroundings
    ) -> None:
        """Commit a transaction that has nothing of other runs."""
        try:
            commit(run, surroundings)
        except BaseException as error:  # noqa: BLE001 - of any kind
            self._judge(batch, run, surroundings, error)
        else:
            batch.ended.append((run, SUCCEEDED))

    def _judge(
        self,
        batch: _Batch,
        run: IBatchRun,
        surroundings: Surroundings,
        error: BaseException,
    ) -> None:
        raised = raised_in(run, error, surroundings)
        verdict = judge(self._runner.rules, run, raised)
        batch.ended.append((run, verdict))

    def _doubt(
        self, batch: _Batch, surroundings: Surroundings, error: BaseException
    ) -> None:
        """Have each run find out whether the commit has succeeded.

        If it has not, that is not the fault of any of them.
        """
        batch.close()
        pending, batch.pending = batch.pending, []
        is_committing, surroundings.is_committing = (
            surroundings.is_committing,
            True,
        )
        for run in pending:
            raised = raised_in(run, error, surroundings)
            verdict = judge(self._runner.rules, run, raised)
            # else it was cancelled at that moment
            if isinstance(verdict, InDoubt):  # pragma: no branch
                met = type(error).__qualname__
                verdict = dataclasses.replace(
                    verdict, otherwise=Repeat(0.0, met)
                )
            batch.ended.append((run, verdict))
        surroundings.is_committing = is_committing

    def _break_up(self, batch: _Batch) -> None:
        """Have the runs go on by themselves that another one holds up.

        The watchdog calls this on its own thread.
        """
        waiting, pending = batch.break_up()
        for run in waiting:
            run.release(counts=False)
            self._submit([run.sid], priority=run.options.priority)
        for run in pending:
            try:
                run.break_away()
            except Exception:
                # it goes on with the one that holds it up
                log.warning(
                    "Job %s waits for another one of its batch: %s.",
                    run.sid,
                    run.function,
                    exc_info=True,
                    extra=log_fields("job_held_up", run),
                )


def _log_trouble(run: IBatchRun, error: BaseException) -> None:
    """Log that the jobs of a batch are run one by one."""
    log.info(
        "A batch met %s, and its jobs are run one by one; it was at job %s:"
        " %s.",
        type(error).__qualname__,
        run.sid,
        run.function,
        extra=log_fields("batch_given_up", run),
    )
