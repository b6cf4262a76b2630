"""A view deriver that refuses requests the CSRF check could not read."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from pyramid.interfaces import IDefaultCSRFOptions
from pyramid.response import Response

from .problem_documents import malformed_response

__all__ = ["refuse_malformed"]

View = Callable[[Any, Any], Response]


def refuse_malformed(view: View, info: Any) -> View:
    """Return a view that answers malformed requests with *400 Bad Request*.

    Pyramid's CSRF check reads the form and the origin of the request, and
    does not handle the exceptions that malformed ones raise. So this applies
    to views with the option ``refuse_malformed``, in applications that
    require CSRF tokens.

    Args:
        view: the view with Pyramid's CSRF check.
        info: the registry and the options of the view.
    """
    csrf = info.registry.queryUtility(IDefaultCSRFOptions)
    is_checked = csrf is not None and csrf.require_csrf
    if not (is_checked and info.options.get("refuse_malformed")):
        return view

    def checked_view(context: Any, request: Any) -> Response:
        try:
            _read(request)
        # the warning is one that webob raises as an exception
        except (ValueError, LookupError, DeprecationWarning):
            return malformed_response()
        return view(context, request)

    return checked_view


refuse_malformed.options = ("refuse_malformed",)  # type: ignore[attr-defined]


def _read(request: Any) -> None:
    """Read what the CSRF check may read.

    Raises:
        ValueError: it is malformed.
        LookupError: it is in an encoding that does not exist.
        DeprecationWarning: it is in an encoding that webob does not support.
    """
    len(request.POST)
    for header in ("Origin", "Referer"):
        urlsplit(request.headers.get(header, ""))
