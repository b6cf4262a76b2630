"""Who may do what with a job."""

import logging
from collections.abc import Callable
from typing import Any

from pyramid.interfaces import IRootFactory
from pyramid.traversal import DefaultRootFactory
from transaction.interfaces import TransientError

from ..interfaces import IJobAccess
from ..jobs.current_job import running_job
from ..jobs.model import JobView
from ..settings import ISettings

__all__ = ["is_open_to", "is_operator", "may", "owner_of"]

log = logging.getLogger(__name__)


def owner_of(request: Any) -> str | None:
    """Give the owner of what a request schedules, in a job the job's own."""
    job = running_job()
    if job is not None:
        return job.owner
    userid = request.authenticated_userid
    return None if userid is None else str(userid)


def is_open_to(request: Any, job: JobView) -> bool:
    """Tell whether that can be seen without asking: it is the owner."""
    return job.owner is None or job.owner == owner_of(request)


def may(request: Any, job: JobView | None, action: str) -> bool:
    """Tell whether the user of *request* may do *action* with *job*.

    Where there is no job, the same is asked as for the job of somebody else,
    so that the time that the answer takes does not tell them apart.
    """
    if job is not None and is_open_to(request, job):
        return True
    may_all: bool = request.jobs.are_all_open
    if job is None:
        return False
    access = request.registry.queryUtility(IJobAccess)
    if may_all or access is None:
        return may_all
    return _asked(lambda: bool(access.may(request, job, action)))


def is_operator(request: Any) -> bool:
    """Tell whether the user may do everything with every job."""
    return _asked(lambda: _has_permission(request))


def _has_permission(request: Any) -> bool:
    registry = request.registry
    permission = registry.getUtility(ISettings).permission
    if permission is None:
        return False
    make_root = registry.queryUtility(IRootFactory, default=DefaultRootFactory)
    return bool(request.has_permission(permission, make_root(request)))


def _asked(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except TransientError:
        raise
    except Exception:
        # an error would tell that there is such a job
        log.exception(
            "Nobody can be asked who may see the jobs of others.",
            extra={"action": "permission_not_known"},
        )
        return False
