"""Announcers, which call an application's subscribers with job events."""

import dataclasses
import logging
from typing import Any

from zope.interface import implementedBy

from ..events import JobEvent
from ..exceptions import JobError
from ..jobs.class_paths import stored_at
from ..jobs.model import JobView

__all__ = ["Announcer", "RegistryAnnouncer"]

log = logging.getLogger(__name__)


class Announcer:
    """An announcer without subscribers, for schedulers outside Pyramid."""

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """Return whether there are subscribers to events of *kind*.

        A caller asks this first, so that no view of a job is made in vain.

        Args:
            kind: the class of the event.
        """
        return False

    def announce(self, kind: type[JobEvent], job: JobView) -> None:
        """Call the subscribers to an event; what they raise is only logged.

        Args:
            kind: the class of the event.
            job: the job as it is now.
        """


class RegistryAnnouncer(Announcer):
    """An announcer that calls the subscribers of a Pyramid application.

    Args:
        registry: the registry of the application.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """See :class:`Announcer`."""
        required = (implementedBy(kind),)  # type: ignore[no-untyped-call]
        return bool(self._registry.adapters.subscriptions(required, None))

    def announce(self, kind: type[JobEvent], job: JobView) -> None:
        """See :class:`Announcer`."""
        # subscribers get no result: to load it needs connections, and an
        # event is announced when the job's transaction is over
        event = kind(dataclasses.replace(job, load_result=_refuse))
        try:
            self._registry.notify(event)
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
