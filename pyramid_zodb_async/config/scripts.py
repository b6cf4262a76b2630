"""Whether an application, or one of its requests, is a script's."""

import traceback
from collections.abc import Mapping
from typing import Any

__all__ = ["is_made_by_script", "is_of_script"]

#: The functions by which scripts make applications. ``bootstrap`` is also
#: what pshell, proutes, ptweens and pviews call.
_MAKERS = {
    ("pyramid.paster", "bootstrap"),
    ("pyramid.scripts.prequest", "PRequestCommand.run"),
}

#: What an environ has if there is more to come: a server has set the first
#: one, and the TestApp of an application's tests the second.
_SERVED = {"REMOTE_ADDR", "paste.testing"}


def is_made_by_script() -> bool:
    """Return whether the application is being made by a script.

    Nothing in the settings tells. What Pyramid's commands tell of themselves,
    the application's own factory alone gets to know.
    """
    return any(
        (_module(frame.f_globals), frame.f_code.co_qualname) in _MAKERS
        for frame, _ in traceback.walk_stack(None)
    )


def _module(names: Mapping[str, Any]) -> str | None:
    # the spec has the module's name also if that runs as "__main__"
    return getattr(names.get("__spec__"), "name", None)


def is_of_script(environ: Mapping[str, Any], *, made_by_script: bool) -> bool:
    """Return whether a request comes from a script, and not from a server.

    Args:
        environ: that of the request. A command such as prequest marks its
            one, and a server that ends after it, as with CGI, does so too.
        made_by_script: whether a script has made the application. Its own
            requests have no mark.
    """
    if environ.get("wsgi.run_once") or environ.get("paste.command_request"):
        return True
    return made_by_script and not _SERVED & environ.keys()
