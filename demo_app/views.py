"""The pages of the text analyser, and what happens behind its buttons."""

from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPError,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    HTTPSeeOther,
)
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import exception_view_config, view_config
from pyramid_zodbconn import get_connection

from .jobs import analyse, count_up
from .models import Counter, Text, Texts

__all__ = ["includeme"]

MEGABYTE = 1_000_000
#: Of one object the ZODB stores comfortably less than 16 megabytes.
MOST_MEGABYTES = 10
LISTED = 20
TITLE_LENGTH = 40


def includeme(config: Configurator) -> None:
    """Add the routes, the views and the static files."""
    config.add_static_view("static", "demo_app:static")
    config.add_route("home", "/")
    config.add_route("texts", "/texts")
    config.add_route("text", "/texts/{id}")
    config.add_route("counter", "/counter")
    config.add_route("committed", "/committed")
    config.add_route("aborted", "/aborted")
    config.scan(__name__)


# -- Texts --------------------------------------------------------------------


@view_config(
    route_name="home", request_method="GET", renderer="templates/home.jinja2"
)
def home(request: Request) -> dict[str, Any]:
    """Show the form, the latest texts, and the experiment."""
    root = get_connection(request).root()
    texts = root.get("texts", Texts()).newest(LISTED)
    sid = request.GET.get("experiment", "")
    return {
        "most_megabytes": MOST_MEGABYTES,
        "pace": pace(request),
        "analyses": [analysis(request, text) for text in texts],
        "counter": root.get("counter", Counter()).value,
        "sid": sid,
        "job": request.jobs.get(sid),
    }


@view_config(route_name="texts", request_method="POST")
def add_text(request: Request) -> Response:
    """Keep a text and have it analysed."""
    text = Text(*submitted(request))
    # Two first visitors at once conflict on the root, and pyramid_retry
    # sends the second one through here again: there is but one "texts".
    root = get_connection(request).root()
    root.setdefault("texts", Texts()).add(text)
    return start_analysis(request, text)


@view_config(route_name="text", request_method="POST")
def analyse_again(request: Request) -> Response:
    """Have a text analysed whose job failed or was lost."""
    return start_analysis(request, find_text(request))


def start_analysis(request: Request, text: Text) -> Response:
    """Schedule the analysis of *text*, and tell where its outcome will be."""
    job = request.jobs.get(text.sid)
    if job is None or job.done:
        text.sid = request.schedule(analyse, text, pace(request))
    if wants_page(request):
        return HTTPSeeOther(request.route_url("text", id=text.id))
    return request.accepted(text.sid)


@view_config(
    route_name="text", request_method="GET", renderer="templates/text.jinja2"
)
def show_text(request: Request) -> dict[str, Any]:
    """Show how the analysis of a text goes, or what it found."""
    return analysis(request, find_text(request))


def pace(request: Request) -> float:
    """Tell how many seconds the analysis of a megabyte is to take."""
    settings = request.registry.settings
    return float(settings.get("text_analyser.seconds_per_megabyte", 0))


def find_text(request: Request) -> Text:
    """Give the text that the URL names."""
    root = get_connection(request).root()
    text = root.get("texts", Texts()).get(request.matchdict["id"])
    if text is None:
        raise HTTPNotFound
    return text


def analysis(request: Request, text: Text) -> dict[str, Any]:
    """Tell how the analysis of *text* stands.

    What was found is on the text, also when the job is long forgotten.
    """
    job = request.jobs.get(text.sid)
    if job and not job.done:
        state = "running"
    elif text.finding:
        state = "found"
    elif job and job.failure:
        state = "failed"
    elif job:
        # It ended after this request had begun to read the database.
        state = "running"
    else:
        state = "lost"
    return {"text": text, "state": state, "job": job}


def submitted(request: Request) -> tuple[str, bytes]:
    """Give the name and the bytes of the text in *request*.

    Raises:
        HTTPRequestEntityTooLarge: it is too long.
        HTTPBadRequest: there is none, or it is empty.
    """
    # The form adds a little to the text.
    if (request.content_length or 0) > MOST_MEGABYTES * MEGABYTE + 10_000:
        raise HTTPRequestEntityTooLarge(
            f"A text may have up to {MOST_MEGABYTES} megabytes."
        )
    try:
        fields = [request.POST.get("file"), request.POST.get("text")]
    except (ValueError, DeprecationWarning):
        # This is how webob refuses charsets other than UTF-8.
        raise HTTPBadRequest(
            "The form cannot be read; it must be in UTF-8."
        ) from None
    if fields == [None, None]:
        raise HTTPBadRequest(
            "Send the text as the form field “text”, or a file as “file”."
        )
    # A browser sends both fields, and an empty one for no choice of a file.
    field = next(
        (field for field in fields if field not in (None, b"", "")), ""
    )
    if hasattr(field, "file"):
        name, data = field.filename, field.file.read()
    else:
        data = field.encode()
        name = title_of(field)
    if not data.strip():
        raise HTTPBadRequest(
            "There is nothing to analyse: choose a file that is not empty, or"
            " paste a text."
        )
    return name, data


def title_of(content: str) -> str:
    """Call a pasted text by how it begins."""
    beginning = " ".join(content[:200].split())
    if len(beginning) <= TITLE_LENGTH:
        return beginning
    return f"{beginning[: TITLE_LENGTH - 1]}…"


# -- The experiment -----------------------------------------------------------


@view_config(route_name="committed", request_method="POST")
def schedule_and_commit(request: Request) -> Response:
    """Schedule a job that counts up."""
    return show_experiment(request, schedule_counting(request))


@view_config(route_name="aborted", request_method="POST")
def schedule_and_abort(request: Request) -> Response:
    """Schedule the same job, but abort the transaction."""
    sid = schedule_counting(request)
    request.tm.doom()  # pyramid_tm will abort instead of commit
    return show_experiment(request, sid)


@view_config(route_name="counter", request_method="GET", renderer="json")
def show_counter(request: Request) -> dict[str, int]:
    """Tell how often the job of the experiment has run."""
    root = get_connection(request).root()
    return {"value": root.get("counter", Counter()).value}


def schedule_counting(request: Request) -> str:
    """Schedule the job of the experiment."""
    root = get_connection(request).root()
    return request.schedule(count_up, root.setdefault("counter", Counter()))


def show_experiment(request: Request, sid: str) -> Response:
    """Go back to the page, which tells what became of the job."""
    query = {"experiment": sid}
    return HTTPSeeOther(
        request.route_url("home", _query=query, _anchor="experiment")
    )


# -- Errors -------------------------------------------------------------------


@exception_view_config(HTTPError)
def refuse(error: HTTPError, request: Request) -> Response:
    """Say what is wrong: in a page to people, in JSON to programs."""
    detail = error.detail or error.explanation
    if isinstance(error, HTTPNotFound):
        detail = "There is nothing at this address."
    problem = {
        "title": HTTPStatus(error.status_int).phrase,
        "status": error.status_int,
        "detail": detail,
    }
    if wants_page(request):
        response = render_to_response(
            "templates/refused.jinja2", problem, request
        )
    else:
        response = render_to_response("json", problem, request)
        response.content_type = "application/problem+json"
    response.status_int = error.status_int
    return response


def wants_page(request: Request) -> bool:
    """Tell a browser that shows pages from a program that reads JSON."""
    offers = ["application/json", "text/html"]
    accepted = request.accept.acceptable_offers(offers)
    return bool(accepted) and accepted[0][0] == "text/html"
