"""The client module, and servers that lead elsewhere or are elsewhere."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import pyramid_zodb_async

STATIC = Path(pyramid_zodb_async.__file__).parent / "static"

LOAD = "import('/static/jobs.js').then((jobs) => { window.jobs = jobs })"

WAIT = """async ([url, options]) => {
  window.told = [];
  const { headers, ...others } = options;
  const given = headers && (() => headers);
  const onConnection = (isConnected) => told.push(isConnected);
  const asked = { keep: true, onConnection, onProgress() {}, ...others };
  return jobs.job(url, { ...asked, headers: given }).then(
    (result) => ({ result }),
    ({ name, type, message }) => ({ name, type, message }),
  );
}"""

RUNNING = {
    "sid": "1",
    "state": "running",
    "done": False,
    "attempt": 1,
    "progress": None,
    "version": 1,
}
ENDED = RUNNING | {
    "state": "succeeded",
    "done": True,
    "result": 42,
    "version": 2**32,
}


class Place:
    """An origin: it serves the module, and else what a test says."""

    def __init__(self):
        self.asked = []
        self.answer = lambda request: (404, {}, {})
        place = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args):
                pass

            def handle_any(self):
                code, headers, body = place.take(self)
                is_raw = isinstance(body, bytes)
                data = body if is_raw else json.dumps(body).encode()
                self.send_response(code)
                kind = {"Content-Type": "application/json"}
                for name, value in {**kind, **headers}.items():
                    self.send_header(name, value)
                if code not in {204, 304}:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if code not in {204, 304}:
                    self.wfile.write(data)

            do_GET = do_DELETE = do_POST = do_OPTIONS = handle_any  # noqa: N815

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever).start()

    def take(self, request):
        """Give the code, the headers and the body of an answer."""
        if request.path.startswith("/static/"):
            name = request.path.removeprefix("/static/")
            kind = {"Content-Type": "text/javascript"}
            return 200, kind, (STATIC / name).read_bytes()
        if request.path in {"/page", "/favicon.ico"}:
            kind = {"Content-Type": "text/html"}
            return 200, kind, b"<!doctype html><title>.</title>"
        self.asked.append(request)
        return self.answer(request)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def make_place():
    places = []

    def make():
        places.append(Place())
        return places[-1]

    yield make
    for place in places:
        place.stop()


@pytest.fixture
def place(make_place):
    return make_place()


def load(page, place):
    page.goto(f"{place.url}/page")
    page.evaluate(LOAD)
    return page


def wait(page, url="/jobs/1", **options):
    return page.evaluate(WAIT, [url, options])


def test_a_login_on_another_origin_is_told_at_once(page, place, make_place):
    other = make_place()
    other.answer = lambda _request: (200, {"Content-Type": "text/html"}, b"")
    place.answer = lambda _request: (302, {"Location": other.url}, b"")
    outcome = wait(load(page, place))
    assert outcome["type"] == "LoginEnded"
    assert outcome["message"] == "Your login has ended."
    assert len(place.asked) <= 2
    assert other.asked == []
    for change in ("cancel", "retry"):
        kind = page.evaluate(
            f"jobs.{change}('/jobs/1').catch(({{ type }}) => type)"
        )
        assert kind == "LoginEnded"
    assert other.asked == []


def test_an_authorization_goes_to_no_other_origin(page, place, make_place):
    other = make_place()
    other.answer = lambda _request: (200, {}, ENDED)
    location = f"{other.url}/jobs/1"
    place.answer = lambda _request: (307, {"Location": location}, b"")
    headers = {"Authorization": "Bearer secret"}
    assert wait(load(page, place), headers=headers)["type"] == "LoginEnded"
    assert other.asked == []


def test_a_redirect_in_the_same_origin_is_followed(page, place):
    place.answer = lambda request: (
        (200, {}, ENDED)
        if request.path.startswith("/api")
        else (307, {"Location": f"/api{request.path}"}, b"")
    )
    assert wait(load(page, place)) == {"result": 42}


@pytest.mark.parametrize("ask", ["job", "cancel", "retry"])
def test_an_unknown_job_is_one_line_in_the_console(page, place, ask):
    lines = []
    page.on("console", lambda message: lines.append(message.text))
    place.answer = lambda request: (
        (200, {}, {"jobs": [{"sid": "1", "status": 404}]})
        if "?" in request.path
        else (404, {}, {"status": 404})
    )
    kind = load(page, place).evaluate(
        f"jobs.{ask}('/jobs/1').catch(({{ type }}) => type)"
    )
    assert kind == "UnknownJob"
    assert len([line for line in lines if "404" in line]) == 1


def test_credentials_go_to_another_origin_that_allows_them(
    page, place, make_place
):
    other = make_place()
    allowed = {
        "Access-Control-Allow-Origin": place.url,
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "authorization, if-none-match, prefer",
        "Access-Control-Allow-Methods": "DELETE, POST",
    }
    tags = []

    def answer(request):
        if request.command == "OPTIONS":
            return 204, allowed, b""
        tags.append(request.headers.get("If-None-Match"))
        document = RUNNING if len(tags) < 2 else ENDED
        return 200, allowed | {"Retry-After": "0", "ETag": '"x"'}, document

    other.answer = answer
    context = page.context
    context.add_cookies([{"name": "a", "value": "1", "url": other.url}])
    load(page, place)
    url = f"{other.url}/jobs/1"
    headers = {"Authorization": "Bearer a"}
    outcome = wait(page, url, credentials="include", headers=headers)
    assert outcome == {"result": 42}
    # no header of the answer may be read there
    assert tags == [None, '"1"']
    sent = [each for each in other.asked if each.command == "GET"]
    assert {each.headers.get("Cookie") for each in sent} == {"a=1"}


def hold_polls(place):
    """Hold all that wait, and give what tells of each, and what ends them."""
    held = threading.Semaphore(0)
    ended = threading.Event()

    def answer(request):
        if request.headers.get("Prefer"):
            held.release()
            ended.wait(60)
            return 200, {}, ENDED
        return 200, {"Retry-After": "0"}, RUNNING

    place.answer = answer
    return held, ended


BEGIN = """() => {
  window.told = [];
  window.outcome = jobs.job("/jobs/1", {
    keep: true,
    onProgress() {},
    onConnection: (isConnected) => told.push(isConnected),
  });
}"""


def test_what_the_browser_thinks_of_the_network_is_no_lost_connection(
    page, place
):
    held, ended = hold_polls(place)
    load(page, place).evaluate(BEGIN)
    assert held.acquire(timeout=60)
    page.evaluate("dispatchEvent(new Event('offline'))")
    assert held.acquire(timeout=60)  # the way to the server is tried
    ended.set()
    assert page.evaluate("outcome") == 42
    assert page.evaluate("told") == []


def test_a_network_that_is_away_is_told(page, place):
    held, ended = hold_polls(place)
    load(page, place).evaluate(BEGIN)
    assert held.acquire(timeout=60)
    page.context.set_offline(True)
    page.wait_for_function("() => told.length")
    page.context.set_offline(False)
    ended.set()
    assert page.evaluate("outcome") == 42
    assert page.evaluate("told") == [False, True]


def test_two_tabs_of_different_tokens_share_nothing(page, place):
    """And two of one token share the end of a job that one forgets."""
    forgotten = threading.Event()
    begun = threading.Event()

    def answer(request):
        whose = request.headers.get("Authorization")
        if request.command == "DELETE":
            forgotten.set()
            return 204, {}, b""
        if whose == "bob":
            forgotten.wait(60)
            return 503, {"Retry-After": "1"}, b""
        if whose == "ann slow" and begun.is_set():
            forgotten.wait(60)
            return 404, {}, {"status": 404}
        if whose == "ann slow":
            begun.set()
            return 200, {"Retry-After": "0"}, RUNNING
        begun.wait(60)
        return 200, {}, ENDED

    place.answer = answer
    begin = """(whose) => {
      window.seen = [];
      window.outcome = null;
      jobs.job("/jobs/1", {
        headers: () => ({ Authorization: whose }),
        onProgress: (document) => seen.push(document),
      }).then((result) => (outcome = result), ({ type }) => (outcome = type));
    }"""
    context = page.context
    bob = load(context.new_page(), place)
    slow = load(context.new_page(), place)
    load(page, place)
    bob.evaluate(begin, "bob")
    slow.evaluate(begin, "ann slow")
    slow.wait_for_function("() => seen.length")
    page.evaluate(begin, "ann")
    page.wait_for_function("() => outcome")
    slow.wait_for_function("() => outcome")
    assert slow.evaluate("outcome") == 42
    assert bob.evaluate("[seen.length, outcome]") == [0, None]
