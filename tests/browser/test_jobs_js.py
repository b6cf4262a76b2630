"""The client module, in a page whose server says what the test wants."""

import json
import time
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path

import pytest

import pyramid_zodb_async

STATIC = Path(pyramid_zodb_async.__file__).parent / "static"
MODULE = STATIC / "jobs.js"
REQUESTS = STATIC / "job-requests.js"

PAGE = """
<!DOCTYPE html>
<script type="module">
  import { job, JobError } from "/jobs.js";

  const send = window.fetch;
  window.asked = [];
  window.unanswered = 0;
  window.fetch = (...args) => {
    asked.push(performance.now());
    window.sent = args[0];
    unanswered += 1;
    const answer = send(...args);
    answer.then((response) => response.clone().text()).catch(() => null)
      .then(otherTasks).then(otherTasks)
      .then(() => { unanswered -= 1; });
    return answer;
  };
  // not by a timer, for the page's clock may stand still
  const otherTasks = () => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = resolve;
    port2.postMessage(null);
  });
  window.seen = [];
  window.errors = [];
  window.addEventListener("error", (event) => {
    errors.push(event.message);
    event.preventDefault();
  });
  window.start = (options, url = "/jobs/1") => {
    const onProgress = (status) => { seen.push(status); };
    window.outcome = null;
    const waiting = job(url, { onProgress, keep: true, ...options }).then(
      (result) => ({ result }),
      (error) => ({
        isJobError: error instanceof JobError,
        name: error.name, message: error.message,
        type: error.type, document: error.document,
      }),
    );
    return waiting.then((outcome) => { window.outcome = outcome; });
  };
</script>
"""


def status(state="running", done=None, **more):
    """Make the status document of a job *done* units into its work."""
    document = {
        "sid": "1",
        "state": state,
        "done": state not in {"pending", "running"},
        "attempt": 1,
        "progress": None,
    }
    if done is not None:
        document["progress"] = {"done": done, "total": 9, "message": None}
    return document | more


SUCCEEDED = status("succeeded", result=42)


def answer(body, code=200, **headers):
    """Make a function that answers with *body*."""
    headers = {name.replace("_", "-"): text for name, text in headers.items()}
    if not isinstance(body, str):
        body = json.dumps(body)
    return lambda route: route.fulfill(status=code, headers=headers, body=body)


#: The job is one of those that are asked for, and is not there.
GONE = answer({"jobs": [{"sid": "1", "status": 404}]})


def lose(route):
    """Break the connection without an answer."""
    route.abort("connectionreset")


class Client:
    """The page that waits for a job."""

    def __init__(self, page):
        self.page = page
        self.requests = []
        self._answers = [answer(SUCCEEDED)]
        page.route("http://app.test/", answer(PAGE, Content_Type="text/html"))
        script = answer(MODULE.read_text(), Content_Type="text/javascript")
        page.route("http://app.test/jobs.js", script)
        requests = answer(REQUESTS.read_text(), Content_Type="text/javascript")
        page.route("http://app.test/job-requests.js", requests)
        page.route("http://app.test/jobs/1", self._answer)
        page.route("http://app.test/jobs?sid=1", self._answer)

    def open(self):
        """Load the page, its script included."""
        self.page.goto("http://app.test/")
        self.page.wait_for_function("'start' in window")

    def answers(self, *answers):
        """Give these answers one by one, and the last one for ever."""
        self._answers = list(answers)

    def _answer(self, route):
        self.requests.append(route.request)
        more = len(self._answers) > 1
        (self._answers.pop(0) if more else self._answers[0])(route)

    def wait(self, options="{}"):
        """Wait for the job, and give what came of it."""
        self.page.evaluate(f"start({options})")
        return self["outcome"]

    def __getitem__(self, name):
        return self.page.evaluate(name)

    @property
    def gaps(self):
        """The milliseconds between one request and the next."""
        asked = self["asked"]
        return [after - before for before, after in pairwise(asked)]


@pytest.fixture
def client(page):
    client = Client(page)
    client.open()
    return client


@pytest.fixture
def timeless(page):
    """Make a client whose clock goes on only when the test says so."""
    client = Client(page)
    page.clock.install(time=0)
    client.open()
    page.clock.pause_at(1000)
    return client


def test_the_result_is_what_the_job_returned(client):
    assert client.wait() == {"result": 42}
    assert [document["state"] for document in client["seen"]] == ["succeeded"]
    assert client.requests[0].headers["accept"] == "application/json"
    assert client["[sent.cache, sent.credentials]"] == [
        "no-store",
        "same-origin",
    ]


def test_no_listener_is_needed(client):
    assert client.wait("{ onProgress: undefined }") == {"result": 42}


def test_it_asks_again_at_the_pace_that_the_server_names(client):
    running = answer(status(), Retry_After="1")
    client.answers(running, running, answer(SUCCEEDED))
    client.wait()
    assert len(client.gaps) == 2
    assert min(client.gaps) > 990
    assert min(client.gaps) < 1700  # the machine may be slow once


def test_it_never_asks_twice_within_200_milliseconds(client):
    past = "Thu, 01 Jan 1970 00:00:00 GMT"
    client.answers(
        answer(status(), Retry_After="0"),
        answer(status(), Retry_After=past),
        answer(SUCCEEDED),
    )
    client.wait()
    assert min(client.gaps) > 199  # its clock and ours differ a little
    assert min(client.gaps) < 700


def test_it_would_wait_and_hear_only_of_what_has_changed(client):
    client.answers(
        answer(status("running", 1, version=2), Retry_After="0"),
        answer("", 304, ETag='"2"', Retry_After="0"),
        answer(status("running", 2, version=3), Retry_After="0"),
        answer(SUCCEEDED | {"version": 2**32}),
    )
    assert client.wait() == {"result": 42}
    sent = [request.headers for request in client.requests]

    # the listener is to be told at once how the job stands
    assert [headers.get("prefer") for headers in sent] == [
        None,
        "wait=10",
        "wait=10",
        "wait=10",
    ]
    assert [headers.get("if-none-match") for headers in sent] == [
        None,
        '"2"',
        '"2"',
        '"3"',
    ]
    assert [job["progress"] for job in client["seen"]] == [
        {"done": 1, "total": 9, "message": None},
        {"done": 2, "total": 9, "message": None},
        None,
    ]
    assert min(client.gaps) > 199


def test_a_server_that_tells_no_versions_is_told_its_tags(client):
    """One of the former build, while servers are being replaced."""
    client.answers(
        answer(status("running", 1), ETag='"0.1.1"', Retry_After="0"),
        answer("", 304, ETag='"0.1.1"', Retry_After="0"),
        answer(SUCCEEDED, ETag='"0.done"'),
    )
    assert client.wait() == {"result": 42}
    sent = [request.headers for request in client.requests]

    assert [headers.get("if-none-match") for headers in sent] == [
        None,
        '"0.1.1"',
        '"0.1.1"',
    ]


def test_a_problem_names_no_version(client):
    client.answers(
        answer({"title": "Service Unavailable"}, 503, ETag='"problem"'),
        answer(SUCCEEDED),
    )
    assert client.wait() == {"result": 42}

    assert "if-none-match" not in client.requests[1].headers


def test_a_poll_that_brings_no_news_is_not_reported(client):
    client.answers(
        answer(status("pending", attempt=0)),
        answer(status(done=1)),
        answer(status(done=1)),
        answer(SUCCEEDED),
    )
    client.wait()
    assert [
        (document["state"], document["progress"] and 1)
        for document in client["seen"]
    ] == [("pending", None), ("running", 1), ("succeeded", None)]


def test_no_older_document_follows_a_newer_one(timeless):
    """Another process may know less, or tell of a run that is over."""
    timeless.answers(
        answer(status("pending", version=0)),
        answer(status(done=5, version=3)),
        answer(status(done=4, version=2)),
        answer(status("pending", version=0)),
        answer(status(done=9, version=3)),
        answer(status("pending", version=4)),
        answer(status(done=1, version=2**33 + 2, attempt=2)),
        answer(status("failed", version=2**32)),
        answer(SUCCEEDED | {"version": 2**33 + 2**32}),
    )
    timeless["void start()"]
    run_until_settled(timeless)

    assert [document["version"] for document in timeless["seen"]] == [
        *(0, 3, 4, 2**33 + 2),
        2**33 + 2**32,
    ]
    assert timeless["outcome"] == {"result": 42}


def test_without_versions_no_earlier_state_follows_in_an_attempt(timeless):
    timeless.answers(
        answer(status("pending")),
        answer(status(done=5)),
        answer(status("pending")),
        answer(status(done=6)),
        answer(status(done=1, attempt=2)),
        answer(status(done=7)),
        answer(status(done=2, attempt=2)),
        answer(SUCCEEDED),
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert [
        (document["attempt"], (document["progress"] or {}).get("done"))
        for document in timeless["seen"][:-1]
    ] == [(1, None), (1, 5), (1, 6), (2, 1), (2, 2)]


def test_a_second_phase_may_begin_at_zero_again(timeless):
    timeless.answers(
        answer(status(done=9)), answer(status(done=0)), answer(SUCCEEDED)
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert [
        document["progress"]["done"] for document in timeless["seen"][:-1]
    ] == [9, 0]


def test_a_new_message_at_the_same_place_is_reported(client):
    def working(message):
        progress = {"done": 1, "total": 9, "message": message}
        return answer(status(progress=progress))

    client.answers(working("one"), working("two"), answer(SUCCEEDED))
    client.wait()
    assert [
        document["progress"]["message"] for document in client["seen"][:2]
    ] == ["one", "two"]


def test_a_lost_answer_is_asked_for_again(client):
    client.answers(lose, answer(SUCCEEDED))
    assert client.wait() == {"result": 42}
    assert client.gaps[0] >= 990


def test_an_answer_that_is_not_a_status_document_is_asked_for_again(timeless):
    timeless.answers(
        answer("<html>restarting</html>"),
        answer("null"),
        answer("{}"),
        answer(SUCCEEDED),
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless["outcome"] == {"result": 42}


def test_an_overloaded_server_is_left_alone_as_long_as_it_asks(timeless):
    timeless.answers(
        answer("", 503, Retry_After="20"), answer("", 502), answer(SUCCEEDED)
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless["outcome"] == {"result": 42}
    first, second = timeless.gaps
    assert 20_000 <= first <= 26_000
    assert 2_000 <= second <= 3_500


@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_retry_after_may_be_a_date_of_the_clock_of_the_server(timeless, ahead):
    now = timeless["Date.now()"] / 1000 + ahead
    headers = {
        "Date": formatdate(now, usegmt=True),
        "Retry_After": formatdate(now + 15, usegmt=True),
    }
    timeless.answers(answer("", 503, **headers), answer(SUCCEEDED))
    timeless["void start()"]
    run_until_settled(timeless)
    assert 14_000 <= timeless.gaps[0] <= 19_000


def test_in_a_page_that_is_seen_nobody_is_left_alone_for_long(timeless):
    """What it says of the connection is to be true."""
    timeless.answers(*[lose, answer("", 502)] * 9, answer(SUCCEEDED))
    timeless["void start()"]
    run_until_settled(timeless, step=100)
    assert timeless["outcome"] == {"result": 42}
    gaps = timeless.gaps
    assert 1_000 <= gaps[0] <= 1_300
    assert all(2_000 <= gap <= 2_500 for gap in gaps[1:])
    assert len({round(gap) for gap in gaps}) > 3  # not all at once


def test_one_that_is_seen_gives_up_after_five_minutes_too(timeless):
    timeless.answers(lose)
    timeless["void start()"]
    run_until_settled(timeless, step=500)
    assert timeless["outcome"]["type"] == "Unreachable"
    assert 300_000 <= sum(timeless.gaps) <= 420_000


@pytest.mark.parametrize("code", [429, 500])
def test_a_server_in_trouble_is_left_alone_also_by_one_that_is_seen(
    timeless, code
):
    timeless.answers(*[answer("", code)] * 6, answer(SUCCEEDED))
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless["outcome"] == {"result": 42}
    assert timeless.gaps[-1] >= 30_000


def test_after_an_outage_it_does_not_wait_for_news_at_first(timeless):
    """Else it would hear ten seconds later that the server is back."""
    known = answer("", 304, ETag='"2"', Retry_After="0")
    timeless.answers(
        answer(status("pending", version=2), Retry_After="0"),
        *(known, lose, lose, known, known),
        answer(SUCCEEDED | {"version": 2**32}),
    )
    timeless["void start()"]
    run_until_settled(timeless)
    sent = [request.headers for request in timeless.requests]

    assert [headers.get("prefer") for headers in sent] == [
        *(None, "wait=10", "wait=10", None, None),
        *("wait=10", "wait=10"),
    ]
    assert {headers.get("if-none-match") for headers in sent[1:]} == {'"2"'}
    assert timeless.gaps[4] < 2_000


def test_back_off_grows_to_half_a_minute_and_ends_after_five(timeless):
    hide(timeless)
    timeless.answers(lose)
    timeless["void start()"]
    run_until_settled(timeless, step=2_000)
    outcome = timeless["outcome"]
    assert outcome["isJobError"]
    assert outcome["type"] == "Unreachable"
    assert outcome["message"] == "The server does not answer."
    gaps = timeless.gaps
    # 1, 2, 4 and 8 seconds are 10 in a page that is hidden; the clock goes
    # on by 2 at a time
    assert all(10_000 <= gap <= 12_000 + 2_000 for gap in gaps[:4])
    assert 16_000 <= gaps[4] <= 19_200 + 2_000
    assert all(30_000 <= gap <= 36_000 + 2_000 for gap in gaps[6:])
    assert 300_000 <= sum(gaps) <= 420_000


def test_a_good_answer_ends_the_back_off(timeless):
    timeless.answers(
        lose, lose, lose, answer(status()), lose, answer(SUCCEEDED)
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless.gaps[-1] < 2_000


def test_a_fresh_job_may_appear_a_moment_later(timeless):
    gone = answer("{}", 404)
    timeless.answers(gone, GONE, answer({"jobs": [SUCCEEDED]}))
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless["outcome"] == {"result": 42}
    assert sum(timeless.gaps) <= 1_000


def test_an_unknown_job_is_given_up_after_a_second(client):
    client.answers(answer("{}", 404), GONE)
    outcome = client.wait()
    assert outcome["isJobError"]
    assert outcome["type"] == "UnknownJob"
    assert outcome["document"] is None
    assert 2 <= len(client.requests) <= 6
    # the second may end during the last question
    assert sum(client.gaps) >= 500


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (401, "LoginEnded", "Your login has ended."),
        (403, "AccessDenied", "no access"),
        (410, "UnknownJob", "not known"),
        (400, "HTTPError", "The server answered 400. Odd sid"),
    ],
)
def test_a_refusal_is_final(client, code, kind, words):
    client.answers(answer({"title": "Bad", "detail": "Odd sid"}, code))
    outcome = client.wait()
    assert outcome["isJobError"]
    assert outcome["type"] == kind
    assert words in outcome["message"]
    assert len(client.requests) == 1


def test_a_failed_job_rejects_with_its_message(client):
    error = {"type": "TooSmall", "title": "The job failed", "detail": "Small"}
    document = status("failed", error=error)
    client.answers(answer(document))
    assert client.wait() == {
        "isJobError": True,
        "name": "JobError",
        "message": "Small",
        "type": "TooSmall",
        "document": document,
    }


def test_a_failure_without_details_says_at_least_that(client):
    error = {"type": "KeyError", "title": "The job failed"}
    client.answers(answer(status("failed", error=error)))
    assert client.wait()["message"] == "The job failed"


def test_a_cancelled_job_rejects(client):
    error = {"type": "JobCancelled", "title": "The job was cancelled"}
    client.answers(answer(status("cancelled", error=error)))
    assert client.wait()["type"] == "JobCancelled"


def test_a_result_that_cannot_be_shown_rejects(client):
    error = {"type": "ResultNotRenderable", "title": "It cannot be shown"}
    client.answers(answer(status("succeeded", error=error)))
    assert client.wait()["type"] == "ResultNotRenderable"


@pytest.mark.parametrize("kind", ["", "async "])
def test_an_error_in_the_listener_is_reported_and_harms_nothing(client, kind):
    client.answers(answer(status()), answer(SUCCEEDED))
    listener = f"{kind}() => {{ throw new Error('clumsy') }}"
    outcome = client.wait(f"{{ onProgress: {listener} }}")
    assert outcome == {"result": 42}
    assert client["errors"] == ["Uncaught Error: clumsy"] * 2


def test_a_signal_ends_the_waiting_with_its_reason(client):
    client.answers(answer(status(), Retry_After="60"))
    client["window.stop = new AbortController(); void 0"]
    client["void start({ leave: window.stop.signal })"]
    client.page.wait_for_function("seen.length")
    client["stop.abort(new Error('enough'))"]
    client.page.wait_for_function("outcome")
    assert client["outcome"]["message"] == "enough"
    assert len(client.requests) == 1


def test_a_signal_ends_a_request_that_hangs(client):
    client.answers(lambda _route: None)
    client["window.stop = new AbortController(); void 0"]
    client["void start({ leave: window.stop.signal })"]
    client.page.wait_for_function("asked.length")
    client["stop.abort()"]
    client.page.wait_for_function("outcome")
    assert client["outcome"]["name"] == "AbortError"


def test_a_signal_that_the_listener_gives_ends_the_waiting(timeless):
    timeless.answers(answer(status()))
    timeless["window.stop = new AbortController(); void 0"]
    timeless[
        "void start({ leave: stop.signal, onProgress: () => stop.abort() })"
    ]
    timeless.page.wait_for_function("outcome")
    assert timeless["outcome"]["name"] == "AbortError"


def test_a_signal_given_before_asks_nothing(client):
    outcome = client.wait("{ leave: AbortSignal.abort() }")
    assert outcome["name"] == "AbortError"
    assert client.requests == []


def test_a_request_that_hangs_is_given_up_and_made_again(timeless):
    timeless.answers(lambda _route: None, answer(SUCCEEDED))
    timeless["void start()"]
    run_until_settled(timeless, step=10_000, patience=1)
    assert timeless["outcome"] == {"result": 42}
    assert timeless.gaps[0] >= 30_000


def test_one_that_is_held_too_long_is_given_up_and_those_after_it(timeless):
    """The way to the server is dead, and another may not be."""
    timeless.answers(
        answer(status(version=2), Retry_After="0"),
        *[lambda _route: None] * 3,
        answer(SUCCEEDED | {"version": 2**32}),
    )
    timeless["void start()"]
    run_until_settled(timeless, step=2_000, patience=1)
    assert timeless["outcome"] == {"result": 42}
    _, *gaps = timeless.gaps
    # what the server may hold it for, and then more from one to the next
    assert 13_000 <= gaps[0] <= 18_000
    assert 6_000 <= gaps[1] <= 12_000
    assert 12_000 <= gaps[2] <= 18_000


@pytest.mark.parametrize(
    "url", ["null", "''", "'http://['", "'//me:secret@app.test/jobs/1'"]
)
def test_a_url_that_is_none_is_an_error_at_once(client, url):
    client.page.evaluate(f"start({{}}, {url})")
    assert client["outcome"]["name"] == "TypeError"
    assert client.requests == []


def test_a_hidden_page_asks_less_often(timeless):
    hide(timeless)
    timeless.answers(answer(status()), answer(SUCCEEDED))
    timeless["void start()"]
    run_until_settled(timeless)
    assert timeless.gaps[0] >= 10_000


def test_a_hidden_page_waits_less_often_too(timeless):
    hide(timeless)
    held = {"ETag": '"2"', "Retry_After": "0"}
    timeless.answers(
        answer(status(), **held), answer("", 304, **held), answer(SUCCEEDED)
    )
    timeless["void start()"]
    run_until_settled(timeless)
    assert all(gap >= 10_000 for gap in timeless.gaps)


def test_a_hidden_page_has_no_answer_held(timeless):
    hide(timeless)
    known = status(version=2)
    timeless.answers(
        answer(known, Retry_After="0"),
        answer("", 304, Retry_After="0"),
        answer("", 304, Retry_After="0"),
        answer(SUCCEEDED | {"version": 2**32}),
    )
    timeless["void start()"]
    while len(timeless.requests) < 2:
        timeless.page.clock.run_for(1_000)
        timeless.page.wait_for_timeout(1)
    hide(timeless, hidden=False)
    run_until_settled(timeless)
    _, hidden, *seen = (each.headers for each in timeless.requests)

    assert "prefer" not in hidden
    assert hidden["if-none-match"] == '"2"'
    assert {headers["prefer"] for headers in seen} == {"wait=10"}


def test_a_hidden_page_keeps_to_the_pace_of_the_server(timeless):
    hide(timeless)
    timeless.answers(
        answer(status(version=2), Retry_After="30"),
        answer("", 304, Retry_After="30"),
        answer(SUCCEEDED | {"version": 2**32}),
    )
    timeless["void start()"]
    run_until_settled(timeless)

    assert all(gap >= 30_000 for gap in timeless.gaps)


def test_a_page_that_becomes_visible_asks_at_once(timeless):
    hide(timeless)
    timeless.answers(answer(status()), answer(SUCCEEDED))
    timeless["void start()"]
    timeless.page.wait_for_function("seen.length")
    timeless.page.clock.run_for(500)
    assert len(timeless.requests) == 1
    hide(timeless, hidden=False)
    timeless.page.clock.run_for(1)
    timeless.page.wait_for_function("outcome")
    assert timeless.gaps[0] < 600


def test_becoming_visible_does_not_ask_twice_within_200_milliseconds(timeless):
    hide(timeless)
    timeless.answers(answer(status()), answer(SUCCEEDED))
    timeless["void start()"]
    timeless.page.wait_for_function("seen.length")
    hide(timeless, hidden=False)
    hide(timeless)
    hide(timeless, hidden=False)
    timeless.page.clock.run_for(150)
    assert len(timeless.requests) == 1
    run_until_settled(timeless, step=50)
    assert 199 < timeless.gaps[0] <= 400


def test_no_timer_and_no_listener_is_left_behind(page):
    client = Client(page)
    page.add_init_script(
        """
        window.timers = new Set();
        const { setTimeout: set, clearTimeout: clear } = window;
        window.setTimeout = (f, ms) => {
          const id = set(() => { timers.delete(id); f(); }, ms);
          timers.add(id);
          return id;
        };
        window.clearTimeout = (id) => { timers.delete(id); clear(id); };
        window.listening = 0;
        for (const target of [document, AbortSignal.prototype]) {
          const { addEventListener: add, removeEventListener: remove } =
            target;
          target.addEventListener = function (...args) {
            listening += 1;
            add.apply(this, args);
          };
          target.removeEventListener = function (...args) {
            listening -= 1;
            remove.apply(this, args);
          };
        }
        """
    )
    client.open()
    client.answers(lose, answer(status()), answer(SUCCEEDED))
    client.wait("{ signal: new AbortController().signal }")
    assert client["[timers.size, listening]"] == [0, 0]


def hide(client, *, hidden=True):
    """Let the page think that it is hidden, or seen again."""
    client.page.evaluate(
        """(hidden) => {
          const property = { configurable: true, get: () => hidden };
          Object.defineProperty(document, "hidden", property);
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


def run_until_settled(client, step=500, limit=500_000, patience=20):
    """Let the page's clock go on until the waiting has ended.

    It stands still while a request is under way, unless that hangs.
    """
    for _ in range(0, limit, step):
        deadline = time.monotonic() + patience
        while client["unanswered"] and time.monotonic() < deadline:
            client.page.wait_for_timeout(1)
        if client["outcome"]:
            return
        client.page.clock.run_for(step)
    raise AssertionError("the waiting did not end")
