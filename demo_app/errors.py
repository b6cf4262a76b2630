"""What people and programs are told when something is wrong."""

from http import HTTPStatus

from pyramid.config import Configurator
from pyramid.exceptions import BadCSRFOrigin, BadCSRFToken
from pyramid.httpexceptions import (
    HTTPError,
    HTTPForbidden,
    HTTPNotFound,
    HTTPSeeOther,
)
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, forbidden_view_config

__all__ = ["includeme", "wants_page"]


def includeme(config: Configurator) -> None:
    """Add the views."""
    config.scan(__name__)


@forbidden_view_config()
def ask_who_it_is(_error: HTTPForbidden, request: Request) -> Response:
    """Send people to the login; tell programs what to send."""
    if wants_page(request):
        wish = request.path_qs if request.method == "GET" else None
        return HTTPSeeOther(
            request.route_path("login", _query={"next": wish} if wish else {})
        )
    home = request.route_url("home")
    response = say(
        request,
        401,
        "This is the text analyser, a demo of pyramid_zodb_async: background"
        " jobs for Pyramid. It is made for browsers; a program sends the"
        " header “Authorization: Bearer TOKEN”. To get a token, log in at"
        f" {home} with a browser, and look below “For programs”, where there"
        " are commands to copy.",
    )
    response.www_authenticate = "Bearer"
    return response


@exception_view_config(HTTPError)
def refuse(error: HTTPError, request: Request) -> Response:
    """Say what is wrong."""
    detail = error.detail or error.explanation
    if isinstance(error, HTTPNotFound):
        detail = "There is nothing at this address, or it is not yours."
    if isinstance(error, BadCSRFToken | BadCSRFOrigin):
        detail = (
            "The form was from another login or another site. Nothing was"
            " changed. Open the page again, and try once more."
        )
    return say(request, error.status_int, detail)


def say(request: Request, status: int, detail: str) -> Response:
    """Answer in a page to people, in JSON to programs."""
    problem = {
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if wants_page(request):
        response = render_to_response(
            "templates/refused.jinja2", problem, request
        )
    else:
        response = render_to_response("json", problem, request)
        response.content_type = "application/problem+json"
    response.status_int = status
    return response


def wants_page(request: Request) -> bool:
    """Tell a browser that shows pages from a program that reads JSON."""
    offers = ["application/json", "text/html"]
    accepted = request.accept.acceptable_offers(offers)
    return bool(accepted) and accepted[0][0] == "text/html"
