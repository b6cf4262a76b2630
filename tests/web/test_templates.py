"""The element and its script, as templates get them from the request."""

import html.parser

import jinja2
import pytest
from pyramid.csrf import CookieCSRFStoragePolicy
from pyramid.response import Response

from pyramid_zodb_async.web.static_files import VERSION
from pyramid_zodb_async.web.templates import Markup

FALLBACK = "The work is done in the background."


def showing(make):
    """Make a view that shows what *make* makes of the request."""
    return {"/view": lambda request: Response(str(make(request)))}


class Elements(html.parser.HTMLParser):
    """Reads markup as a browser does: tags with attributes, and texts."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.found.append(text)


def test_the_element_has_the_url_of_the_job(make_app):
    app = make_app(showing(lambda request: request.job_progress("1-a")))

    assert app.get("/view").text == (
        f'<job-progress src="/jobs/1-a">{FALLBACK}</job-progress>'
    )


def test_urls_stay_right_below_a_mount_point(make_app):
    app = make_app(
        showing(
            lambda request: request.job_progress("a") + request.job_scripts()
        )
    )
    mounted = {"SCRIPT_NAME": "/shop", "HTTP_HOST": "shop.example:8443"}
    text = app.get("/view", extra_environ=mounted).text

    (_, element), _, (_, script) = Elements(text).found
    assert element["src"] == "/shop/jobs/a"
    assert script["src"] == f"/shop/jobs/static/{VERSION}/job-progress.js"


def test_urls_stay_right_below_a_prefix(make_app):
    def include(config):
        config.include("pyramid_zodb_async", route_prefix="/api")

    app = make_app(
        showing(
            lambda request: request.job_progress("a") + request.job_scripts()
        ),
        includes=["pyramid_tm", "pyramid_zodbconn"],
        configure=include,
        zodb_async__route_prefix="work",
    )
    text = app.get("/view").text

    (_, element), _, (_, script) = Elements(text).found
    assert element["src"] == "/api/work/a"
    assert script["src"].startswith("/api/work/static/")
    app.get(script["src"], status=200)


def test_arguments_become_attributes(make_app):
    def make(request):
        return request.job_progress(
            "a",
            label="Best sellers",
            next="/reports?of=1&at=2",
            readonly=True,
            forget=False,
            title=None,
            class_="wide",
            text_cancel="Stop",
            tabindex=0,
        )

    text = make_app(showing(make)).get("/view").text
    _, attributes = Elements(text).found[0]
    assert attributes == {
        "src": "/jobs/a",
        "label": "Best sellers",
        "next": "/reports?of=1&at=2",
        "readonly": None,
        "class": "wide",
        "text-cancel": "Stop",
        "tabindex": "0",
    }


def test_nothing_gets_out_of_its_place(make_app):
    evil = "\"'><script>alert(1)</script>&amp;"

    def make(request):
        return request.job_progress(evil, evil, label=evil)

    text = make_app(showing(make)).get("/view").text
    (tag, attributes), *texts = Elements(text).found
    assert tag == "job-progress"
    assert attributes["label"] == evil
    assert "".join(texts) == evil


def test_the_fallback_may_be_markup(make_app):
    def make(request):
        return request.job_progress("a", Markup("<p>Look <b>later</b></p>"))

    text = make_app(showing(make)).get("/view").text
    assert "><p>Look <b>later</b></p></job-progress>" in text


@pytest.mark.parametrize(
    "url",
    ["/reports?of=1&at=2", "http://x/", "https://x/", "?a=1", "../reports"],
)
def test_without_javascript_there_is_a_link_to_the_result(make_app, url):
    app = make_app(
        showing(lambda request: request.job_progress("a", next=url))
    )

    (_, element), text, link, words = Elements(app.get("/view").text).found
    assert element["next"] == url
    assert text == f"{FALLBACK} "
    assert link == ("a", {"href": url})
    assert words == "Look for the result"


@pytest.mark.parametrize(
    "url",
    [
        None,
        False,
        True,
        "",
        "javascript:alert(1)",
        "\tjavascript:1",
        "data:,x",
    ],
)
def test_without_javascript_there_is_no_link_to_what_is_no_page(make_app, url):
    app = make_app(
        showing(lambda request: request.job_progress("a", next=url))
    )

    _, text = Elements(app.get("/view").text).found
    assert text == FALLBACK


@pytest.mark.parametrize("name", ["on click", "a>b", "=", "", "__", "1a", "é"])
def test_what_is_no_attribute_is_refused(make_app, name):
    def make(request):
        with pytest.raises(ValueError, match="cannot be the name"):
            request.job_progress("a", **{name: "x"})
        return "refused"

    make_app(showing(make)).get("/view").mustcontain("refused")


def test_the_url_is_nobody_elses_to_set(make_app):
    def make(request):
        with pytest.raises(ValueError, match="sets src itself"):
            request.job_progress("a", src="/elsewhere")
        with pytest.raises(ValueError, match="sets src itself"):
            request.job_scripts(src="/elsewhere")
        return "refused"

    make_app(showing(make)).get("/view").mustcontain("refused")


def test_the_script_is_a_module_that_is_there(make_app):
    app = make_app(showing(lambda request: request.job_scripts(nonce="n1")))
    text = app.get("/view").text

    assert text == (
        '<script type="module" src="/jobs/static/'
        f'{VERSION}/job-progress.js" nonce="n1"></script>'
    )
    app.get(Elements(text).found[0][1]["src"], status=200)


def test_templates_take_it_for_markup(make_app):
    template = jinja2.Template("{{ it }}", autoescape=True)
    app = make_app(
        showing(
            lambda request: template.render(it=request.job_progress("1-a"))
        )
    )

    assert app.get("/view").text == (
        f'<job-progress src="/jobs/1-a">{FALLBACK}</job-progress>'
    )


@pytest.mark.parametrize("header", ["X-CSRF-Token", "X-Shop-Token", ""])
def test_the_token_is_there_where_changes_need_it(make_app, header):
    def configure(config):
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
        config.set_default_csrf_options(header=header)

    app = make_app(
        showing(lambda request: request.job_progress("a")),
        configure=configure,
    )
    text = app.get("/view").text
    _, attributes = Elements(text).found[0]
    token = app.cookies.get("csrf_token")
    usual = header == "X-CSRF-Token"
    expected = {"src": "/jobs/a", "csrf-token": token, "csrf-header": header}

    if not header:  # it is looked for in forms only
        assert attributes == {"src": "/jobs/a"}
    else:
        assert token
        assert attributes == {
            name: expected[name]
            for name in expected
            if name != "csrf-header" or not usual
        }


def test_there_is_no_token_where_no_change_needs_it(make_app):
    def configure(config):
        config.set_csrf_storage_policy(CookieCSRFStoragePolicy())
        config.set_default_csrf_options(require_csrf=False)

    app = make_app(
        showing(lambda request: request.job_progress("a")),
        configure=configure,
    )

    assert "csrf" not in app.get("/view").text
