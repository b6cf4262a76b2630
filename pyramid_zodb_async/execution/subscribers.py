"""Announcers, which call an application's subscribers with job events."""

import dataclasses
from typing import Any

from zope.interface import implementedBy

from ..concurrency.loggers import get_logger
from ..contracts import IRun
from ..events import JobEvent
from ..exceptions import JobError
from ..jobs.class_paths import stored_at
from ..jobs.model import JobView

__all__ = ["Announcer"]

log = get_logger(__name__)


class Announcer:
    """Calls the subscribers of a Pyramid application, if there is one."""

    #: The registry of the application; ``None`` outside Pyramid, where there
    #: are no subscribers. It is set before there are any jobs.
    registry: Any = None

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """Return whether there are subscribers to events of *kind*.

        A caller asks this first, so that no view of a job is made in vain.

        Args:
            kind: the class of the event.
        """
        if self.registry is None:
            return False
        required = (implementedBy(kind),)  # type: ignore[no-untyped-call]
        return bool(self.registry.adapters.subscriptions(required, None))

    def announce_run(self, kind: type[JobEvent], run: IRun) -> None:
        """Call the subscribers to an event of a run, if there are any.

        Args:
            kind: the class of the event.
            run: the run.
        """
        if self.has_subscribers(kind):
            self.announce(kind, run.view())

    def announce(self, kind: type[JobEvent], job: JobView) -> None:
        """Call the subscribers to an event; what they raise is only logged.

        Args:
            kind: the class of the event.
            job: the job as it is now.
        """
        # subscribers get no result: to load it needs connections, and an
        # event is announced when the job's transaction is over
        event = kind(dataclasses.replace(job, load_result=_refuse))
        try:
            self.registry.notify(event)
        except BaseException:  # a subscriber must not change a job's fate
            log.exception(
                "A subscriber failed when it was told of %s of job %s.",
                kind.__name__,
                job.sid,
                extra={"action": "subscriber_failed", "sid": job.sid},
            )


@stored_at("pyramid_zodb_async.announcer")
def _refuse() -> None:
    """Refuse to load the result of a job from its event."""
    raise JobError(
        "An event has no result: request.jobs.get(sid) or the scheduler's"
        " get(sid) gives a view of the job that has it"
    )
