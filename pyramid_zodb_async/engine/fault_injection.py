"""Has runs of jobs fail, break off or pause where a test wants them to."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, get_args

from zope.interface import Interface, implementer

from ..exceptions import JobCancelled
from ..interfaces import Connections, IRun, IScheduler
from ..jobs.model import Progress

__all__ = [
    "Crash",
    "Error",
    "IInterventions",
    "Intervention",
    "Interventions",
    "Moment",
    "Pause",
]

#: A moment of a run: the function is about to be called; it tells of its
#: progress for the first time; it has returned; the storage has all that it
#: changed, and is about to commit.
Moment = Literal["start", "progress", "end", "commit"]


class Intervention:
    """Something that is to happen at one moment of one run.

    Args:
        moment: the moment.

    Raises:
        ValueError: there is no such moment.
    """

    def __init__(self, moment: Moment) -> None:
        if moment not in get_args(Moment):
            raise ValueError(
                f"There is no moment {moment!r} in a run: there are "
                + ", ".join(map(repr, get_args(Moment)))
            )
        self.moment = moment
        #: Whether its run came to the moment.
        self.has_come = False

    def happen(self, run: "DirectedRun") -> None:
        """Do to *run*, on its thread, what it is about."""


class Error(Intervention):
    """The run raises *error*.

    Raises:
        TypeError: *error* is no exception.
    """

    def __init__(
        self, moment: Moment, error: BaseException | type[BaseException]
    ) -> None:
        super().__init__(moment)
        if not isinstance(error, BaseException) and not (
            isinstance(error, type) and issubclass(error, BaseException)
        ):
            raise TypeError(
                f"A run can fail with an exception, not with {error!r}"
            )
        self._error = error

    def happen(self, run: "DirectedRun") -> None:
        """See :class:`Intervention`."""
        raise self._error


class Crash(Intervention):
    """The run ends as if its process did: nothing is recorded of it."""

    def happen(self, run: "DirectedRun") -> None:
        """See :class:`Intervention`."""
        raise run.die()


class Pause(Intervention):
    """The run waits until :meth:`resume` is called."""

    def __init__(self, moment: Moment) -> None:
        super().__init__(moment)
        self.reached = threading.Event()
        self._resumed = threading.Event()

    def happen(self, run: "DirectedRun") -> None:
        """See :class:`Intervention`."""
        self.reached.set()
        self._resumed.wait()

    def resume(self) -> None:
        """Let the run go on."""
        self._resumed.set()


class IInterventions(Interface):
    """What a test has happen in the runs of an application; a utility."""


@implementer(IInterventions)
class Interventions:
    """A scheduler, as the runner sees it, to whose runs things happen.

    Args:
        scheduler: the scheduler.
    """

    def __init__(self, scheduler: IScheduler) -> None:
        self._scheduler = scheduler
        self._planned: deque[Intervention] = deque()
        self._pause: Pause | None = None
        self._last: list[Intervention] = []

    def plan(self, intervention: Intervention) -> None:
        """Have something happen to the next run that nothing is planned for.

        The first that was planned is for the next run, and so on.
        """
        self._planned.append(intervention)

    def pause(self, pause: Pause | None) -> None:
        """Have the next run pause, besides what is planned for it."""
        self._pause = pause

    def take_last(self) -> list[Intervention]:
        """Give what was to happen in the last run."""
        last, self._last = self._last, []
        return last

    def claim(self, sid: str) -> Any:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        run: IRun | None = self._scheduler.claim(sid)
        if run is None:
            return None
        pause, self._pause = self._pause, None
        if pause is not None:
            self._last.append(pause)
        if self._planned:
            self._last.append(self._planned.popleft())
        return DirectedRun(run, list(self._last))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)


class DirectedRun:
    """A run in which things happen; all else is that of the run."""

    def __init__(self, run: IRun, interventions: list[Intervention]) -> None:
        self._run = run
        self._interventions = interventions
        #: Whether it is over as far as anybody can tell.
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def come_to(self, moment: Moment) -> None:
        """Have happen what is to happen at a moment."""
        for intervention in self._interventions:
            if intervention.moment == moment and not intervention.has_come:
                intervention.has_come = True
                intervention.happen(self)

    def die(self) -> JobCancelled:
        """Be over, and give what lets the runner record nothing."""
        self.is_dead = True
        return JobCancelled(f"The process of job {self._run.sid} is dead")

    @property
    def call(self) -> "DirectedRun":
        """What loads the call."""
        return self

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Give a callable that makes the call, and tells of two moments."""
        call = self._run.call.load(connections)

        def directed() -> Any:
            self.come_to("start")
            value = call()
            self.come_to("end")
            return value

        return directed

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return self.is_dead or bool(self._run.has_ended())

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        self._run.report(progress)
        self.come_to("progress")

    def stop_reason(self) -> Any:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        return self.die() if self.is_dead else self._run.stop_reason()

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.interfaces.IRun`."""
        if self.is_dead:  # its function went on all the same
            raise self.die()
        self._run.succeed(value, connections)
        connections.transaction_manager.get().join(_LastMoment(self))


class _LastMoment:
    """Takes part in a transaction, to tell when it is about to commit."""

    transaction_manager = None

    def __init__(self, run: DirectedRun) -> None:
        self._run = run

    def sortKey(self) -> str:  # noqa: N802 - the interface's name
        """Give a key behind all but those that commit when they vote.

        So late a storage can still refuse.
        """
        return "}"

    def tpc_vote(self, transaction: Any) -> None:
        """Have happen what is to happen."""
        self._run.come_to("commit")

    def _nothing(self, transaction: Any) -> None:
        """There is nothing to store, and nothing to take back."""

    abort = tpc_begin = commit = tpc_finish = tpc_abort = _nothing
