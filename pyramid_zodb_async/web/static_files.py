"""Serves the static files of the package, for browsers to keep."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyramid.security import NO_PERMISSION_REQUIRED
from pyramid.static import static_view

__all__ = ["SPEC", "VERSION", "add_assets", "version_of"]

#: What they are for ``request.static_path``.
SPEC = "pyramid_zodb_async:static/"


def version_of(folder: Path) -> str:
    """Make a name for what is in the files, together: one imports another."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    return digest.hexdigest()[:16]


#: Part of the URLs of the files; another when any of them is another.
VERSION = version_of(Path(__file__).parents[1] / "static")


def add_assets(config: Any, prefix: str) -> None:
    """Add the files at URLs with their version, and at those without.

    The first may be kept for a year without asking again, and are what
    ``request.static_path`` gives. The others are asked for again, and are for
    pages that no template makes. So are those of another version: servers of
    two versions may be there while an application is replaced.
    """
    config.add_static_view(
        f"{prefix}/static/{VERSION}",
        SPEC,
        factory=_once_and_again("public, max-age=31536000, immutable"),
    )
    name = "pyramid_zodb_async.static"
    config.add_route(
        name,
        f"/{prefix}/static/*subpath",
        factory=_once_and_again("no-cache"),
    )
    config.add_view(
        _show_file, route_name=name, permission=NO_PERMISSION_REQUIRED
    )


def _once_and_again(cache_control: str) -> Callable[[Any], None]:
    """Make a root factory: it tells how long an answer may be kept.

    It stands for that of the application, which may need a connection.
    """

    def set_header(request: Any, response: Any) -> None:  # noqa: ARG001
        if response.status_int in {200, 206, 304}:
            response.headers["Cache-Control"] = cache_control

    def factory(request: Any) -> None:
        request.add_response_callback(set_header)

    return factory


_show = static_view(SPEC, cache_max_age=None, use_subpath=True)


def _show_file(context: Any, request: Any) -> Any:
    """Answer with a file, whatever version the URL names."""
    version, *rest = request.subpath or ("",)
    if rest and re.fullmatch("[0-9a-f]{16}", version):
        request.subpath = tuple(rest)
    return _show(context, request)
