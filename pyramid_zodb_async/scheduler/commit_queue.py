"""The queue of what is to be done for transactions that have committed."""

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ..concurrency.forks import call_after_fork
from ..concurrency.loggers import get_logger
from ..concurrency.queues import drained
from ..events import JobEvent
from ..execution.subscribers import Announcer
from ..jobs.model import JobView
from .transaction_changes import CertainChange, Changes

__all__ = ["CANCEL", "REMOVAL", "CommitQueue", "LogLine"]

log = get_logger(__name__)

J = TypeVar("J")


class LogLine(NamedTuple):
    """What the log says of a job to which something has happened."""

    action: str
    #: With the sid and the name of the function.
    sentence: str
    is_warning: bool = False


CANCEL = LogLine("job_cancelled", "Job %s was cancelled: %s.")
REMOVAL = LogLine("job_removed", "Job %s was removed unfinished: %s.")


class CommitQueue(Generic[J]):
    """The events and the jobs of committed transactions, of one scheduler.

    An event is delivered after the commit that made it true, when no lock is
    held and no transaction is open: a subscriber may do anything. The view of
    the job is made only if there is a subscriber for that kind of event.

    An after-commit hook works the queue off. A transaction does not always
    call its hooks, for instance if a synchronizer raises; so does everybody
    who asks for a job. Threads may use a queue at the same time.

    Args:
        hand_over: gets the committed jobs that are to be run.
    """

    def __init__(self, hand_over: Callable[[list[J]], None]) -> None:
        #: Calls the subscribers.
        self.announcer = Announcer()
        self._hand_over = hand_over
        self._begin()
        call_after_fork(self._begin)

    def _begin(self) -> None:
        """Start with nothing to do.

        Called again in a forked child, which must not do what its parent
        does.
        """
        self._events: deque[tuple[type[JobEvent], JobView]] = deque()
        self._jobs: deque[J] = deque()
        #: What the log is to say of jobs, with the sid and the name of the
        #: function.
        self._lines: deque[tuple[LogLine, str, str]] = deque()

    def __bool__(self) -> bool:
        return bool(self._events or self._jobs or self._lines)

    def add_job(self, job: J) -> None:
        """Have a job handed over by the next :meth:`work_off`.

        Args:
            job: the job, whose transaction has committed.
        """
        self._jobs.append(job)

    def add_line(self, line: LogLine, sid: str, function: str) -> None:
        """Have the next :meth:`work_off` log something of a job.

        A run that ends is logged by the runner. This is for jobs that may
        have no run.

        Args:
            line: what there is to say.
            sid: the sid of the job.
            function: the name of its function.
        """
        self._lines.append((line, sid, function))

    def add_event(
        self, kind: type[JobEvent], view: Callable[[], JobView]
    ) -> None:
        """Have an event delivered by the next :meth:`work_off`.

        Args:
            kind: the class of the event, which is true.
            view: makes the view of the job that the event is about.
        """
        if self.announcer.has_subscribers(kind):
            self._events.append((kind, view()))

    def add_event_on_commit(
        self,
        changes: Callable[[], Changes],
        kind: type[JobEvent],
        view: Callable[[], JobView],
    ) -> None:
        """Have an event delivered if and when a transaction commits.

        Args:
            changes: returns the changes of that transaction; it is called
                only if there are subscribers.
            kind: the class of the event.
            view: makes the view of the job that the event is about.
        """
        if self.announcer.has_subscribers(kind):
            # The view is made now, while the transaction can load the record.
            changes().add(_Event(self._events, kind, view()))

    def deliver_now(self, kind: type[JobEvent], jobs: list[JobView]) -> None:
        """Deliver events that are true already.

        Args:
            kind: the class of the events.
            jobs: the views of the jobs, one for each event.
        """
        # behind what waits already, so that the order of events is right
        self._events.extend((kind, job) for job in jobs)
        self.deliver()

    def work_off(self) -> None:
        """Deliver all events, hand all jobs over, and log what is left to.

        The caller must not hold a lock.
        """
        # first the events: a subscriber gets JobScheduled before the job can
        # run
        if self._events:
            self.deliver()
        if self._jobs and (jobs := list(drained(self._jobs))):
            self._hand_over(jobs)
        if self._lines:
            self._log_lines()

    def deliver(self) -> None:
        """Deliver all events. The caller must not hold a lock."""
        for kind, job in drained(self._events):
            self.announcer.announce(kind, job)
        self._log_lines()

    def _log_lines(self) -> None:
        for line, sid, function in drained(self._lines):
            write = log.warning if line.is_warning else log.info
            write(
                line.sentence,
                sid,
                function,
                extra={
                    "action": line.action,
                    "sid": sid,
                    "function": function,
                },
            )


class _Event(CertainChange):
    """An event that becomes true with the commit of a transaction."""

    def __init__(
        self,
        events: deque[tuple[type[JobEvent], JobView]],
        kind: type[JobEvent],
        job: JobView,
    ) -> None:
        self._events = events
        self._kind = kind
        self._job = job

    def apply(self) -> None:
        self._events.append((self._kind, self._job))
