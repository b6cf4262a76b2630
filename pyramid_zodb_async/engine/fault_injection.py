"""Faults for tests: runs that fail, break off or pause at a given moment."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, get_args

from zope.interface import Interface, implementer

from ..contracts import IRun, ISchedulerCore
from ..exceptions import JobCancelled
from ..interfaces import Connections
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

#: A moment of a run. ``"start"``: the function is about to be called.
#: ``"progress"``: it has reported progress, for the first time. ``"end"``: it
#: has returned. ``"commit"``: the storage has received all changes of the run,
#: and is about to commit.
Moment = Literal["start", "progress", "end", "commit"]


class Intervention:
    """Something that is to happen at one moment of one run.

    Args:
        moment: the moment at which it is to happen.

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
        #: Whether the run has reached the moment.
        self.has_come = False

    def happen(self, run: "DirectedRun") -> None:
        """Intervene; called on the thread of the run, at the moment.

        Args:
            run: the run.
        """


class Error(Intervention):
    """An exception that the run raises.

    Args:
        moment: the moment at which it is raised.
        error: the exception, or its class.

    Raises:
        TypeError: *error* is no exception.
        ValueError: there is no such moment.
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
    """The end of the process, as others see it: the run records nothing.

    Args:
        moment: the moment at which it ends.

    Raises:
        ValueError: there is no such moment.
    """

    def happen(self, run: "DirectedRun") -> None:
        """See :class:`Intervention`."""
        raise run.die()


class Pause(Intervention):
    """A pause of the run, until :meth:`resume` is called.

    Args:
        moment: the moment at which the run pauses.

    Raises:
        ValueError: there is no such moment.
    """

    def __init__(self, moment: Moment) -> None:
        super().__init__(moment)
        #: Is set when the run pauses.
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
    """The interventions in the runs of an application; a utility."""


@implementer(IInterventions)
class Interventions:
    """A proxy of a scheduler for the runner, which intervenes in its runs.

    Args:
        scheduler: the scheduler, whose other methods are used as they are.
    """

    def __init__(self, scheduler: ISchedulerCore) -> None:
        self._scheduler = scheduler
        self._planned: deque[Intervention] = deque()
        self._pause: Pause | None = None
        self._last: list[Intervention] = []

    def plan(self, intervention: Intervention) -> None:
        """Plan an intervention for the next run without a planned one.

        Each run gets one, in the order in which they were planned.

        Args:
            intervention: the intervention.
        """
        self._planned.append(intervention)

    def pause(self, pause: Pause | None) -> None:
        """Have the next run pause, in addition to what is planned for it.

        Args:
            pause: the pause; ``None`` to have the next run not pause.
        """
        self._pause = pause

    def take_last(self) -> list[Intervention]:
        """Return the interventions in the latest run, and forget them."""
        last, self._last = self._last, []
        return last

    def claim(self, sid: str) -> Any:
        """See :class:`~pyramid_zodb_async.interfaces.IScheduler`."""
        run: IRun | None = self._scheduler.claim(sid)
        if run is None:
            return None  # what is planned is for a run that takes place
        pause, self._pause = self._pause, None
        if pause is not None:
            self._last.append(pause)
        if self._planned:
            self._last.append(self._planned.popleft())
        return DirectedRun(run, list(self._last))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)


class DirectedRun:
    """A proxy of a run for the runner, with interventions.

    Args:
        run: the run, whose other attributes are used as they are.
        interventions: what is to happen in the run.
    """

    def __init__(self, run: IRun, interventions: list[Intervention]) -> None:
        self._run = run
        self._interventions = interventions
        #: Whether the process of the run is to seem dead: nothing of the run
        #: may be recorded any more.
        self.is_dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def come_to(self, moment: Moment) -> None:
        """Make the interventions of a moment, each only once.

        Args:
            moment: the moment that the run has reached.
        """
        for intervention in self._interventions:
            if intervention.moment == moment and not intervention.has_come:
                # before, as this may raise, or pause for as long as it likes
                intervention.has_come = True
                intervention.happen(self)

    def die(self) -> JobCancelled:
        """Mark the run as dead.

        Returns:
            What to raise: an exception that the runner expects of a run whose
            job has ended, so that it records nothing.
        """
        self.is_dead = True
        return JobCancelled(f"The process of job {self._run.sid} is dead")

    def load(self, connections: Connections) -> Callable[[], Any]:
        """Return what makes the call, with the moments around it.

        Args:
            connections: the connections of the run.
        """
        call = self._run.load(connections)

        def directed() -> Any:
            self.come_to("start")
            value = call()
            self.come_to("end")
            return value

        return directed

    def has_ended(self) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self.is_dead or bool(self._run.has_ended())

    def report(self, progress: Progress) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        self._run.report(progress)
        self.come_to("progress")

    def stop_reason(self) -> Any:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return self.die() if self.is_dead else self._run.stop_reason()

    def can_find_out(self, participants: list[Any]) -> bool:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        return bool(
            self._run.can_find_out(
                [
                    participant
                    for participant in participants
                    if not isinstance(participant, _LastMoment)
                ]
            )
        )

    def succeed(self, value: Any, connections: Connections) -> None:
        """See :class:`~pyramid_zodb_async.contracts.IRun`."""
        if self.is_dead:  # the function has caught what die() returned
            raise self.die()
        self._run.succeed(value, connections)
        connections.transaction_manager.get().join(_LastMoment(self))


class _LastMoment:
    """A data manager that is asked last before the storage may commit."""

    transaction_manager = None

    def __init__(self, run: DirectedRun) -> None:
        self._run = run

    def sortKey(self) -> str:  # noqa: N802 - the interface's name
        """Return a key that sorts this after the connections of the ZODB.

        So it votes when their storages have all changes. What it raises still
        aborts the transaction. Only what commits already when it votes has a
        greater key.
        """
        return "}"

    def tpc_vote(self, transaction: Any) -> None:
        """Make the interventions of the moment ``"commit"``.

        Args:
            transaction: the transaction of the run.
        """
        self._run.come_to("commit")

    def _nothing(self, transaction: Any) -> None:
        """Do nothing: there is nothing to store or to take back."""

    abort = tpc_begin = commit = tpc_finish = tpc_abort = _nothing
