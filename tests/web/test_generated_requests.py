"""Thousands of requests, most of them rubbish, are answered as promised."""

import json
import random
import string
import time
import urllib.parse

import pytest
import shop
from described import conforms
from pyramid.response import Response
from webob import Request

from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("zodb", "memory")

#: Together with the two schedulers these make four thousand.
SEEDS, REQUESTS = 4, 500

#: How many jobs of a kind there are to be changed.
STOCK = 60

#: An answer that takes longer, in seconds, has hung; ``max_wait`` is shorter.
DEADLINE = 9

METHODS = {
    "several": {"GET", "HEAD", "OPTIONS"},
    "one": {"GET", "HEAD", "DELETE", "OPTIONS"},
    "retry": {"POST", "OPTIONS"},
}
RARE_METHODS = ["PUT", "PATCH", "TRACE", "CONNECT", "BREW", "get", "QUERY"]

PATHS = {
    "several": "/jobs",
    "one": "/jobs/{sid}",
    "retry": "/jobs/{sid}/retry",
}


def start(request):
    """Schedule many jobs."""
    function = getattr(shop, request.params["function"])
    arguments = request.params.getall("argument")
    count = int(request.params["count"])
    sids = [request.schedule(function, *arguments) for _ in range(count)]
    return Response(json=sids)


class Stock:
    """Jobs in every state, also when some have been used up."""

    def __init__(self, app):
        self.app = app
        self.sids = {
            "succeeded": self._start("give", STOCK, argument="result"),
            "failed": self._start("explain", STOCK),
        }
        for sids in self.sids.values():
            wait_for(app, sids[-1])
        # the worker has one at a time
        self.sids["unfinished"] = self._start("hold", 3)
        self.sids["cancelled"] = self._start("hold", 3)
        for sid in self.sids["cancelled"]:
            app.delete(f"/jobs/{sid}", status=202)

    def _start(self, function, count, **arguments):
        params = {"function": function, "count": count, **arguments}
        return self.app.post("/start", params).json

    def draw(self, chance):
        """Give a job in some state."""
        return chance.choice(self.sids[chance.choice(sorted(self.sids))])

    def knows(self, sid):
        return any(sid in sids for sids in self.sids.values())

    def note(self, sid, status):
        """Take note that a job was cancelled, forgotten or retried."""
        state = next(state for state in self.sids if sid in self.sids[state])
        self.sids[state].remove(sid)
        if state == "unfinished":
            assert status == 202
            self.sids["cancelled"].append(sid)
            self.sids[state] += self._start("hold", 1)
        elif state == "cancelled":
            assert status == 204
            (cancelled,) = self._start("hold", 1)
            self.app.delete(f"/jobs/{cancelled}", status=202)
            self.sids[state].append(cancelled)
        elif status == 202:
            assert state == "failed"
            self.sids["unfinished"].append(sid)

    def etag(self, sid):
        return self.app.get(f"/jobs/{sid}", status="*").headers.get("ETag")


@pytest.fixture
def stock(make_app):
    """Give the jobs of an application with one worker, which is busy."""
    settings = {"zodb_async__workers": 1, "zodb_async__max_wait": 0.02}
    shop.over.clear()
    stock = Stock(make_app({"/start": start}, **settings))
    yield stock
    shop.over.set()


# -- What is sent -------------------------------------------------------------


URL_SAFE = string.ascii_letters + string.digits + "-_"


def letters(chance, alphabet, most):
    return "".join(chance.choices(alphabet, k=chance.randint(1, most)))


def generate_sid(chance, stock):
    """Make the bytes of a sid that is real, almost real, or rubbish."""
    real = stock.draw(chance)
    place = chance.randrange(len(real))
    other = chance.choice(URL_SAFE.replace(real[place], ""))
    rubbish = chance.randbytes(chance.randint(1, 40)).replace(b"/", b"-")
    kinds = [
        *[real] * 8,
        real[:place] + other + real[place + 1 :],
        real[:place] + real[place + 1 :] or "a",
        real + other,
        real.swapcase() + "-",
        f"{chance.randrange(16**5):05x}-{real[-22:]}",
        f"00000-{real[-22:]}",
        f"fffff-{letters(chance, URL_SAFE, 22)}",
        letters(chance, URL_SAFE, 60),
        letters(chance, URL_SAFE, 5000),
        letters(chance, string.punctuation.replace("/", "") + " ", 30),
        letters(chance, "äß€😀\u0000\u2028\ud7ff\r\n", 10),
        letters(chance, "٠١٢٣٤٥٦٧٨٩-", 28),
        letters(chance, ".", 3),
        urllib.parse.quote(rubbish),
        rubbish,
        real.encode("utf-16").replace(b"/", b"-"),
        f"{real}\ufeff",
        "static",
        "retry",
    ]
    sid = chance.choice(kinds)
    return sid if isinstance(sid, bytes) else sid.encode()


def generate_tag(chance, stock, sid):
    """Make what a condition might say."""
    numbers = [str(chance.randrange(10**n)) for n in (1, 3, 9, 80)]
    current = stock.etag(sid) if stock.knows(sid) else '"none"'
    kinds = [
        *[current] * 24,
        f"W/{current}",
        stock.etag(stock.draw(chance)),
        "*",
        " * ",
        '"0"',
        '"4294967296"',
        '"0.done"',
        '"0.0.0"',
        '"' + ".".join(chance.choices(numbers, k=chance.randint(1, 5))) + '"',
        '"' + "_".join(["0.done", "-", "1.0.1"] * chance.randint(1, 50)) + '"',
        '"' + "_".join(["4294967296", "-", "1"] * chance.randint(1, 50)) + '"',
        '"' + "_".join(chance.choices(numbers, k=chance.randint(1, 5))) + '"',
        '"-1.-1.-1"',
        '"-1"',
        '"1.²"',
        '"²"',
        '"' + "9" * 5000 + '"',
        '"' + "9" * 5000 + '.done"',
        '"a", "b", "0.done", *',
        '"unbalanced',
        "",
        rubbish(chance),
    ]
    return chance.choice(kinds)


def rubbish(chance):
    return chance.randbytes(chance.randint(0, 60)).decode("latin-1")


def generate_headers(chance, stock, sid):
    """Make headers that fit, and headers that nobody would send."""
    headers = {}
    choices = {
        "If-Match": [generate_tag(chance, stock, sid)],
        "If-None-Match": [generate_tag(chance, stock, sid)],
        "Prefer": [
            "wait=1",
            'WAIT="9"; foo=bar',
            "respond-async, wait=100",
            f"wait={'9' * 400}",
            "wait=-1, wait=1.5, wait=, wait",
            "wait=²",
            ',,,;="',
        ],
        "Range": ["bytes=0-1", "bytes=-5, 7-", "lines=1"],
        "Accept": ["*/*", "text/html", "application/json;q=0", ";;;", ","],
        "Content-Type": [
            "application/json",
            "application/x-www-form-urlencoded; charset=klingon",
            "multipart/form-data",
        ],
        "If-Modified-Since": ["Tue, 24 Nov 2026 04:12:27 GMT", "yesterday"],
        "Cookie": ["a=b", "=;=", 'a="\\'],
        "Authorization": ["Basic !", "Bearer", "Basic bm8="],
    }
    for name, values in choices.items():
        if chance.random() < 0.3:
            headers[name] = chance.choice([*values, *values, rubbish(chance)])
    return headers


def generate_query(chance, stock):
    """Make a query for any number of jobs; give the sids as well."""
    count = chance.choice([0, 1, 1, 2, 3, 10, 99, 100, 101, 1000])
    drawn = [generate_sid(chance, stock)[:60] for _ in range(min(count, 9))]
    sids = [chance.choice(drawn) for _ in range(count)]
    pairs = [f"sid={urllib.parse.quote_from_bytes(sid)}" for sid in sids]
    if chance.random() < 0.2:
        pairs += ["SID=a", "&", "=", "b=%zz"]
    return "&".join(pairs), sids


def generate(chance, stock):
    """Make a request; give what it is for, and the sids that it names."""
    kind = chance.choice(["several", "one", "one", "retry"])
    methods = sorted(METHODS[kind]) * 4
    method = chance.choice([*methods, "DELETE", "POST", *RARE_METHODS])
    query = ""
    sids = [generate_sid(chance, stock)]
    path = b"/jobs/" + sids[0]
    if kind == "several":
        path = b"/jobs"
        query, sids = generate_query(chance, stock)
    elif kind == "retry":
        path += b"/retry"
    named = sids[0].decode("latin-1") if sids else ""
    request = Request.blank("/", method=method)
    request.environ["PATH_INFO"] = path.decode("latin-1")
    request.environ["QUERY_STRING"] = query
    for name, value in generate_headers(chance, stock, named).items():
        key = name.upper().replace("-", "_")
        is_special = key == "CONTENT_TYPE"
        request.environ[key if is_special else f"HTTP_{key}"] = value
    if method in {"DELETE", "POST", "PUT", "PATCH"}:
        request.body = chance.choice([b"", b"", b"{}", chance.randbytes(500)])
    return request, kind, sids


# -- What is answered ---------------------------------------------------------


def text_of(sid):
    """Decode a sid, to nothing if it is no text."""
    try:
        return sid.decode()
    except UnicodeDecodeError:
        return None


def is_text(sid):
    return text_of(sid) is not None


def expected(request, kind, sids, stock):
    """Tell which statuses a request may be answered with."""
    method = request.method
    if kind != "several" and not is_text(sids[0]):
        return {404}
    if method not in METHODS[kind]:
        return {405}
    if method == "OPTIONS":
        return {204}
    if kind == "several":
        is_few = 1 <= len(sids) <= 100
        # what is no text cannot be looked for
        return {200, 304} if is_few and all(map(is_text, sids)) else {400}
    return expected_for_one(method, stock.knows(text_of(sids[0])))


def expected_for_one(method, is_known):
    if not is_known:
        return {404}
    return {
        "GET": {200, 304},
        "HEAD": {200, 304},
        "DELETE": {202, 204, 412},
        "POST": {202, 409, 412},
    }[method]


def check_problem(answer):
    problem = json.loads(answer.body)

    assert problem["status"] == answer.status_int
    assert f"{problem['status']} {problem['title']}" == answer.status
    assert problem["detail"].endswith(".")


def check_document(document, sid):
    """Check what is told of a job, beside that it is described."""
    assert document["sid"] == sid
    assert document["progress"] is None
    assert document["attempt"] in {0, 1, 2, 3}
    if document["state"] == "succeeded":
        assert document["result"] == "result"


def check_documents(answer, kind, sids):
    """Check an answer with documents; tell whether all jobs have ended."""
    body = json.loads(answer.body)
    documents = body["jobs"] if kind == "several" else [body]

    # each once, at its first place
    named = dict.fromkeys(sids)
    for document, sid in zip(documents, named, strict=True):
        if document.get("status") == 404:
            assert document["sid"] == sid.decode(errors="replace")
        else:
            check_document(document, text_of(sid))
    return all(document.get("done", True) for document in documents)


def check_description(request, kind, sids, answer):
    """Check that the answer is as described."""
    if kind == "several" or is_text(sids[0]):
        conforms(answer, PATHS[kind], request.method)
    else:  # it is told that there is no such job, whatever was wanted
        asked = "HEAD" if request.method == "HEAD" else "GET"
        conforms(answer, PATHS["one"], asked)


def check(request, kind, sids, answer):
    """Check what every answer must have, by its status."""
    status = answer.status_int
    check_description(request, kind, sids, answer)
    if answer.content_type == "application/problem+json" and answer.body:
        check_problem(answer)
    elif answer.body:
        is_done = check_documents(answer, kind, sids)
        assert ("Retry-After" in answer.headers) is not is_done
    if "Vary" in answer.headers:
        assert answer.headers["Vary"] == "Prefer"
    if "Allow" in answer.headers:
        allowed = answer.headers["Allow"].split(", ")
        assert set(allowed) == METHODS[kind]
    if kind == "retry" and status == 202:
        location = answer.headers["Location"]
        assert location == f"/jobs/{text_of(sids[0])}"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_is_asked_is_answered_as_promised(stock, seed):
    chance = random.Random(seed)
    unknown, statuses = set(), set()
    for number in range(REQUESTS):
        request, kind, sids = generate(chance, stock)
        may_be = expected(request, kind, sids, stock)
        begin = time.monotonic()
        answer = request.get_response(stock.app.app)
        seconds = time.monotonic() - begin
        try:
            assert answer.status_int in may_be
            assert seconds < DEADLINE
            check(request, kind, sids, answer)
        except (AssertionError, ValueError) as error:
            error.add_note(f"request {number}: {request}\n\n{answer}")
            raise
        statuses.add(answer.status_int)
        if answer.status_int == 404:
            body = "" if request.method == "HEAD" else answer.body
            unknown.add((body, tuple(answer.headerlist)))
        is_change = request.method in {"DELETE", "POST"}
        if is_change and answer.status_int in {202, 204}:
            stock.note(text_of(sids[0]), answer.status_int)

    assert statuses >= {200, 304, 400, 404, 405}
    assert statuses & {202, 204}, "nothing was changed"
    assert statuses & {409, 412}, "nothing was refused"
    # one as GET has it, and one as HEAD has it
    assert len(unknown) == 2
    assert len({headers for _, headers in unknown}) == 1
