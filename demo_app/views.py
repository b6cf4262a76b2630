"""The pages of the text analyser, and what happens behind its buttons."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPClientError, HTTPNotFound, HTTPSeeOther
from pyramid.renderers import render_to_response
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from pyramid_zodb_async import JobState

from .errors import wants_page
from .experiments import experiment
from .forms import MEGABYTE, MOST_FILES, MOST_MEGABYTES, submitted
from .jobs import analyse
from .models import Text, library_of
from .samples import PARTS, python_reference

__all__ = ["includeme"]

LISTED = 50


def includeme(config: Configurator) -> None:
    """Add the routes and the views."""
    config.add_route("home", "/")
    config.add_route("samples", "/samples")
    config.add_route("texts", "/texts")
    config.add_route("text", "/texts/{id}")
    config.add_route("analyse", "/texts/{id}/analyse")
    config.add_route("cancel", "/texts/{id}/cancel")
    config.add_route("retry", "/texts/{id}/retry")
    config.scan(__name__)


# -- Hand in ------------------------------------------------------------------


@view_config(
    route_name="home", request_method="GET", renderer="templates/home.jinja2"
)
def home(request: Request) -> dict[str, Any]:
    """Show the form, and what one can try."""
    return {
        "most_files": MOST_FILES,
        "most_bytes": MOST_MEGABYTES * MEGABYTE,
        "pace": pace(request),
        "parts": PARTS,
        **experiment(request),
    }


@view_config(route_name="texts", request_method="POST")
def add_texts(request: Request) -> Response:
    """Keep texts and have them analysed."""
    try:
        texts = submitted(request)
    except HTTPClientError as error:
        if not wants_page(request):
            raise
        return show_again(request, error)
    return start(request, texts)


def show_again(request: Request, error: HTTPClientError) -> Response:
    """Show the form once more, with what is wrong beside it."""
    is_read = request.content_length <= MOST_MEGABYTES * MEGABYTE
    values = {
        **home(request),
        "error": error.detail,
        "pasted": request.POST.get("text", "") if is_read else "",
    }
    response = render_to_response("templates/home.jinja2", values, request)
    response.status_int = error.status_int
    return response


@view_config(route_name="samples", request_method="POST")
def add_samples(request: Request) -> Response:
    """Keep texts for those who have none at hand."""
    return start(
        request,
        [Text(name, content.encode()) for name, content in python_reference()],
    )


def start(request: Request, texts: list[Text]) -> Response:
    """Schedule the analyses, and tell where their outcomes will be."""
    for text in reversed(texts):  # so that the first one leads the list
        library_of(request).texts.add(text)
    for text in texts:
        schedule_analysis(request, text)
    if not wants_page(request):
        if len(texts) == 1:
            return request.accepted(texts[0].sid)
        urls = [request.job_url(text.sid) for text in texts]
        return Response(json={"jobs": urls}, status=202)
    if len(texts) == 1:
        return HTTPSeeOther(request.route_url("text", id=texts[0].id))
    return HTTPSeeOther(request.route_url("texts"))


def schedule_analysis(request: Request, text: Text) -> None:
    """Have *text* analysed after the commit."""
    library = library_of(request)
    text.sid = request.schedule(analyse, text, library, pace(request))


def pace(request: Request) -> float:
    """Tell how many seconds the analysis of a megabyte is to take."""
    settings = request.registry.settings
    return float(settings.get("text_analyser.seconds_per_megabyte", 0))


# -- Watch --------------------------------------------------------------------


@view_config(
    route_name="texts", request_method="GET", renderer="templates/texts.jinja2"
)
def show_texts(request: Request) -> dict[str, Any]:
    """Show the user's latest texts, and how their analyses go."""
    texts = list(library_of(request).texts.newest(LISTED + 1))
    return {
        "analyses": [analysis(request, text) for text in texts[:LISTED]],
        "has_more": len(texts) > LISTED,
    }


@view_config(
    route_name="text", request_method="GET", renderer="templates/text.jinja2"
)
def show_text(request: Request) -> dict[str, Any]:
    """Show how the analysis of a text goes, or what it found."""
    return {
        **analysis(request, find_text(request)),
        "stop_words": library_of(request).stop_words,
    }


def find_text(request: Request) -> Text:
    """Give the text that the URL names, if it is one of the user's."""
    text = library_of(request).texts.get(request.matchdict["id"])
    if text is None:
        raise HTTPNotFound
    return text


def analysis(request: Request, text: Text) -> dict[str, Any]:
    """Tell how the analysis of *text* stands.

    What was found is on the text, also when the job is long forgotten.
    """
    job = request.jobs.get(text.sid)
    if job is None:
        state = "found" if text.finding else "lost"
    elif job.state in {JobState.FAILED, JobState.CANCELLED}:
        state = str(job.state)
    elif job.done and text.finding:
        state = "found"
    else:
        # Or it ended after this request had begun to read the database.
        state = "running"
    return {"text": text, "state": state, "job": job}


# -- Act ----------------------------------------------------------------------
#
# A page with JavaScript cancels and retries by the job's own URL. These are
# for one without.


@view_config(route_name="cancel", request_method="POST")
def cancel_analysis(request: Request) -> Response:
    """End the analysis of a text, unless it has ended."""
    text = find_text(request)
    request.jobs.cancel(text.sid)
    return show_how_it_stands(request, text)


@view_config(route_name="retry", request_method="POST")
def retry_analysis(request: Request) -> Response:
    """Have a failed analysis run again."""
    text = find_text(request)
    request.jobs.retry(text.sid)
    return show_how_it_stands(request, text)


@view_config(route_name="analyse", request_method="POST")
def analyse_again(request: Request) -> Response:
    """Have a text analysed by a new job, unless one is at it."""
    text = find_text(request)
    job = request.jobs.get(text.sid)
    if job is None or job.done:
        schedule_analysis(request, text)
    return show_how_it_stands(request, text)


def show_how_it_stands(request: Request, text: Text) -> Response:
    """Go to the page of *text*."""
    return HTTPSeeOther(request.route_url("text", id=text.id))
