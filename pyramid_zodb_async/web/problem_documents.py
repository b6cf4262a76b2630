"""Answers that tell of a problem, as documents of RFC 9457."""

import json
from typing import Any

from pyramid.response import Response

from ..exceptions import QueueFull
from .poll_pacing import SHORTEST

__all__ = [
    "NOT_SHARED",
    "bad_csrf",
    "forbidden_response",
    "malformed_response",
    "no_such_job",
    "not_found_response",
    "problem_response",
    "queue_full",
]

#: No cache may give an answer to somebody else.
NOT_SHARED = ("Cache-Control", "private, no-cache")


def problem_response(status: int, title: str, detail: str) -> Response:
    """Answer with a problem document (RFC 9457)."""
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    response = Response(
        body=json.dumps(problem).encode(),
        status=status,
        content_type="application/problem+json",
    )
    response.headerlist.append(NOT_SHARED)
    return response


def not_found_response() -> Response:
    """Answer for a job that there is not, or that the user may not see."""
    return problem_response(
        404,
        "Not Found",
        "There is no such job, or it has expired, or it is not yours.",
    )


def forbidden_response(action: str) -> Response:
    """Answer to who may see a job, but not do *action* with it."""
    return problem_response(
        403, "Forbidden", f"You may see this job, but not {action} it."
    )


def malformed_response() -> Response:
    """Answer to what cannot be read."""
    return problem_response(
        400,
        "Bad Request",
        "The query, the form or the origin of this request is not well"
        " formed, or not in UTF-8.",
    )


def no_such_job(error: Any, request: Any) -> Response:  # noqa: ARG001
    """Answer to a sid that is no text."""
    return not_found_response()


def bad_csrf(error: Any, request: Any) -> Response:  # noqa: ARG001
    """Answer to a change without the token that the application wants."""
    return problem_response(
        400,
        "Bad Request",
        "The CSRF token that the application asks for is missing or wrong, or"
        " the request comes from another origin.",
    )


def queue_full(error: QueueFull, request: Any) -> Response:  # noqa: ARG001
    """Answer for a job that there was no room for."""
    response = problem_response(503, "Service Unavailable", str(error))
    response.retry_after = SHORTEST
    return response
