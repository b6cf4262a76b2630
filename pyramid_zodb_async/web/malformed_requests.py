"""Refuses requests that the check for CSRF tokens could not read."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pyramid.interfaces import IDefaultCSRFOptions
from pyramid.response import Response

from .problem_documents import malformed_response

__all__ = ["refuse_malformed"]

View = Callable[[Any, Any], Response]


def refuse_malformed(view: View, info: Any) -> View:
    """Derive a view that answers to what is not well formed.

    It is for views with the option ``refuse_malformed``, in applications
    that want CSRF tokens. Pyramid's check may look for them in the form, and
    at where the request comes from, and lets pass what these raise.
    """
    csrf = info.registry.queryUtility(IDefaultCSRFOptions)
    is_checked = csrf is not None and csrf.require_csrf
    if not (is_checked and info.options.get("refuse_malformed")):
        return view

    def view_of_the_well_formed(context: Any, request: Any) -> Response:
        try:
            _read(request)
        # webob raises a warning, too
        except (ValueError, LookupError, DeprecationWarning):
            return malformed_response()
        return view(context, request)

    return view_of_the_well_formed


refuse_malformed.options = ("refuse_malformed",)  # type: ignore[attr-defined]


def _read(request: Any) -> None:
    """Read what the check may read.

    Raises:
        ValueError: it cannot be read.
        LookupError: it is in an encoding that there is not.
        DeprecationWarning: it is in one that webob does not know.
    """
    len(request.POST)
    for header in ("Origin", "Referer"):
        urlsplit(request.headers.get(header, ""))
