"""Markup for templates: an element that shows a job, and its script."""

import re
from html import escape
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.interfaces import IDefaultCSRFOptions

from .resources import ROUTE, require_sid
from .static_files import SPEC

__all__ = ["Markup", "job_progress", "job_scripts"]

FALLBACK = 'The work goes on in the background. <a href="{}">How it stands</a>'


class Markup(str):
    """A text that templates take for HTML; it is escaped already."""

    __slots__ = ()

    def __html__(self) -> str:
        """Give it to the template."""
        return str(self)


def job_progress(
    request: Any, sid: str, fallback: Any = None, /, **attributes: Any
) -> Markup:
    """``request.job_progress(sid)``: an element that shows how a job goes.

    It is a ``<job-progress>`` with the job's URL, for a template to put into
    its page; the page needs :func:`job_scripts` too. It does not look for the
    job: an unknown one is for the element to tell of.

    *fallback* is what it shows where there is no JavaScript, as a text or as
    markup (an object with ``__html__``); by default a sentence with a link to
    the status document. All other arguments are attributes of the element,
    with ``_`` for ``-``: ``label="Your report"``, ``text_cancel="Stop"``. One
    that is ``True`` stands without a value, and those that are ``None`` or
    ``False`` are left out.

    Where the application requires a CSRF token of each change, the element
    has that of the session.

    Raises:
        TypeError: *sid* is no string.
        ValueError: a name cannot be one of an attribute, or is ``src``.
    """
    require_sid(sid)
    url = request.route_path(ROUTE, sid=sid)
    if "src" in attributes:
        raise ValueError("job_progress() sets src itself; it is the job's URL")
    all_attributes = {"src": url} | _csrf(request) | attributes
    inner = (
        FALLBACK.format(escape(url))
        if fallback is None
        else _as_markup(fallback)
    )
    start = _tag("job-progress", all_attributes)
    return Markup(f"{start}{inner}</job-progress>")


def job_scripts(request: Any, /, **attributes: Any) -> Markup:
    """``request.job_scripts()``: the script that makes the element work.

    It is to be once in the page, best in its head; for example
    ``request.job_scripts(nonce=…)`` gives it further attributes.

    Raises:
        ValueError: a name cannot be one of an attribute, or is ``src``.
    """
    if "src" in attributes:
        raise ValueError("job_scripts() sets src itself")
    url = request.static_path(f"{SPEC}job-progress.js")
    start = _tag("script", {"type": "module", "src": url} | attributes)
    return Markup(f"{start}</script>")


def _csrf(request: Any) -> dict[str, Any]:
    """Give the token that the application wants, and how it wants it."""
    options = request.registry.queryUtility(IDefaultCSRFOptions)
    if options is None or not options.require_csrf or not options.header:
        return {}
    is_usual = options.header.lower() == "x-csrf-token"
    return {
        "csrf_token": get_csrf_token(request),
        "csrf_header": None if is_usual else options.header,
    }


def _as_markup(value: Any) -> str:
    if hasattr(value, "__html__"):
        return str(value.__html__())
    return escape(str(value))


def _tag(name: str, attributes: dict[str, Any]) -> str:
    written = "".join(_attribute(*item) for item in attributes.items())
    return f"<{name}{written}>"


def _attribute(name: str, value: Any) -> str:
    name = name.rstrip("_").replace("_", "-")
    if not re.fullmatch("[a-zA-Z][a-zA-Z0-9-]*", name):
        raise ValueError(
            f"{name!r} cannot be the name of an attribute; names are letters,"
            " digits and hyphens, or underscores for these"
        )
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
