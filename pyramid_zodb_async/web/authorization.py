"""The checks of what a user may do with a job."""

import logging
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError

from ..contracts import ITransactionJob
from ..database.application import make_root
from ..interfaces import IJobAccess
from ..jobs.current_job import running_job
from ..jobs.model import JobView
from ..jobs.owners import as_owner, is_owner
from ..settings import ISettings

__all__ = ["is_open_to", "is_operator", "may", "owner_of"]

log = logging.getLogger(__name__)


def owner_of(request: Any) -> str | None:
    """Return the owner of the jobs that a request schedules.

    In a job, that is the owner of the running job: the job's own request has
    no user.

    Args:
        request: the request.

    Returns:
        The userid, or ``None`` if no user is logged in.

    Raises:
        TypeError: the userid has no text by which it could be known again.
    """
    job = running_job()
    if job is not None:
        return job.owner
    userid = request.authenticated_userid
    if userid is None:
        return None
    owner = as_owner(userid)
    if owner is None:
        raise TypeError(
            "The job would have no owner: request.authenticated_userid is of"
            f" the type {type(userid).__qualname__}, and has no text of its"
            " own by which the user could be known again; have the security"
            " policy return a str or an int"
        )
    return owner


def _user_of(request: Any) -> str | None:
    """Return who asks, ``None`` if that is nobody or cannot be told."""
    job = running_job()
    if job is not None:
        return job.owner
    userid = request.authenticated_userid
    return None if userid is None else as_owner(userid)


def is_open_to(request: Any, job: JobView | ITransactionJob) -> bool:
    """Return whether the user may do everything without a further check.

    So may the owner, and everybody if the job has no owner.

    Args:
        request: the request of the user.
        job: the job.
    """
    return job.owner is None or is_owner(_user_of(request), job.owner)


def may(request: Any, job: ITransactionJob | None, action: str) -> bool:
    """Return whether the user of *request* may do *action* with *job*.

    Args:
        request: the request of the user.
        job: the job; ``None`` if there is no such job, and nothing may be
            done.
        action: one of those that
            :class:`~pyramid_zodb_async.interfaces.IJobAccess` lists.
    """
    if job is not None and is_open_to(request, job):
        return True
    # Before the test for None: the permission is checked for an unknown job
    # as for the job of another user, so that the time that the response takes
    # does not tell them apart.
    may_all: bool = request.jobs.are_all_open
    if job is None:
        return False
    access = request.registry.queryUtility(IJobAccess)
    if may_all or access is None:
        return may_all
    return _deny_on_error(
        lambda: bool(access.may(request, job.view(), action))
    )


def is_operator(request: Any) -> bool:
    """Return whether the user may do everything with every job.

    Args:
        request: the request of the user.
    """
    return _deny_on_error(lambda: _has_permission(request))


def _has_permission(request: Any) -> bool:
    """Return whether the user has the permission of the settings.

    It is checked on the application's root, which is made for this check: the
    context of the request is that of the job's resource.
    """
    permission = request.registry.getUtility(ISettings).permission
    if permission is None:
        return False
    return bool(request.has_permission(permission, make_root(request)))


def _deny_on_error(is_allowed: Callable[[], bool]) -> bool:
    """Return what *is_allowed* returns, or ``False`` if it raises."""
    try:
        return is_allowed()
    except TransientError:
        raise  # the request is repeated, and then so is the check
    except Exception:
        # not raised: an error response would reveal that there is such a job
        log.exception(
            "Nobody can be asked who may see the jobs of others.",
            extra={"action": "permission_not_known"},
        )
        return False
