"""What shows a job's nature: one that is aborted, one that fails at first."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request
from pyramid.response import Response
from pyramid.view import view_config

from .jobs import count_up
from .login import next_page
from .models import StopWords, library_of
from .samples import ENGLISH

__all__ = ["experiment", "includeme"]


def includeme(config: Configurator) -> None:
    """Add the routes and the views."""
    config.add_route("counter", "/counter")
    config.add_route("committed", "/committed")
    config.add_route("aborted", "/aborted")
    config.add_route("install_stop_words", "/stop-words/install")
    config.add_route("remove_stop_words", "/stop-words/remove")
    config.scan(__name__)


def experiment(request: Request) -> dict[str, Any]:
    """Tell how the experiments stand, for the page that shows them."""
    library = library_of(request)
    sid = request.GET.get("experiment", "")
    return {
        "counter": library.counter.value,
        "stop_words": library.stop_words,
        "sid": sid,
        "job": request.jobs.get(sid),
        "next_look": next_look(request, sid),
    }


def next_look(request: Request, sid: str) -> str:
    """Give where a page without JavaScript looks again.

    That is another address each time: at its own one a browser would only
    scroll to the anchor and load nothing, see "navigate to a fragment" in
    https://html.spec.whatwg.org/multipage/browsing-the-web.html
    """
    again = {} if "again" in request.GET else {"again": "yes"}
    return url_of_outcome(request, sid, **again)


def url_of_outcome(request: Request, sid: str, **query: str) -> str:
    """Give the address that shows what became of the job."""
    query = {"experiment": sid, **query}
    return request.route_url("home", _query=query, _anchor="experiment")


# -- Commit and abort ---------------------------------------------------------


@view_config(route_name="committed", request_method="POST")
def schedule_and_commit(request: Request) -> Response:
    """Schedule a job that counts up."""
    return show_counter_page(request, schedule_counting(request))


@view_config(route_name="aborted", request_method="POST")
def schedule_and_abort(request: Request) -> Response:
    """Schedule the same job, but abort the transaction."""
    sid = schedule_counting(request)
    request.tm.doom()  # pyramid_tm will abort instead of commit
    return show_counter_page(request, sid)


@view_config(route_name="counter", request_method="GET", renderer="json")
def show_counter(request: Request) -> dict[str, int]:
    """Tell how often the job of the experiment has run."""
    return {"value": library_of(request).counter.value}


def schedule_counting(request: Request) -> str:
    """Schedule the job of the experiment."""
    return request.schedule(count_up, library_of(request).counter)


def show_counter_page(request: Request, sid: str) -> Response:
    """Go back to the page, which tells what became of the job."""
    return HTTPSeeOther(url_of_outcome(request, sid))


# -- Stop words ---------------------------------------------------------------


@view_config(route_name="install_stop_words", request_method="POST")
def install_stop_words(request: Request) -> Response:
    """Give the user a list of stop words; failed jobs can use it then."""
    library_of(request).stop_words = StopWords(ENGLISH)
    return HTTPSeeOther(next_page(request))


@view_config(route_name="remove_stop_words", request_method="POST")
def remove_stop_words(request: Request) -> Response:
    """Take the list away, so that one can see a job fail."""
    library_of(request).stop_words = None
    return HTTPSeeOther(next_page(request))
