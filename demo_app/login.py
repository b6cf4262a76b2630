"""Who is there: people by a cookie, programs by a header."""

import time
from typing import Any

from pyramid.authentication import AuthTktCookieHelper
from pyramid.config import Configurator
from pyramid.csrf import CookieCSRFStoragePolicy, new_csrf_token
from pyramid.httpexceptions import HTTPBadRequest, HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import (
    NO_PERMISSION_REQUIRED,
    Allowed,
    Denied,
    forget,
    remember,
)
from pyramid.view import view_config
from webob.cookies import SignedSerializer

__all__ = ["USERS", "LoginPolicy", "includeme", "is_program"]

#: The names by userid. A real application knows more than two, and asks for
#: a password.
USERS = {"ada": "Ada", "grace": "Grace"}

SCHEME = "Bearer "


def includeme(config: Configurator) -> None:
    """Let nobody in who is not logged in, and no form of another site."""
    settings = config.get_settings()
    policy = LoginPolicy(settings["text_analyser.secret"])
    config.set_security_policy(policy)
    config.set_default_permission("use")
    config.set_csrf_storage_policy(
        CookieCSRFStoragePolicy(httponly=True, samesite="Lax")
    )
    config.set_default_csrf_options(
        require_csrf=True, callback=lambda request: not is_program(request)
    )
    config.add_request_method(user_name, property=True)
    config.add_request_method(other_user, property=True)
    config.add_request_method(
        lambda request: policy.token(request.authenticated_userid),
        "program_token",
        property=True,
    )
    config.add_request_method(
        lambda request, seconds: policy.token(
            request.authenticated_userid, seconds
        ),
        "token_for",
    )
    config.add_route("login", "/login")
    config.add_route("logout", "/logout")
    config.scan(__name__)


def is_program(request: Request) -> bool:
    """Tell whether the login is in a header, not in a cookie.

    A browser sends cookies also with the forms of other sites, so these need
    a CSRF token. Of itself it never sends this header.
    """
    return request.headers.get("Authorization", "").startswith(SCHEME)


class LoginPolicy:
    """Knows people by a signed cookie, and programs by a signed token."""

    def __init__(self, secret: str) -> None:
        # Behind HTTPS, a real application says secure=True here, and above.
        self._cookie = AuthTktCookieHelper(
            secret, http_only=True, samesite="Lax", wild_domain=False
        )
        self._signer = SignedSerializer(secret, "program", "sha256")

    def identity(self, request: Request) -> str | None:
        """Give the userid."""
        if is_program(request):
            userid = self._of_token(request)
        else:
            userid = (self._cookie.identify(request) or {}).get("userid")
        return userid if userid in USERS else None

    authenticated_userid = identity

    def permits(self, request: Request, context: Any, permission: str) -> Any:
        """Let everybody who is logged in do everything."""
        if self.identity(request) is None:
            return Denied("nobody is logged in")
        return Allowed("logged in")

    def remember(self, request: Request, userid: str, **kw: Any) -> Any:
        """Give the headers that log somebody in."""
        return self._cookie.remember(request, userid, **kw)

    def forget(self, request: Request, **kw: Any) -> Any:
        """Give the headers that log out."""
        return self._cookie.forget(request, **kw)

    def token(self, userid: str, seconds: float | None = None) -> str:
        """Give the token by which a program is *userid*, so many seconds."""
        until = None if seconds is None else time.time() + seconds
        return self._signer.dumps([userid, until]).decode()

    def _of_token(self, request: Request) -> str | None:
        token = request.headers["Authorization"].removeprefix(SCHEME)
        try:
            userid, until = self._signer.loads(token.encode())
        except ValueError:
            return None
        return userid if until is None or time.time() < until else None


def user_name(request: Request) -> str | None:
    """``request.user_name``: what the user is called."""
    return USERS.get(request.authenticated_userid)


def other_user(request: Request) -> tuple[str, str]:
    """``request.other_user``: the userid and the name of somebody else."""
    return next(
        (userid, name)
        for userid, name in USERS.items()
        if userid != request.authenticated_userid
    )


@view_config(
    route_name="login",
    request_method="GET",
    renderer="templates/login.jinja2",
    permission=NO_PERMISSION_REQUIRED,
)
def show_login(request: Request) -> dict[str, Any]:
    """Ask who it is."""
    return {"users": USERS, "next": next_page(request)}


@view_config(
    route_name="login",
    request_method="POST",
    permission=NO_PERMISSION_REQUIRED,
)
def log_in(request: Request) -> Response:
    """Believe the answer."""
    userid = request.POST.get("user")
    if userid not in USERS:
        raise HTTPBadRequest("Nobody of this name is known here.")
    new_csrf_token(request)  # the forms of the login before are void
    return HTTPSeeOther(next_page(request), headers=remember(request, userid))


@view_config(
    route_name="logout",
    request_method="POST",
    permission=NO_PERMISSION_REQUIRED,
)
def log_out(request: Request) -> Response:
    """Forget who it was."""
    new_csrf_token(request)
    return HTTPSeeOther(request.route_path("login"), headers=forget(request))


def next_page(request: Request) -> str:
    """Give the path to go on to, which is never one of another site."""
    path = request.params.get("next", "")
    is_ours = path.startswith("/") and path[1:2] not in {"/", "\\"}
    return path if is_ours else request.route_path("home")
