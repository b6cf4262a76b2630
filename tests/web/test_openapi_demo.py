"""The demonstration answers what the OpenAPI description says.

Schemathesis makes requests from the description, and checks the answers by
it. In between they get sids and tags of jobs in every state.
"""

import copy
import itertools
import re
import time
import zlib

import pytest
import requests
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from served import served_demo
from test_openapi import DESCRIPTION, METHODS

#: How many jobs of a kind there are to forget and to retry.
STOCK = 100

#: How many requests are generated per operation, beside those that
#: Schemathesis derives from the description.
EXAMPLES = 200

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"
STATES = [
    "unknown",
    "pending",
    "running",
    "succeeded",
    "failed",
    "cancelled",
]

#: What the header of a condition says; `None` stands for no header.
TAGS = [None, "*", "current", '"none"', 'W/"0.done", "', "\xff"]

#: By method, the header that makes it depend on what the client knows.
CONDITIONS = {
    "get": "If-None-Match",
    "head": "If-None-Match",
    "delete": "If-Match",
    "post": "If-Match",
}

#: Long enough to be seen, while a step of it ends soon.
SLOW_TEXT = b"word " * 20_000
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"

#: How many slow texts keep the workers busy.
MOST_SLOW = 4


class Stock:
    """Jobs of the demonstration in every state, also if some are used up."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token_of(url)}"
        self._slow = []
        self._ended = {
            "failed": [self._hand_in(PICTURE) for _ in range(STOCK)],
            "succeeded": [self._hand_in(b"to be") for _ in range(STOCK)],
        }
        for state, sids in self._ended.items():
            wait_until(lambda: self._states(sids) == {state})  # noqa: B023

    def _hand_in(self, content):
        files = {"file": ("a.txt", content)}
        answer = self.session.post(f"{self.url}/texts", files=files)
        assert answer.status_code == 202
        return answer.json()["sid"]

    def _look(self, sids):
        params = {"sid": sids}
        answer = self.session.get(f"{self.url}/jobs", params=params)
        return answer.json()["jobs"]

    def _states(self, sids):
        return {job.get("state") for job in self._look(sids)}

    def etag(self, path, params=None):
        """Give the tag of a job, or of several, at this moment."""
        url = self.url + path.removesuffix("/retry")
        answer = self.session.head(url, params=params)
        return answer.headers.get("ETag", '"none"')

    def sid(self, state):
        """Give a job that is in that state at this moment."""
        if state == "unknown":
            return UNKNOWN
        if state == "cancelled":
            return self._cancelled()
        if state in self._ended:
            sids = self._ended[state]
            while self._states(sids[-1:]) != {state}:
                sids.pop()
            return sids[-1]
        return self._unfinished(state)

    def _cancelled(self):
        sid = self._hand_in(SLOW_TEXT)
        answer = self.session.delete(f"{self.url}/jobs/{sid}")
        assert answer.status_code == 202
        return sid

    def _unfinished(self, state):
        """Keep the workers busy, and have jobs that wait for one."""
        found = []

        def look():
            jobs = self._look(self._slow or [UNKNOWN])
            self._slow = [j["sid"] for j in jobs if j.get("done") is False]
            found[:] = [j["sid"] for j in jobs if j.get("state") == state]
            if not found and len(self._slow) < MOST_SLOW:
                self._slow.append(self._hand_in(SLOW_TEXT))
            return found

        wait_until(look)
        return found[0]


def token_of(url):
    """Log in as people do, and read the token that the page has for programs.

    Requests that have it need no CSRF token.
    """
    browser = requests.Session()
    browser.headers["Accept"] = "text/html"
    form = browser.get(f"{url}/login").text
    csrf_token = re.search(r'name="csrf_token" value="(\w+)"', form)[1]
    fields = {"csrf_token": csrf_token, "user": "ada"}
    page = browser.post(f"{url}/login", fields).text
    return re.search(r"Bearer ([\w-]+)", page)[1]


def wait_until(condition):
    """Wait for something that the server does not tell of."""
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)  # paces the loop; the condition decides


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    """Serve the demonstration, and fill it with jobs."""
    settings = {
        "text_analyser__seconds_per_megabyte": 600,
        "zodb_async__max_wait": 0.3,
        "zodb_async__workers": 2,
    }
    folder = tmp_path_factory.mktemp("demo")
    with served_demo(folder, **settings) as url:
        yield Stock(url)


def with_all_methods():
    """Describe the other methods as well, which are all answered alike."""
    description = copy.deepcopy(DESCRIPTION)
    refusal = {"405": {"$ref": "#/components/responses/MethodNotAllowed"}}
    for path in description["paths"].values():
        for method in METHODS - path.keys():
            path[method] = {"responses": refusal}
            if "head" in path and "parameters" not in path:
                path[method]["parameters"] = path["head"]["parameters"][:1]
    return description


def configured():
    """Generate the same requests each time."""
    return SchemathesisConfig.from_dict(
        {
            "seed": 1,
            "generation": {
                "max-examples": EXAMPLES,
                "deterministic": True,
                "database": "none",
            },
            # a condition that does not fit is no flaw of the request
            "checks": {
                "positive_data_acceptance": {
                    "expected-statuses": ["2xx", "3xx", 400, 404, 409, 412]
                }
            },
        }
    )


schema = schemathesis.openapi.from_dict(DESCRIPTION, config=configured())
whole_schema = schemathesis.openapi.from_dict(with_all_methods())


def operation(path, method):
    """Give an operation that is described, or one that is refused."""
    described = DESCRIPTION["paths"][path]
    return (schema if method in described else whole_schema)[path][method]


def only_described_fields(context, response, case):
    """Check that a document has no field beyond those described.

    Clients ignore what they do not know, so the description allows it; but
    what this package sends should be in there.
    """
    if not response.content:
        return
    body = response.json()
    if response.status_code >= 400 and "state" not in body:
        check_fields("Problem", body)
        return
    for document in body.get("jobs", [body]):
        check_fields("Job" if "state" in document else "UnknownJob", document)


def check_fields(name, document):
    described = DESCRIPTION["components"]["schemas"][name]["properties"]
    beyond = document.keys() - described.keys()
    if beyond:
        raise AssertionError(f"{name} has undescribed fields: {beyond}")


def send(stock, case):
    """Send a request, and check its answer; give its status."""
    excluded = []
    if case.method in {"OPTIONS", "PUT", "PATCH", "TRACE"}:
        # this is answered alike whatever the sid is
        excluded.append(negative_data_rejection)
    answer = case.call_and_validate(
        base_url=stock.url,
        session=stock.session,
        additional_checks=[only_described_fields],
        excluded_checks=excluded,
        allow_redirects=False,
        timeout=60,
    )
    return answer.status_code


# -- Requests that are generated ----------------------------------------------


@schema.parametrize()
def test_what_is_generated_is_answered_as_described(case, stock):
    # which of them get a real job depends on what they are, not on chance
    chance = zlib.crc32(repr(case.as_curl_command()).encode())
    choices = itertools.cycle([chance % 7, chance % 11, chance % 13])
    if chance % 3 and case.meta.generation.mode.is_positive:
        make_real(case, stock, choices)
    send(stock, case)


def make_real(case, stock, choices):
    """Have a request ask for real jobs, by what it may know of them."""
    if "sid" in (case.path_parameters or {}):
        state = STATES[next(choices) % len(STATES)]
        case.path_parameters["sid"] = stock.sid(state)
    elif isinstance(case.query.get("sid"), list):
        states = STATES[: next(choices) % len(STATES)]
        real = [stock.sid(state) for state in states]
        case.query["sid"] = [*real, *case.query["sid"]][:100]
    header = CONDITIONS.get(case.method.lower())
    tag = TAGS[next(choices) % len(TAGS)]
    if header and tag:
        set_condition(case, stock, header, tag)
    if case.method == "GET" and next(choices) % 5 == 0:
        case.headers["Prefer"] = "wait=1"


def set_condition(case, stock, header, tag):
    if tag == "current":
        tag = stock.etag(case.formatted_path, case.query)
    case.headers[header] = tag


# -- Requests for jobs in every state -----------------------------------------


#: What of the description can be seen without a race, an application with
#: CSRF tokens, or one that shares jobs.
ANSWERS = {
    ("/jobs/{sid}", "get"): {200, 304, 404},
    ("/jobs/{sid}", "head"): {200, 304, 404},
    ("/jobs/{sid}", "delete"): {202, 204, 404, 412},
    ("/jobs/{sid}", "options"): {204},
    ("/jobs/{sid}/retry", "post"): {202, 404, 409, 412},
    ("/jobs/{sid}/retry", "options"): {204},
}


@pytest.mark.parametrize(
    ("path", "method"),
    [
        (path, method)
        for path in ("/jobs/{sid}", "/jobs/{sid}/retry")
        for method in sorted(METHODS)
    ],
)
def test_a_job_in_any_state_is_answered_as_described(stock, path, method):
    seen = set()
    for state, tag in itertools.product(STATES, TAGS):
        case = operation(path, method).Case(
            path_parameters={"sid": stock.sid(state)}
        )
        if tag:
            header = CONDITIONS.get(method, "If-Match")
            set_condition(case, stock, header, tag)
        seen.add(send(stock, case))

    assert seen == ANSWERS.get((path, method), {405})


@pytest.mark.parametrize("method", sorted(METHODS))
def test_jobs_in_all_states_are_answered_as_described(stock, method):
    alone = [[state] for state in STATES]
    wholes = [STATES, STATES[::-1] * 16, [*STATES, *STATES]]
    wrong = [[], ["unknown"] * 101]
    seen = set()
    for states, tag in itertools.product(alone + wholes + wrong, TAGS):
        known = {state: stock.sid(state) for state in set(states)}
        query = {"sid": [known[state] for state in states]}
        case = operation("/jobs", method).Case(query=query)
        if tag:
            header = CONDITIONS.get(method, "If-Match")
            set_condition(case, stock, header, tag)
        seen.add(send(stock, case))

    expected = {"get": {200, 304, 400}, "head": {200, 304, 400}}
    expected["options"] = {204}
    assert seen == expected.get(method, {405})


@pytest.mark.parametrize("state", STATES)
def test_a_request_that_would_wait_is_answered_as_described(stock, state):
    sid = stock.sid(state)
    cases = [
        schema["/jobs/{sid}"]["get"].Case(path_parameters={"sid": sid}),
        schema["/jobs"]["get"].Case(query={"sid": [sid, UNKNOWN]}),
    ]
    for case, tag in itertools.product(cases, TAGS):
        case.headers = {"Prefer": "respond-async, wait=5"}
        if tag:
            set_condition(case, stock, "If-None-Match", tag)
        send(stock, case)
