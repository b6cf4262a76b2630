"""The job resource over HTTP."""

from typing import Any

from pyramid.response import Response

from .exceptions import QueueFull
from .status import RETRY_AFTER, problem_response, status_response

__all__ = ["JobResource", "queue_full", "refuse_method", "show_job"]


class JobResource:
    """The context of the job resource, in place of the application's root.

    The application's root factory may need a database connection, which a
    poll does not.
    """

    def __init__(self, request: Any) -> None:
        self.sid: str = request.matchdict["sid"]


def show_job(context: JobResource, request: Any) -> Response:
    """Answer with the status document of a job.

    Unknown, expired and other people's jobs answer alike.
    """
    view = request.jobs.get(context.sid)
    if view is None:
        return problem_response(
            404,
            "Not Found",
            "There is no such job, or it has expired, or it is not yours.",
        )
    return status_response(view, request)


def refuse_method(context: JobResource, request: Any) -> Response:  # noqa: ARG001
    """Answer to methods that the resource does not have."""
    response = problem_response(
        405,
        "Method Not Allowed",
        f"A job does not answer to {request.method}, only to GET and HEAD.",
    )
    response.allow = ("GET", "HEAD")
    return response


def queue_full(error: QueueFull, request: Any) -> Response:  # noqa: ARG001
    """Answer for a job that there was no room for."""
    response = problem_response(503, "Service Unavailable", str(error))
    response.retry_after = RETRY_AFTER
    return response
