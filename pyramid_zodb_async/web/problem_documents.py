"""The error responses of the job resource, in the format of RFC 9457."""

import json
from typing import Any

from pyramid.exceptions import BadCSRFToken
from pyramid.response import Response

from ..concurrency.loggers import get_logger
from ..exceptions import DatabaseForked, QueueFull
from .answer_headers import NO_SNIFFING, keep_cookies
from .poll_pacing import SHORTEST

__all__ = [
    "NOT_SHARED",
    "bad_csrf",
    "database_forked",
    "forbidden_response",
    "malformed_response",
    "no_such_job",
    "not_found_response",
    "problem_response",
    "queue_full",
    "unusable_database_response",
]

log = get_logger(__name__)

#: The header by which no cache serves a response to another user.
NOT_SHARED = ("Cache-Control", "private, no-cache")


def problem_response(
    status: int, title: str, detail: str, **members: str
) -> Response:
    """Return a response with a problem document (RFC 9457).

    Args:
        status: the HTTP status.
        title: the name of the status.
        detail: what the problem is, as a text for people.
        members: what else there is to say of it, for programs.
    """
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        **members,
    }
    response = Response(
        body=json.dumps(problem).encode(),
        status=status,
        content_type="application/problem+json",
    )
    response.headerlist += [NOT_SHARED, NO_SNIFFING]
    return response


def not_found_response() -> Response:
    """Return the response for a job that is unknown or may not be seen.

    It is the same for both, so that users cannot find out which sids exist.
    """
    return problem_response(
        404,
        "Not Found",
        "There is no such job, or it has expired, or it is not yours.",
    )


def forbidden_response(action: str) -> Response:
    """Return the response for a job that the user may see, but not change.

    Args:
        action: what the user may not do with it.
    """
    return problem_response(
        403, "Forbidden", f"You may see this job, but not {action} it."
    )


def malformed_response() -> Response:
    """Return the response to a request that cannot be read."""
    return problem_response(
        400,
        "Bad Request",
        "The query, the form or the origin of this request is not well"
        " formed, or not in UTF-8.",
    )


def no_such_job(error: Any, request: Any) -> Response:  # noqa: ARG001
    """Answer a request whose sid is not valid UTF-8; an exception view.

    Args:
        error: Pyramid's ``URLDecodeError``.
        request: the request.
    """
    keep_cookies(request)  # such a request has no resource that would
    return not_found_response()


def bad_csrf(error: Any, request: Any) -> Response:  # noqa: ARG001
    """Answer a request that fails the CSRF check; an exception view.

    Args:
        error: Pyramid's ``BadCSRFToken`` or ``BadCSRFOrigin``.
        request: the request.
    """
    # a page that is loaded again has a new token, but not another origin
    members = {"code": "csrf"} if isinstance(error, BadCSRFToken) else {}
    return problem_response(
        400,
        "Bad Request",
        "The CSRF token that the application asks for is missing or wrong, or"
        " the request comes from another origin.",
        **members,
    )


def queue_full(error: QueueFull, request: Any) -> Response:  # noqa: ARG001
    """Answer a request that could not schedule a job; an exception view.

    Args:
        error: what ``request.schedule()`` has raised.
        request: the request.
    """
    response = problem_response(503, "Service Unavailable", str(error))
    response.retry_after = SHORTEST
    return response


def unusable_database_response() -> Response:
    """Return the response of a process that was forked too late."""
    return problem_response(
        503,
        "Service Unavailable",
        "This process cannot use its database; its log says why.",
    )


def database_forked(error: DatabaseForked, request: Any) -> Response:  # noqa: ARG001
    """Answer a request that needs the jobs after a fork; an exception view.

    Args:
        error: what has asked for the database of the jobs has raised this.
        request: the request.
    """
    log.error(
        "A request is answered with 503. %s.",
        error,
        extra={"action": "database_forked"},
    )
    return unusable_database_response()
