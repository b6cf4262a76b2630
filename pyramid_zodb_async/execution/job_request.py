"""The request of a job, which has no session."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

from pyramid.interfaces import ISessionFactory

__all__ = ["withhold_session"]


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
