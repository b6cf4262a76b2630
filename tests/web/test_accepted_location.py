"""The ``Location`` of an accepted job is a path when it leaves the process.

A proxy that rewrites ``Host``, as those of development servers do, makes any
absolute one lead past it.
"""

import gzip
import http.client
import socket

import pytest
import shop
import transaction
from ports import free_port
from pyramid.request import Request
from pyramid.response import Response
from webtest import TestApp
from webtest.http import StopableWSGIServer

from pyramid_zodb_async.testing import drain
from pyramid_zodb_async.web.resources import path_of

pytestmark = pytest.mark.kept_in("memory", "zodb")

#: What a client may have sent for the host, also what is none.
HOSTS = ["shop.example:8443", "[::1]:80", "[::1", "elsewhere.example", ""]


@pytest.fixture
def serve():
    """Serve applications with waitress, and give their ports."""
    servers = []

    def serve_one(app, **options):
        port = free_port()
        servers.append(StopableWSGIServer.create(app, port=port, **options))
        return port

    yield serve_one
    for server in servers:
        server.shutdown()


def answer_to(port, request):
    """Send a request as it is; give its answer as it came, without the body.

    No library is in between, since some of them mend what they read.
    """
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request.encode("latin-1"))
        with connection.makefile("rb") as file:
            lines = iter(lambda: file.readline().decode().rstrip(), "")
            status, *headers = lines
    return status, dict(line.split(": ", 1) for line in headers)


def post(path, *headers, version="1.1"):
    lines = [f"POST {path} HTTP/{version}", "Content-Length: 0", *headers]
    return "\r\n".join([*lines, "", ""])


@pytest.mark.parametrize("host", HOSTS)
def test_the_location_leaves_the_server_as_a_path(make_app, serve, host):
    port = serve(make_app({"/start": shop.start}).app)
    request = post("/start?function=nothing", f"Host: {host}")
    status, headers = answer_to(port, request)

    assert status == "HTTP/1.1 202 Accepted"
    sid = shop.sid_of(headers["Location"])
    assert headers["Location"] == f"/jobs/{sid}"


def test_so_it_does_without_a_host_and_in_http_1_0(make_app, serve):
    port = serve(make_app({"/start": shop.start}).app)
    request = post("/start?function=nothing", version="1.0")
    status, headers = answer_to(port, request)

    assert status == "HTTP/1.0 202 Accepted"
    assert headers["Location"].startswith("/jobs/")


def test_so_does_that_of_a_job_that_is_tried_again(make_app, serve):
    app = make_app({"/start": shop.start})
    path = shop.begin(app, "explain")
    drain(app)
    port = serve(app.app)
    request = post(f"{path}/retry", "Host: elsewhere.example")
    status, headers = answer_to(port, request)

    assert status == "HTTP/1.1 202 Accepted"
    assert headers["Location"] == path


def test_it_is_below_the_path_that_the_server_has_for_the_application(
    make_app, serve
):
    app = make_app({"/start": shop.start})
    port = serve(app.app, url_prefix="/shop")
    for path in ("/start", "/shop/start"):  # taken away by a proxy, or not
        request = post(f"{path}?function=nothing", "Host: elsewhere.example")
        _, headers = answer_to(port, request)
        assert headers["Location"].startswith("/shop/jobs/")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", headers["Location"])
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("/à la carte", "/%C3%A0%20la%20carte/jobs/"),
        ("/50%", "/50%25/jobs/"),
        ("/a?b#c", "/a%3Fb%23c/jobs/"),
    ],
)
def test_the_path_of_a_mount_is_quoted(make_app, mount, path):
    app = make_app({"/start": shop.start, "/page": page})
    environ = {"SCRIPT_NAME": mount.encode().decode("latin-1")}
    mounted = TestApp(app.app, extra_environ=environ)
    answer = mounted.post("/start", {"function": "nothing"})

    assert answer.location == f"{path}{answer.json['sid']}"
    element = mounted.get(f"/page?sid={answer.json['sid']}")
    assert f'src="{answer.location}"' in element.text
    assert f'src="{path}static/' in element.text


def page(request):
    element = request.job_progress(request.params["sid"])
    return Response(request.job_scripts() + element)


def test_no_mount_makes_it_lead_to_another_host(make_app):
    """A path that begins with two slashes would name a host."""
    app = make_app({"/start": shop.start, "/page": page})
    environ = {"SCRIPT_NAME": "//elsewhere.example"}
    mounted = TestApp(app.app, extra_environ=environ)
    answer = mounted.post("/start", {"function": "nothing"})

    base = "http://localhost//elsewhere.example/jobs/"
    assert answer.location == base + answer.json["sid"]


@pytest.mark.parametrize(
    "url", ["http://localhost.example/1", "http://localhost:81/1"]
)
def test_a_url_of_another_host_is_left_as_it_is(url):
    """Files of the element may be on one."""
    asked = Request.blank("/")

    assert path_of(asked, "http://localhost/1") == "/1"
    assert path_of(asked, url) == url


def test_the_url_of_a_job_stays_absolute(make_app):
    def mail(request):
        sid = request.schedule(shop.nothing)
        return Response(request.job_url(sid))

    answer = make_app({"/mail": mail}).get("/mail")

    assert answer.text.startswith("http://localhost/jobs/")


def change(location):
    """Give a view that answers with another location."""

    def view(request):
        response = request.accepted(request.schedule(shop.nothing))
        sid = shop.sid_of(response.location)
        assert response.location == f"/jobs/{sid}"
        response.location = location or request.job_url(sid)
        return response

    return view


@pytest.mark.parametrize(
    ("location", "sent"),
    [
        (None, "http://localhost/jobs/"),
        ("/reports/1", "/reports/1"),
        ("https://elsewhere.example/1", "https://elsewhere.example/1"),
        # what is no path of this host is left to WebOb
        ("//elsewhere.example", "http://localhost/%2felsewhere.example"),
        ("1", "http://localhost/1"),
    ],
)
def test_a_view_can_put_another_one_in_its_place(make_app, location, sent):
    answer = make_app({"/view": change(location)}).get("/view")

    assert answer.location.startswith(sent)


def test_a_view_that_redirects_to_the_page_of_a_job_can(make_app):
    def view(request):
        response = request.accepted(request.schedule(shop.nothing))
        response.status = 303
        return response

    answer = make_app({"/view": view}).get("/view", status=303)

    assert answer.location.startswith("/jobs/")
    assert answer.follow().json["sid"] == answer.json["sid"]


def test_an_answer_without_one_has_none(make_app):
    def view(request):
        response = request.accepted(request.schedule(shop.nothing))
        del response.location
        return response

    assert "Location" not in make_app({"/view": view}).get("/view").headers


def compress(handler, registry):
    """Be a tween that compresses all answers."""

    def tween(request):
        response = handler(request)
        response.encode_content()
        return response

    return tween


def copy(handler, registry):
    """Be a tween that answers with a copy."""
    return lambda request: handler(request).copy()


def rebuild(handler, registry):
    """Be a tween that answers with a response of its own."""

    def tween(request):
        response = handler(request)
        return Response(
            body=response.body,
            status=response.status,
            headers=response.headers,
        )

    return tween


@pytest.mark.parametrize(
    ("tween", "begin"),
    [(compress, "/jobs/"), (copy, "/jobs/"), (rebuild, "http://localhost/")],
)
def test_tweens_may_do_with_the_answer_what_they_do(make_app, tween, begin):
    """One that makes another response makes another location as well."""
    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.add_tween(
            f"{__name__}.{tween.__name__}"
        ),
    )
    answer = app.post(
        "/start", {"function": "nothing"}, headers={"Accept-Encoding": "gzip"}
    )
    body = answer.body
    if answer.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)

    assert answer.location.startswith(begin)
    assert b'"pending"' in body
    assert app.get(answer.location).status_int == 200


def test_the_answer_to_head_has_it_too(make_app):
    app = make_app({"/start": shop.start})
    answer = app.head("/start?function=nothing", status=202)

    assert answer.location.startswith("/jobs/")
    assert answer.body == b""


def test_what_refuses_has_no_location(make_app):
    app = make_app({"/start": shop.start})
    path = shop.begin(app, "nothing")
    drain(app)
    transaction.abort()

    assert "Location" not in app.post(f"{path}/retry", status=409).headers
    assert "Location" not in app.delete(path, status=204).headers
