"""The OpenAPI description, with the URLs that the application answers at."""

import json
from pathlib import Path
from typing import Any

from pyramid.path import AssetResolver
from pyramid.response import Response

from .resources import COLLECTION_ROUTE, path_of

__all__ = ["FILE", "description_of"]

#: The name of the file, in the folder of static files.
FILE = "openapi.json"

#: The file of the package, which is right for an application that is not
#: below a path, and has no prefix of its own.
OWN = Path(__file__).parents[1] / "static" / FILE

#: The URL of the server, and the path of the jobs, in the file.
SERVER, JOBS = "/", "/jobs"


def description_of(request: Any, spec: str, prefix: str) -> Response | None:
    """Return a response with the URLs of the application, if it needs one.

    The server is where the application is mounted, with the ``route_prefix``
    of the include; the paths begin with that of the settings. So a client that
    was generated for one application fits others, unless they have another
    setting. The server is a path, which is right whatever the host was, and at
    each URL of the document, with a version or without.

    Args:
        request: the request for the file.
        spec: the asset specification of its folder.
        prefix: the path of the job resources, without slashes at its ends.

    Returns:
        The response; ``None`` if the file is right as it is, or the
        application has put one of its own in the place of the package's.
    """
    server, jobs = _split_path(request, prefix)
    if (server, jobs) == (SERVER, JOBS) or not _is_own(spec):
        return None
    description = json.loads(OWN.read_bytes())
    description["servers"][0]["url"] = server
    description["paths"] = {
        jobs + path.removeprefix(JOBS): item
        for path, item in description["paths"].items()
    }
    text = json.dumps(description, ensure_ascii=False, indent=2)
    return Response(
        body=f"{text}\n".encode(),
        content_type="application/json",
        last_modified=OWN.stat().st_mtime,
        conditional_response=True,
    )


def _split_path(request: Any, prefix: str) -> tuple[str, str]:
    """Return the path of the server, and that of the jobs below it."""
    # the prefix of an include may have placeholders
    url = request.route_url(COLLECTION_ROUTE, **request.matchdict)
    parts = path_of(request, url).split("/")
    count = prefix.count("/") + 1
    return "/".join(parts[:-count]) or SERVER, "/".join(["", *parts[-count:]])


def _is_own(spec: str) -> bool:
    """Return whether the file is the package's, for this application."""
    found = AssetResolver().resolve(spec + FILE).abspath()
    return OWN.samefile(found)
