"""The markup for pages that show a job: ``job_progress``, ``job_scripts``."""

import re
from html import escape
from typing import Any

from pyramid.csrf import get_csrf_token
from pyramid.interfaces import IDefaultCSRFOptions

from .resources import make_job_path, path_of
from .static_files import SPEC

__all__ = ["Markup", "job_progress", "job_scripts"]

#: The content of the element where there is no JavaScript. It is true at any
#: time: it stays the same when the job has ended.
FALLBACK = "The work is done in the background."
RESULT_LINK = ' <a href="{}">Look for the result</a>'

#: The beginnings of URLs that lead to a page, and run nothing.
LINKABLE = re.compile(r"https?://|[/?.]")


class Markup(str):
    """A string of HTML, which templates do not escape again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the HTML; template engines call this."""
        return str(self)


def job_progress(
    request: Any, sid: str, fallback: Any = None, /, **attributes: Any
) -> Markup:
    """Return the HTML element that shows the state of a job.

    It is called as ``request.job_progress(sid)``, by a template whose page
    also contains :func:`job_scripts`. The element is a ``<job-progress>``
    with the job's URL. This function does not check whether the job exists;
    the element shows if it does not.

    If the application requires a CSRF token for each change, the element has
    the token of the session.

    Args:
        request: the request of the page.
        sid: the sid of the job.
        fallback: the content of the element where there is no JavaScript, as
            a text or as markup (an object with ``__html__``). By default it
            is a sentence, with a link to what ``next`` names, if there is
            that.
        attributes: attributes of the element, with ``_`` for ``-``, such as
            ``label="Your report"`` or ``text_cancel="Stop"``. ``True`` makes
            an attribute without a value; those with ``None`` or ``False`` are
            left out.

    Raises:
        TypeError: *sid* is no string.
        ValueError: a name is not allowed for an attribute, or is ``src``.
    """
    url = make_job_path(request, sid)
    if "src" in attributes:
        raise ValueError("job_progress() sets src itself; it is the job's URL")
    all_attributes = {"src": url} | _csrf(request) | attributes
    inner = (
        _fallback(attributes.get("next"))
        if fallback is None
        else _as_markup(fallback)
    )
    start = _tag("job-progress", all_attributes)
    return Markup(f"{start}{inner}</job-progress>")


def job_scripts(request: Any, /, **attributes: Any) -> Markup:
    """Return the HTML of the script that makes :func:`job_progress` work.

    It is called as ``request.job_scripts()``, once in a page, preferably in
    its head.

    Args:
        request: the request of the page.
        attributes: further attributes of the script, for example ``nonce``;
            see :func:`job_progress`.

    Raises:
        ValueError: a name is not allowed for an attribute, or is ``src``.
    """
    if "src" in attributes:
        raise ValueError("job_scripts() sets src itself")
    url = path_of(request, request.static_url(f"{SPEC}job-progress.js"))
    start = _tag("script", {"type": "module", "src": url} | attributes)
    return Markup(f"{start}</script>")


def _csrf(request: Any) -> dict[str, Any]:
    """Return the attributes for the CSRF token that the application wants.

    There are none if it wants no token, or not in a header.
    """
    options = request.registry.queryUtility(IDefaultCSRFOptions)
    if options is None or not options.require_csrf or not options.header:
        return {}
    is_usual = options.header.lower() == "x-csrf-token"
    return {
        "csrf_token": get_csrf_token(request),
        "csrf_header": None if is_usual else options.header,
    }


def _fallback(following: Any) -> str:
    """Return what is shown without JavaScript, if the page says nothing.

    Args:
        following: where the page goes when the job has succeeded, if anywhere.
    """
    url = str(following)
    if isinstance(following, bool) or not LINKABLE.match(url):
        return FALLBACK
    return FALLBACK + RESULT_LINK.format(escape(url))


def _as_markup(value: Any) -> str:
    """Return *value* as HTML, escaped unless it is markup."""
    if hasattr(value, "__html__"):
        return str(value.__html__())
    return escape(str(value))


def _tag(name: str, attributes: dict[str, Any]) -> str:
    """Return the start tag of an element."""
    written = "".join(_attribute(*item) for item in attributes.items())
    return f"<{name}{written}>"


def _attribute(name: str, value: Any) -> str:
    """Return an attribute with a space before it; nothing if it is off."""
    name = name.rstrip("_").replace("_", "-")
    if not re.fullmatch("[a-zA-Z][a-zA-Z0-9-]*", name):
        raise ValueError(
            f"{name!r} cannot be the name of an attribute; names are letters,"
            " digits and hyphens, or underscores for these"
        )
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{escape(str(value))}"'
