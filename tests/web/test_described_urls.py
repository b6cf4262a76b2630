"""The OpenAPI description leads to the jobs, wherever the application is."""

import http.client
import json
from urllib.parse import urljoin, urlsplit

import pytest
from client_server import ClientServer
from described import DESCRIPTION, METHODS
from webtest import TestApp

from pyramid_zodb_async.web.static_files import VERSION

#: What may stand in a URL between the folder and the file.
VERSIONS = {"plain": "", "current": f"{VERSION}/", "former": f"{'0' * 16}/"}

each_version = pytest.mark.parametrize(
    "version", VERSIONS.values(), ids=VERSIONS
)

SPEC = "pyramid_zodb_async:static/openapi.json"


def urls_of(description, url):
    """List all that is described, by the URL that the document came from."""
    (server,) = description["servers"]
    base = urljoin(url, server["url"]).removesuffix("/")
    for path, item in description["paths"].items():
        methods = {method.upper() for method in METHODS & item.keys()}
        yield base + path.format(sid="unknown"), methods


# -- Through a server ---------------------------------------------------------


#: Where a proxy has the application, what it gives to the include, and its
#: setting; with the path of the jobs.
PLACES = {
    "alone": ("", None, "jobs", "/jobs"),
    "mounted": ("/the/shop", None, "jobs", "/the/shop/jobs"),
    "included": ("", "/api/v1", "jobs", "/api/v1/jobs"),
    "set": ("", None, "my/tasks", "/my/tasks"),
    "all": ("/shop", "api", "my/tasks", "/shop/api/my/tasks"),
}


@pytest.fixture(scope="module", params=PLACES.values(), ids=PLACES)
def place(request, tmp_path_factory):
    """Serve an application in such a place; give a port, and the path."""
    mount, included, prefix, path = request.param
    settings = {"zodb_async.route_prefix": prefix}
    if included:
        settings["route_prefix"] = included
    options = [f"--url-prefix={mount}"] if mount else []
    folder = tmp_path_factory.mktemp("described")
    server = ClientServer(folder, *options, **settings)
    server.start()
    yield server.port, path
    server.kill()


def ask(port, method, path):
    """Send a request; give the answer, and its body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@each_version
def test_server_and_path_are_the_url_wherever_the_application_is(
    place, version
):
    port, jobs = place
    url = f"http://127.0.0.1:{port}{jobs}/static/{version}openapi.json"
    _, body = ask(port, "GET", urlsplit(url).path)
    found = dict(urls_of(json.loads(body), url))

    assert [urlsplit(url).path for url in found] == [
        jobs,
        f"{jobs}/unknown",
        f"{jobs}/unknown/retry",
    ]
    for url, methods in found.items():
        answer, _ = ask(port, "OPTIONS", urlsplit(url).path)
        assert set(answer.getheader("Allow").split(", ")) == methods


@each_version
def test_what_is_made_for_a_place_is_cached_as_files_are(place, version):
    port, jobs = place
    beside, _ = ask(port, "GET", f"{jobs}/static/{version}jobs.js")
    path = f"{jobs}/static/{version}openapi.json"
    answer, body = ask(port, "GET", path)
    head, nothing = ask(port, "HEAD", path)
    names = [
        "Content-Type",
        "Content-Length",
        "Last-Modified",
        "Cache-Control",
    ]

    assert answer.getheader("Content-Type") == "application/json"
    assert answer.getheader("X-Content-Type-Options") == "nosniff"
    assert answer.getheader("Cache-Control") == beside.getheader(
        "Cache-Control"
    )
    assert int(answer.getheader("Content-Length")) == len(body)
    assert [head.getheader(name) for name in names] == [
        answer.getheader(name) for name in names
    ]
    assert nothing == b""


# -- Details ------------------------------------------------------------------


@pytest.fixture
def mounted(make_app):
    """Give an application that is below a path, and the headers of a file."""
    app = make_app()
    return TestApp(app.app, extra_environ={"SCRIPT_NAME": "/shop"})


@each_version
def test_it_is_not_sent_again_to_who_has_it(mounted, version):
    path = f"/jobs/static/{version}openapi.json"
    whole = mounted.get(path)
    since = {"If-Modified-Since": whole.headers["Last-Modified"]}
    answer = mounted.get(path, headers=since, status=304)

    assert answer.headers["Cache-Control"] == whole.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert mounted.get(path, headers={"If-Modified-Since": OLD}).json


OLD = "Thu, 01 Jan 1970 00:00:00 GMT"


def test_a_part_of_it_is_sent_to_who_asks_for_that(mounted):
    path = "/jobs/static/openapi.json"
    whole = mounted.get(path).body
    answer = mounted.get(path, headers={"Range": "bytes=-10"}, status=206)

    assert answer.body == whole[-10:]
    assert answer.headers["Cache-Control"] == "no-cache"


def test_it_is_the_file_but_for_the_places(mounted):
    served = mounted.get("/jobs/static/openapi.json").json

    assert served["servers"] != DESCRIPTION["servers"]
    assert served | {"servers": DESCRIPTION["servers"]} == DESCRIPTION


@pytest.mark.parametrize(
    ("mount", "server"),
    [("", "/"), ("/à la carte", "/%C3%A0%20la%20carte"), ("/50%", "/50%25")],
)
def test_a_path_that_has_to_be_quoted_is(make_app, mount, server):
    app = make_app(zodb_async__route_prefix="jobs/für")
    environ = {"SCRIPT_NAME": mount.encode().decode("latin-1")}
    path = "/jobs/f%C3%BCr/static/openapi.json"
    description = app.get(path, extra_environ=environ).json

    assert description["servers"][0]["url"] == server
    assert next(iter(description["paths"])) == "/jobs/f%C3%BCr"


def test_a_prefix_may_have_a_part_that_the_request_fills_in(make_app):
    app = make_app(
        includes=("pyramid_retry", "pyramid_tm", "pyramid_zodbconn"),
        configure=lambda config: config.include(
            "pyramid_zodb_async", route_prefix="/of/{shop}"
        ),
    )
    description = app.get("/of/ann/jobs/static/openapi.json").json

    assert description["servers"][0]["url"] == "/of/ann"


def test_one_that_the_application_puts_in_its_place_is_served_as_it_is(
    make_app, tmp_path
):
    own = tmp_path / "own.json"
    own.write_text('{"servers": [{"url": "https://shop.example"}]}')
    app = make_app(
        configure=lambda config: config.override_asset(SPEC, str(own)),
        zodb_async__route_prefix="tasks",
    )
    for version in VERSIONS.values():
        answer = app.get(f"/tasks/static/{version}openapi.json")
        assert answer.body == own.read_bytes()
        assert answer.content_type == "application/json"
