"""The route names of the job resources, and the contexts of their views."""

from typing import Any
from urllib.parse import quote

from .answer_headers import guard_answer

__all__ = [
    "COLLECTION_ROUTE",
    "RETRY_ROUTE",
    "ROUTE",
    "JobResource",
    "JobsResource",
    "RetryResource",
    "make_job_path",
    "make_job_url",
    "path_of",
]

#: The routes of a job, of several jobs at once, and of the resource to which
#: a client posts to have a failed job run again.
ROUTE = "pyramid_zodb_async.job"
COLLECTION_ROUTE = "pyramid_zodb_async.jobs"
RETRY_ROUTE = "pyramid_zodb_async.retry"


class JobsResource:
    """The context of views of several jobs, instead of the application's root.

    The application's root factory may open a database connection, which a
    poll does not need.

    Args:
        request: the request, which has the sids in its query.
    """

    #: The HTTP methods that the resource supports.
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")

    def __init__(self, request: Any) -> None:
        # here, so that it covers what errors and tweens make of the answer
        guard_answer(request)


class JobResource(JobsResource):
    """The context of views of one job.

    Args:
        request: the request, which has the sid in its path.
    """

    methods: tuple[str, ...] = ("GET", "HEAD", "DELETE", "OPTIONS")

    def __init__(self, request: Any) -> None:
        super().__init__(request)
        self.sid: str = request.matchdict["sid"]


class RetryResource(JobResource):
    """The context of the view that has a failed job run again.

    Args:
        request: the request, which has the sid in its path.
    """

    methods = ("POST", "OPTIONS")


def make_job_url(request: Any, sid: Any) -> str:
    """Return the URL of a job.

    Args:
        request: the request, which determines the host and the scheme.
        sid: the sid of the job.

    Raises:
        TypeError: *sid* is no string.
    """
    if not isinstance(sid, str):
        raise TypeError(
            "The sid of a job is a string, as request.schedule() gives it,"
            f" not {sid!r}"
        )
    # Pyramid remembers for ever how each part of a URL is quoted, so it gets
    # the same one for all jobs, the last character of what it returns.
    url: str = request.route_url(ROUTE, sid="-")
    return url[:-1] + quote(sid, safe="")


def make_job_path(request: Any, sid: Any) -> str:
    """Return the path of a job's URL, which leads to it from the same host.

    Args:
        request: the request.
        sid: the sid of the job.

    Returns:
        The path; the whole URL if that path would be taken for a host.

    Raises:
        TypeError: *sid* is no string.
    """
    return path_of(request, make_job_url(request, sid))


def path_of(request: Any, url: str) -> str:
    """Return the path of a URL that a request has made.

    Pyramid's ``route_path`` and ``static_path`` do not quote the path at which
    the application is mounted.

    Args:
        request: the request.
        url: the URL.

    Returns:
        The path; *url* itself if it is of another host, or if its path would
        be taken for a host.
    """
    path = url.removeprefix(request.host_url)
    is_path = path.startswith("/") and not path.startswith("//")
    return path if is_path else url
