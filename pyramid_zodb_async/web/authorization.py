"""The checks of what a user may do with a job."""

import functools
from collections.abc import Callable
from typing import Any

from transaction.interfaces import TransientError

from ..concurrency.loggers import get_logger
from ..contracts import ITransactionJob
from ..database.application import make_root
from ..interfaces import IJobAccess
from ..jobs.current_job import running_job
from ..jobs.owners import as_owner, is_owner
from ..settings import ISettings

__all__ = ["Asker", "is_operator", "may", "owner_of"]

log = get_logger(__name__)

#: Stands for the owner of a job that does not exist; no userid is equal to it.
NOBODY: Any = object()


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


class Asker:
    """The user who asks for a job; found out once, and only if needed.

    Args:
        request: the request of the user.
    """

    def __init__(self, request: Any) -> None:
        self._request = request

    @functools.cached_property
    def userid(self) -> str | None:
        """The userid; ``None`` if that is nobody, or cannot be told."""
        return _user_of(self._request)

    def owns(self, owner: str | None) -> bool:
        """Return whether he may do everything without a further check.

        So may the owner, and everybody if the job has no owner.

        Args:
            owner: the owner of the job.
        """
        return owner is None or is_owner(self.userid, owner)


def may(
    request: Any,
    job: ITransactionJob | None,
    action: str,
    asker: Asker | None = None,
) -> bool:
    """Return whether the user of *request* may do *action* with *job*.

    Args:
        request: the request of the user.
        job: the job; ``None`` if there is no such job, and nothing may be
            done.
        action: one of those that
            :class:`~pyramid_zodb_async.interfaces.IJobAccess` lists.
        asker: the user, if the caller has one already.
    """
    if asker is None:
        asker = Asker(request)
    # For an unknown job all is found out as for the job of another user, so
    # that the time that the response takes does not tell them apart.
    if asker.owns(NOBODY if job is None else job.owner):
        return True
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
