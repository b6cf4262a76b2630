"""The static files of the package, at URLs that browsers may cache."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.static import static_view

from .answer_headers import guard_answer
from .api_description import FILE, description_of

__all__ = ["SPEC", "VERSION", "add_assets", "version_of"]

View = Callable[[Any, Any], Any]

#: The asset specification of their folder, for ``request.static_path``.
SPEC = "pyramid_zodb_async:static/"


def version_of(folder: Path) -> str:
    """Return a version of all files of a folder together.

    One version for all, because one of the files imports another.

    Args:
        folder: the folder, which has no subfolders.

    Returns:
        16 hexadecimal digits, which differ if the name or the content of any
        file differs.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()[:16]


#: A part of the URLs of the files, which changes when any of them changes.
VERSION = version_of(Path(__file__).parents[1] / "static")


def add_assets(config: Any, prefix: str) -> None:
    """Add the static files at URLs with their version, and without it.

    ``request.static_path`` returns the URLs with the version, which browsers
    may cache for a year. Browsers check the others with each use; they are
    for pages that are not made by a template. The same applies to URLs with
    another version: while an application is being replaced, servers of two
    versions may be running.

    Args:
        config: the application's configurator.
        prefix: the path of the job resources, without slashes at its ends.
    """
    show_file, show_description = _file_views(prefix)
    kept = _root_factory("public, max-age=31536000, immutable")
    path = f"{prefix}/static/{VERSION}"
    # Each before the next, which matches these URLs as well: Pyramid uses
    # the first route that matches.
    name = "pyramid_zodb_async.description"
    config.add_route(name, f"/{path}/{FILE}", factory=kept)
    config.add_view(
        show_description, route_name=name, permission=NO_PERMISSION_REQUIRED
    )
    config.add_static_view(path, SPEC, factory=kept)
    name = "pyramid_zodb_async.static"
    config.add_route(
        name,
        f"/{prefix}/static/*subpath",
        factory=_root_factory("no-cache"),
    )
    config.add_view(
        show_file, route_name=name, permission=NO_PERMISSION_REQUIRED
    )


def _root_factory(cache_control: str) -> Callable[[Any], None]:
    """Return a root factory that sets headers of the response.

    It also replaces the application's root factory, which may open a database
    connection.
    """

    def set_header(request: Any, response: Any) -> None:  # noqa: ARG001
        if response.status_int in {200, 206, 304}:
            response.headers["Cache-Control"] = cache_control

    def factory(request: Any) -> None:
        # shared caches store the answers, and must not store a login
        guard_answer(request)
        request.add_response_callback(set_header)

    return factory


def _file_views(prefix: str) -> tuple[View, View]:
    """Return a view of the static files, and one of the description alone.

    The first shows files whatever version the URL contains. Each application
    has its own: Pyramid's view remembers which files it has found, and another
    application in the process may override others.

    Args:
        prefix: the path of the job resources, without slashes at its ends.
    """
    show = static_view(SPEC, cache_max_age=None, use_subpath=True)

    def show_description(context: Any, request: Any) -> Any:
        request.subpath = (FILE,)
        made = description_of(request, SPEC, prefix)
        return made or show(context, request)

    def show_file(context: Any, request: Any) -> Any:
        version, *rest = request.subpath or ("",)
        if rest and re.fullmatch("[0-9a-f]{16}", version):
            request.subpath = tuple(rest)
        is_description = request.subpath == (FILE,)
        view = show_description if is_description else show
        return view(context, request)

    return show_file, show_description
