"""Tells the subscribers of an application what happens to its jobs."""

import dataclasses
import logging
from typing import Any

from zope.interface import implementedBy

from ..events import JobEvent
from ..exceptions import JobError
from ..jobs.model import JobView
from ..jobs.stored_paths import stored_at

__all__ = ["Announcer", "RegistryAnnouncer"]

log = logging.getLogger(__name__)


class Announcer:
    """Tells nobody of events: what schedulers outside Pyramid have."""

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """Tell whether somebody subscribed to events of *kind*."""
        return False

    def announce(self, kind: type[JobEvent], job: JobView) -> None:
        """Tell of an event that somebody wants to know of; never raises."""


class RegistryAnnouncer(Announcer):
    """Tells the subscribers of a Pyramid application of events.

    Args:
        registry: the application's.
    """

    def __init__(self, registry: Any) -> None:
        self._registry = registry

    def has_subscribers(self, kind: type[JobEvent]) -> bool:
        """See :class:`Announcer`."""
        required = (implementedBy(kind),)  # type: ignore[no-untyped-call]
        return bool(self._registry.adapters.subscriptions(required, None))

    def announce(self, kind: type[JobEvent], job: JobView) -> None:
        """See :class:`Announcer`."""
        event = kind(dataclasses.replace(job, load_result=_refuse))
        try:
            self._registry.notify(event)
        except BaseException:  # a job must go on, or end, all the same
            log.exception(
                "A subscriber failed when it was told of %s of job %s.",
                kind.__name__,
                job.sid,
                extra={"action": "subscriber_failed", "sid": job.sid},
            )


@stored_at("pyramid_zodb_async.announcer")
def _refuse() -> None:
    raise JobError(
        "An event has no result: request.jobs.get(sid) or the scheduler's"
        " get(sid) gives a view of the job that has it"
    )
