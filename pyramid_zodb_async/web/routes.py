"""The registration of the routes and views of the job resources."""

from typing import Any

from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken, URLDecodeError
from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.viewderivers import INGRESS

from ..exceptions import DatabaseForked, QueueFull
from .malformed_requests import refuse_malformed
from .problem_documents import (
    bad_csrf,
    database_forked,
    no_such_job,
    queue_full,
)
from .resources import (
    COLLECTION_ROUTE,
    RETRY_ROUTE,
    ROUTE,
    JobResource,
    JobsResource,
    RetryResource,
)
from .views import (
    delete_job,
    options,
    refuse_method,
    retry_job,
    show_job,
    show_jobs,
)

__all__ = ["add_routes"]


def add_routes(config: Any, prefix: str) -> None:
    """Add the resources of jobs to an application.

    Args:
        config: the application's configurator.
        prefix: the path of the collection, without slashes at its ends.
    """
    config.add_route(COLLECTION_ROUTE, f"/{prefix}", factory=JobsResource)
    config.add_route(ROUTE, f"/{prefix}/{{sid}}", factory=JobResource)
    config.add_route(
        RETRY_ROUTE, f"/{prefix}/{{sid}}/retry", factory=RetryResource
    )
    views: list[tuple[str, str | None, Any]] = [
        (COLLECTION_ROUTE, "GET", show_jobs),
        (ROUTE, "GET", show_job),
        (ROUTE, "DELETE", delete_job),
        (RETRY_ROUTE, "POST", retry_job),
    ]
    for route in (COLLECTION_ROUTE, ROUTE, RETRY_ROUTE):
        views += [(route, "OPTIONS", options), (route, None, refuse_method)]
    # over the CSRF check, which reads what may be malformed
    config.add_view_deriver(refuse_malformed, over="csrf_view", under=INGRESS)
    for route, method, view in views:
        config.add_view(
            view,
            route_name=route,
            request_method=method,
            permission=NO_PERMISSION_REQUIRED,
            # 405 is the response also to a request without a token
            require_csrf=False if view is refuse_method else None,
            refuse_malformed=view in {delete_job, retry_job},
        )
    for route in (ROUTE, RETRY_ROUTE):
        for error in (BadCSRFOrigin, BadCSRFToken):
            config.add_exception_view(
                bad_csrf, context=error, route_name=route
            )
    config.add_exception_view(queue_full, context=QueueFull)
    config.add_exception_view(database_forked, context=DatabaseForked)
    # For a path that is not valid UTF-8 Pyramid raises before it finds a
    # route, so this view needs a predicate instead of a route name.
    config.add_view_predicate("zodb_async_below", _Below)
    path = "/".join(filter(None, [config.route_prefix, prefix]))
    config.add_exception_view(
        no_such_job, context=URLDecodeError, zodb_async_below=f"/{path}/"
    )


class _Below:
    """A view predicate: whether the undecoded path begins with a prefix."""

    def __init__(self, path: str, info: Any) -> None:
        self._path = path

    def text(self) -> str:
        """Return a description of the predicate, as Pyramid requires it."""
        return f"zodb_async_below = {self._path}"

    phash = text

    def __call__(self, context: Any, request: Any) -> bool:
        path: str = request.environ.get("PATH_INFO", "")
        return path.startswith(self._path)
