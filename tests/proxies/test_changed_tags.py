"""Clients that go by the tags of answers, where a proxy changes these."""

import contextlib
import gzip
import http.client
import json
import shutil
import subprocess

import pytest
from needed import missing
from proxies import CHANGING, UNRELATED

#: A client that says nothing of its own gets what was compressed.
COMPRESSED = {"Accept-Encoding": "gzip, br"}


class Client:
    """Sends requests through a proxy, and keeps nothing."""

    def __init__(self, proxy):
        self._port = proxy.port

    def ask(self, method, path, body=None, **headers):
        """Send a request; give the answer, and the document in it."""
        sent = {name.replace("_", "-"): headers[name] for name in headers}
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        ) as connection:
            connection.request(method, path, body, COMPRESSED | sent)
            answer = connection.getresponse()
            text = answer.read()
        answer.tag = answer.getheader("ETag")
        if answer.getheader("Content-Encoding") == "gzip":
            text = gzip.decompress(text)
        is_read = text and answer.getheader("Content-Encoding") != "br"
        answer.document = json.loads(text) if is_read else None
        return answer


@pytest.fixture(params=CHANGING)
def changing(request, proxy_named):
    """Give a client behind each proxy that changes tags."""
    return Client(proxy_named(request.param))


@pytest.fixture(params=UNRELATED)
def unrelated(request, proxy_named):
    """Give a client behind each proxy that leaves nothing of a tag."""
    return Client(proxy_named(request.param))


@pytest.fixture
def begin(server, gate):
    """Give what starts jobs that wait at their gates, until the test ends."""
    paths = []

    def begin_one(name=""):
        sid = server.schedule("walk", f"{gate}{name}", 2)
        server.wait_for(sid, "running")
        paths.append(f"/jobs/{sid}")
        return paths[-1]

    yield begin_one
    client = Client(server)
    for path in paths:
        client.ask("DELETE", path)


def test_what_is_known_is_not_sent_again(changing, begin, server, gate):
    """However often: a cache takes over the tag of each 304."""
    path = begin()
    tag = changing.ask("GET", path).tag
    for _ in range(5):
        for method in ("GET", "HEAD"):
            answer = changing.ask(method, path, If_None_Match=tag)
            assert (answer.status, answer.document) == (304, None)
        tag = answer.tag
    server.open(f"{gate}1")
    server.wait_for_progress(path, 1)
    answer = changing.ask("GET", path, If_None_Match=tag)
    assert answer.status == 200
    assert answer.tag != tag


def test_a_304_has_a_tag_that_the_cache_knows(changing, begin):
    path = begin()
    tags = [changing.ask("GET", path).tag]
    for _ in range(4):
        answer = changing.ask("GET", path, If_None_Match=tags[-1])
        tags.append(answer.tag)
    # one that adds to the tags of a 304 does so to the first of them
    assert len(set(tags)) <= 2
    assert len(set(tags[1:])) == 1


def test_a_poll_waits_for_what_its_client_does_not_know(
    changing, begin, server, gate
):
    path = begin()
    tag = changing.ask("GET", path).tag
    asked = {"If_None_Match": tag, "Prefer": "wait=1"}
    answer = changing.ask("GET", path, **asked)
    # the server says so only of one that it has held
    assert answer.getheader("Retry-After") == "0"
    assert answer.getheader("Preference-Applied") == "wait=1"
    assert answer.status == 304
    server.open(f"{gate}1", f"{gate}2", f"{gate}end")
    while answer.status == 304 or answer.getheader("Retry-After"):
        asked["If_None_Match"] = answer.tag
        answer = changing.ask("GET", path, **asked)
    assert answer.status == 200
    assert server.look(path.rpartition("/")[2])["state"] == "succeeded"


def test_several_jobs_are_known_by_one_tag(changing, begin):
    paths = [begin("a"), begin("b")]
    sids = [path.rpartition("/")[2] for path in paths]
    path = f"/jobs?sid={sids[0]}&sid=unknown&sid={sids[1]}"
    tag = changing.ask("GET", path).tag
    assert "_-_" in tag
    assert changing.ask("GET", path, If_None_Match=tag).status == 304
    held = changing.ask("GET", path, If_None_Match=tag, Prefer="wait=1")
    assert held.getheader("Retry-After") == "0"
    changing.ask("DELETE", paths[0])
    answer = changing.ask("GET", path, If_None_Match=tag)
    assert answer.status == 200


def test_so_they_are_where_the_last_is_unknown(changing, begin):
    sid = begin().rpartition("/")[2]
    path = f"/jobs?sid={sid}&sid=unknown"
    tag = changing.ask("GET", path).tag
    assert "_-" in tag
    assert changing.ask("GET", path, If_None_Match=tag).status == 304


def test_a_job_is_cancelled_and_forgotten_by_its_tag(changing, begin):
    path = begin()
    running = changing.ask("GET", path).tag
    cancelled = changing.ask("DELETE", path, If_Match=running)
    assert cancelled.status == 202
    late = changing.ask("DELETE", path, If_Match=running)
    assert late.status == 412
    ended = changing.ask("GET", path, If_None_Match=running)
    assert ended.status == 200
    assert changing.ask("DELETE", path, If_Match=ended.tag).status == 204
    assert changing.ask("GET", path).status == 404


def test_a_job_is_tried_again_by_its_tag_once(changing, server, gate):
    sid = server.schedule("fail", gate)
    server.wait_for(sid, "failed")
    path = f"/jobs/{sid}"
    tag = changing.ask("GET", path).tag
    server.open(gate)
    first = changing.ask("POST", f"{path}/retry", If_Match=tag)
    assert first.status == 202
    assert first.getheader("Location") == path
    second = changing.ask("POST", f"{path}/retry", If_Match=tag)
    assert second.status in {409, 412}


def test_the_place_of_a_job_is_right_behind_it(changing, server):
    """Each of these puts its own server's host into the request."""
    answer = changing.ask("POST", "/start/add", "[1]")
    assert answer.status == 202
    assert answer.getheader("Location").startswith("/jobs/")
    assert changing.ask("GET", answer.getheader("Location")).status == 200


def test_where_no_tag_is_left_all_is_sent_and_nothing_waits(unrelated, begin):
    path = begin()
    first = unrelated.ask("GET", path)
    tag = first.tag or '"none"'
    answer = unrelated.ask("GET", path, If_None_Match=tag, Prefer="wait=10")
    assert answer.status == 200
    assert answer.document == first.document
    assert answer.getheader("Retry-After") != "0"
    refused = unrelated.ask("DELETE", path, If_Match=tag)
    assert refused.status == 412
    assert refused.document["state"] == "running"


def test_there_the_version_of_the_document_does(unrelated, begin):
    path = begin()

    def tag():
        return f'"{unrelated.ask("GET", path).document["version"]}"'

    asked = {"If_None_Match": tag(), "Prefer": "wait=1"}
    held = unrelated.ask("GET", path, **asked)
    assert (held.status, held.getheader("Retry-After")) == (304, "0")
    assert unrelated.ask("DELETE", path, If_Match=tag()).status == 202
    assert unrelated.ask("DELETE", path, If_Match=tag()).status == 204


@pytest.mark.parametrize("name", ["apache-cache", "nginx-cache"])
def test_no_cache_gives_an_answer_to_somebody_else(
    proxy_named, begin, server, gate, name
):
    client = Client(proxy_named(name))
    path = begin()
    first = client.ask("GET", path)
    server.open(f"{gate}1")
    server.wait_for_progress(path, 1)
    second = client.ask("GET", path)
    assert second.tag != first.tag
    # it is the server that says so, of the tag and of the missing job
    assert client.ask("GET", path, If_None_Match=second.tag).status == 304
    client.ask("DELETE", path)
    client.ask("DELETE", path)
    assert client.ask("GET", path).status == 404


def test_a_cache_that_keeps_the_tag_from_the_server_lets_clients_wait(
    proxy_named, server, begin, gate
):
    """As nginx does where it may cache: then the whole document is sent."""
    client = Client(proxy_named("nginx-cache-alone"))
    path = begin()
    tag = client.ask("GET", path).tag
    asked = {"If_None_Match": tag, "Prefer": "wait=1"}
    held = client.ask("GET", path, **asked)
    assert (held.status, held.tag) == (200, tag)
    assert held.getheader("Retry-After") == "0"
    server.open(f"{gate}1", f"{gate}2", f"{gate}end")
    while client.ask("GET", path, **asked).document["state"] != "succeeded":
        pass  # each is held, or tells of a change
    # it is asked of the server whether a change fits
    assert client.ask("DELETE", path, If_Match=tag).status == 412


def test_curl_compares_by_the_tag_that_it_has_saved(changing, begin, tmp_path):
    if shutil.which("curl") is None:
        missing("there is no curl: apt-get install curl")
    path = begin()
    file = tmp_path / "tag"
    command = ["curl", "-sS", "--compressed", "-w", "%{http_code}", "-o"]
    command += [tmp_path / "body", "--etag-compare", file, "--etag-save", file]
    url = f"http://127.0.0.1:{changing._port}{path}"
    said = [
        subprocess.run(
            [*command, url], capture_output=True, check=True, timeout=60
        ).stdout
        for _ in range(3)
    ]
    assert said == [b"200", b"304", b"304"]


@pytest.mark.parametrize("name", ["nginx-http2", "apache-http2"])
def test_http_2_changes_nothing(proxy_named, server, begin, name, tmp_path):
    if shutil.which("curl") is None:
        missing("there is no curl: apt-get install curl")
    proxy = proxy_named(name)
    path = begin()

    def ask(*arguments):
        command = ["curl", "-sS", "--http2-prior-knowledge", "-D", "-"]
        command += ["-H", "Accept-Encoding: gzip", "-o", tmp_path / "body"]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            check=True,
            timeout=60,
            text=True,
        )
        status, *lines = done.stdout.splitlines()
        headers = dict(line.split(": ", 1) for line in lines if line)
        return status.strip(), headers

    status, headers = ask(f"{proxy.url}{path}")
    assert status == "HTTP/2 200"
    tag = headers["etag"]
    assert tag in {'W/"1"', '"1-gzip"'}
    known = ["-H", f"If-None-Match: {tag}", "-H", "Prefer: wait=1"]
    status, headers = ask(*known, f"{proxy.url}{path}")
    assert status == "HTTP/2 304"
    assert headers["retry-after"] == "0"
    status, headers = ask("-d", "[1]", f"{proxy.url}/start/add")
    assert status == "HTTP/2 202"
    assert headers["location"].startswith("/jobs/")
