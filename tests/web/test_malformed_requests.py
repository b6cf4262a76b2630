"""Requests that are not well formed."""

import pytest
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.response import Response

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.mark.parametrize(
    "sid",
    [
        "unknown",
        "a" * 22,
        "a" * 5000,
        "..",
        "%00",
        "%E2%82%AC",
        "%20",
        "a;b",
        "'\"",
    ],
)
def test_a_sid_that_is_none_answers_404(make_app, sid):
    answer = make_app().get(f"/jobs/{sid}", status=404)

    assert answer.content_type == "application/problem+json"
    assert answer.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": (
            "There is no such job, or it has expired, or it is not yours."
        ),
    }


def test_other_paths_that_are_no_text_are_the_applications_affair(make_app):
    def complain(error, request):
        return Response("complaint", status=400)

    app = make_app(
        configure=lambda config: config.add_exception_view(
            complain, context=UnicodeDecodeError
        ),
    )

    assert app.get("/other/%ff", status=400).text == "complaint"
    app.get("/jobs/%ff", status=404)


@pytest.fixture
def protected(make_app):
    """Give an application that wants a token for each change."""

    def configure(config):
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
        config.set_default_csrf_options(require_csrf=True)

    return make_app(configure=configure)


@pytest.mark.parametrize("query", ["sid=%FF", "sid=a&x=%FF", "%FF=1"])
def test_a_query_that_is_no_text_is_refused(make_app, query):
    app = make_app()
    for ask in (app.get, app.head):
        answer = ask(f"/jobs?{query}", status=400)
        assert answer.content_type == "application/problem+json"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "application/x-www-form-urlencoded; charset=klingon"},
        {"Origin": "http://["},
        {"Referer": "http://["},
    ],
)
def test_what_no_check_of_tokens_can_read_is_refused(protected, headers):
    environ = {"wsgi.url_scheme": "https"}
    for method, path in (("DELETE", "/x"), ("POST", "/x/retry")):
        answer = protected.request(
            f"/jobs{path}",
            method=method,
            headers=headers,
            environ=environ,
            body=b"csrf_token=secret",
            status=400,
        )
        assert answer.content_type == "application/problem+json"
