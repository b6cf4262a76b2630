"""A login by tokens that soon expire, for scripts in pages and programs."""

from collections.abc import Callable
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response
from pyramid.tweens import EXCVIEW
from pyramid.view import view_config

from .login import is_program
from .views import MEGABYTE, MOST_MEGABYTES, pace

__all__ = ["includeme"]

Handler = Callable[[Request], Response]


def includeme(config: Configurator) -> None:
    """Add the routes, the views and the tween."""
    config.add_route("by_token", "/by-token")
    config.add_route("tokens", "/tokens")
    config.add_tween("demo_app.tokens.refuse_factory", under=EXCVIEW)
    config.scan(__name__)


def refuse_factory(handler: Handler, _registry: Any) -> Handler:
    """Return a tween that answers 401 to whoever sends a wrong token.

    Else a program whose token has expired would be nobody, for whom the jobs
    of others do not exist. By a 401 it knows to get another token.
    """

    def refuse(request: Request) -> Response:
        if is_program(request) and request.authenticated_userid is None:
            raise HTTPForbidden
        return handler(request)

    return refuse


def life(request: Request) -> float:
    """Tell for how many seconds a token is good."""
    settings = request.registry.settings
    return float(settings.get("text_analyser.token_seconds", 20))


@view_config(route_name="tokens", request_method="POST", renderer="json")
def give_token(request: Request) -> dict[str, Any]:
    """Give a token to who is logged in, by a cookie.

    In place of this, a real application would have a service for logins.
    """
    if is_program(request):
        raise HTTPForbidden
    seconds = life(request)
    return {"token": request.token_for(seconds), "expires_in": seconds}


@view_config(
    route_name="by_token",
    request_method="GET",
    renderer="templates/by_token.jinja2",
)
def show_by_token(request: Request) -> dict[str, Any]:
    """Show a page that follows a job by tokens."""
    megabytes = 3 * life(request) / (pace(request) or 100)
    size = min(megabytes, MOST_MEGABYTES / 2) * MEGABYTE
    return {"seconds": life(request), "size": int(size)}
