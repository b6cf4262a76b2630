"""The resources of jobs: the names of their routes, and their contexts."""

from typing import Any

__all__ = [
    "COLLECTION_ROUTE",
    "RETRY_ROUTE",
    "ROUTE",
    "JobResource",
    "JobsResource",
    "RetryResource",
    "require_sid",
]

#: The routes of a job's resource, of several jobs at once, and of the
#: resource to which a failed job's retry is posted.
ROUTE = "pyramid_zodb_async.job"
COLLECTION_ROUTE = "pyramid_zodb_async.jobs"
RETRY_ROUTE = "pyramid_zodb_async.retry"


class JobsResource:
    """The context of the resource, in place of the application's root.

    The application's root factory may need a database connection, which a
    poll does not.
    """

    #: What it answers to.
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS")

    def __init__(self, request: Any) -> None:
        """Everything is in the query."""


class JobResource(JobsResource):
    """The same for one job."""

    methods: tuple[str, ...] = ("GET", "HEAD", "DELETE", "OPTIONS")

    def __init__(self, request: Any) -> None:
        self.sid: str = request.matchdict["sid"]


class RetryResource(JobResource):
    """The same for the retry of a job."""

    methods = ("POST", "OPTIONS")


def require_sid(sid: Any) -> None:
    """Refuse to make the URL of what can be no job's.

    Raises:
        TypeError: *sid* is no string.
    """
    if not isinstance(sid, str):
        raise TypeError(
            "The sid of a job is a string, as request.schedule() gives it,"
            f" not {sid!r}"
        )
