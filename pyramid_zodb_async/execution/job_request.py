"""The request of a job, which has no session."""

import contextlib
import functools
import io
import sys
from collections.abc import Iterator
from typing import Any

from pyramid.interfaces import IRequestExtensions, ISessionFactory
from pyramid.request import apply_request_extensions
from webob.request import BaseRequest

__all__ = ["Extender", "blank_request", "withhold_session"]

#: What makes a blank request, unless the application's factory has another.
_BLANK = BaseRequest.__dict__["blank"].__func__


def blank_request(factory: Any, sid: str, base_url: str | None) -> Any:
    """Return a new request of the application, for a job.

    Most jobs have the same URL, which webob would take apart each time.

    Args:
        factory: makes the application's requests.
        sid: the sid of the job.
        base_url: the URL of the application; ``None`` for that of a request
            that nobody has sent.

    Raises:
        ValueError: that is no URL of an application.
    """
    path = f"/jobs/{sid}"
    blank = factory.blank
    if getattr(blank, "__func__", None) is not _BLANK:
        return blank(path, base_url=base_url)
    environ = _environ_of(base_url) | {
        "PATH_INFO": path,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    return blank.__self__(environ)


@functools.lru_cache(maxsize=128)
def _environ_of(base_url: str | None) -> dict[str, Any]:
    environ: dict[str, Any] = BaseRequest.blank("/", base_url=base_url).environ
    return environ


def withhold_session(request: Any) -> None:
    """Have a request raise an error when it is asked for its session.

    It has none: the cookie went to the request that scheduled the job, and
    there is no response that could set one. An empty session would be written
    to in vain.

    Args:
        request: the request of a job, which knows its registry.
    """
    own: Any = type(request)
    request.__class__ = _without_session(own)


class Extender:
    """Gives requests the methods and properties of the application.

    For each request Pyramid makes a class with the properties, which takes
    longer than to make the request. The requests of jobs have one class, as
    long as their properties are the same.
    """

    def __init__(self) -> None:
        #: The class of a request, its properties, and the class with them.
        self._last: tuple[Any, dict[str, Any], Any] = (None, {}, None)

    def extend(self, request: Any) -> None:
        """Do what ``apply_request_extensions`` does.

        Args:
            request: the request, which knows its registry.
        """
        own: Any = type(request)
        extensions = request.registry.getUtility(IRequestExtensions)
        base, descriptors, extended = self._last
        if base is not own or descriptors != extensions.descriptors:
            apply_request_extensions(request)
            known = dict(extensions.descriptors)
            self._last = own, known, type(request)
            return
        for name, function in extensions.methods.items():
            setattr(request, name, function.__get__(request, own))
        request.__class__ = extended


class _WithoutSession:
    """Comes before the class of the application's requests."""

    @property
    def session(self) -> Any:
        """Return what was set as the session; see :func:`withhold_session`.

        The security policy gets an empty one, so that nobody is logged in.
        """
        own = vars(self)
        if "session" in own:
            return own["session"]
        registry = own["registry"]
        if own.get("is_policy_asked") or not registry.queryUtility(
            ISessionFactory
        ):
            session = self._of_application("session")
            own.pop("session", None)  # Pyramid has kept it
            return session
        raise RuntimeError(
            "A job has no session: that ended with the request that scheduled"
            " the job. Pass what the job needs of it as arguments; and what"
            " the job has to tell, let it return, or store it in the database"
        )

    @session.setter
    def session(self, value: Any) -> None:
        vars(self)["session"] = value

    @property
    def identity(self) -> Any:
        """Return what the security policy says."""
        return self._ask_policy("identity")

    @property
    def authenticated_userid(self) -> Any:
        """Return what the security policy says."""
        return self._ask_policy("authenticated_userid")

    @property
    def unauthenticated_userid(self) -> Any:
        """Return what the security policy says."""
        return self._ask_policy("unauthenticated_userid")

    @property
    def effective_principals(self) -> Any:
        """Return what the security policy says."""
        return self._ask_policy("effective_principals")

    def has_permission(self, *args: Any, **named_args: Any) -> Any:
        """Return what the security policy says."""
        with self._policy_is_asked():
            method = self._of_application("has_permission")
            return method(*args, **named_args)

    def _ask_policy(self, name: str) -> Any:
        with self._policy_is_asked():
            return self._of_application(name)

    @contextlib.contextmanager
    def _policy_is_asked(self) -> Iterator[None]:
        own = vars(self)
        before = own.get("is_policy_asked", False)
        own["is_policy_asked"] = True
        try:
            yield
        finally:
            own["is_policy_asked"] = before

    def _of_application(self, name: str) -> Any:
        """Return an attribute as the application's class has it."""
        return getattr(super(), name)


@functools.lru_cache(maxsize=32)
def _without_session(kind: type) -> type:
    """Return a subclass of the application's class that has no session."""
    names = {
        name: getattr(kind, name)
        for name in ("__module__", "__qualname__", "__doc__")
    }
    return type(kind.__name__, (_WithoutSession, kind), names)
