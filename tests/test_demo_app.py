"""The text analyser, as people and programs meet it, without a browser."""

import threading

import pytest
from shop import shut_down
from webob.request import BaseRequest
from webtest import TestApp, Upload

import demo_app
from demo_app import jobs, views
from pyramid_zodb_async import IEngine
from pyramid_zodb_async.testing import drain, wait_for

PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
JSON = {"Accept": "application/json"}
VERSE = "Tiger, tiger, burning bright: a TIGER's bright tiger!"
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


class Demo(TestApp):
    """The application, and how to stop it."""

    def stop(self):
        """Let the jobs end, and close the database."""
        shut_down(self.app.registry)

    def hand_in(self, content, name="poem.txt", **kw):
        """Upload a file as a program does, and give its job when it ended."""
        answer = self.post(
            "/texts", upload_files=[("file", name, content)], **kw
        )
        return wait_for(self, answer.json["sid"])

    def newest_page(self):
        """Open the page of the text that came last."""
        return self.get("/", headers=PAGE).click(href="/texts/", index=0)


@pytest.fixture(autouse=True)
def _no_temporary_files(monkeypatch):
    """Keep large bodies in RAM: webob leaves its files to be collected."""
    monkeypatch.setattr(BaseRequest, "request_body_tempfile_limit", 2**30)


@pytest.fixture
def start_demo(tmp_path, engine):
    """Start the application, for the second time after a stop."""
    started = []

    def start(**settings):
        uri = f"file://{tmp_path}/var/Data.fs?connection_pool_size=10"
        settings = {
            "zodbconn.uri": uri,
            "text_analyser.folder": str(tmp_path / "var"),
            "tm.commit_veto": "pyramid_tm.default_commit_veto",
            **engine,
            **settings,
        }
        demo = Demo(demo_app.main({}, **settings))
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.stop()


@pytest.fixture
def demo(start_demo):
    return start_demo()


@pytest.fixture
def held(monkeypatch):
    """Hold every analysis until the event that this gives is set."""
    go_on = threading.Event()
    decode = jobs.decode

    def wait_and_decode(text):
        assert go_on.wait(10)
        return decode(text)

    monkeypatch.setattr(jobs, "decode", wait_and_decode)
    yield go_on
    go_on.set()


#: With the engine ``inline`` nobody ever sees an unfinished job.
only_threads = pytest.mark.parametrize("engine", ["threads"], indirect=True)


# -- Programs -----------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Accept": "*/*"}, JSON])
def test_an_upload_is_accepted_and_its_job_gives_the_top_words(demo, headers):
    files = [("file", "poem.txt", VERSE.encode())]
    answer = demo.post("/texts", upload_files=files, headers=headers)
    assert answer.status_code == 202
    assert answer.location == f"http://localhost/jobs/{answer.json['sid']}"
    drain(demo)
    assert demo.get(answer.location).json["result"] == [
        ["tiger", 3],
        ["bright", 2],
        ["burning", 1],
        ["a", 1],
        ["tiger's", 1],
    ]


def test_a_text_may_come_as_a_form_field(demo):
    answer = demo.post("/texts", {"text": "To be, or not to be"})
    assert answer.status_code == 202
    assert wait_for(demo, answer.json["sid"]).result[0] == ("to", 2)


def test_a_file_counts_before_a_pasted_text(demo):
    answer = demo.post(
        "/texts", {"text": "pasted"}, upload_files=[("file", "a", b"filed")]
    )
    assert wait_for(demo, answer.json["sid"]).result == [("filed", 1)]


def test_a_pasted_text_counts_where_no_file_was_chosen(demo):
    answer = demo.post("/texts", {"file": "", "text": "pasted"})
    assert wait_for(demo, answer.json["sid"]).result == [("pasted", 1)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\ufeffÄpfel und äpfel".encode(), [("äpfel", 2), ("und", 1)]),
        ("Ça va? ça va".encode("utf-16"), [("ça", 2), ("va", 2)]),
        (b"1984 - 2001 !", []),
        ("don't don’t re-read".encode(), None),  # noqa: RUF001
    ],
)
def test_words_are_found_in_many_writings(demo, content, words):
    job = demo.hand_in(content)
    if words is None:
        assert len(job.result) == 3
    else:
        assert job.result == words


def test_no_word_is_cut_in_two_by_the_steps(demo):
    job = demo.hand_in(b"supercalifragilistic " * 997)
    assert job.result == [("supercalifragilistic", 997)]


def test_the_analysis_takes_as_long_as_the_settings_say(
    start_demo, monkeypatch
):
    naps = []
    monkeypatch.setattr(jobs.time, "sleep", naps.append)
    demo = start_demo(**{"text_analyser.seconds_per_megabyte": "6"})
    demo.hand_in(b"word " * 40_000)  # 0.2 megabytes
    assert len(naps) >= 40
    assert sum(naps) == pytest.approx(1.2)
    demo.get("/", headers=PAGE).mustcontain("takes 6 seconds")


@pytest.mark.parametrize(
    "content", [PICTURE, b"plain but for a \0", b"\xff\xfe\x00\xd8"]
)
def test_what_is_no_text_fails_with_a_message_for_people(demo, content):
    files = [("file", "holiday.png", content)]
    answer = demo.post("/texts", upload_files=files)
    drain(demo)
    document = demo.get(answer.location).json
    assert document["state"] == "failed"
    assert document["error"]["detail"].startswith(
        "“holiday.png” cannot be read as text."
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "form field “text”"),
        ({"words": "to be"}, "form field “text”"),
        ({"text": ""}, "nothing to analyse"),
        ({"text": " \n"}, "nothing to analyse"),
        ({"file": "", "text": ""}, "nothing to analyse"),
        ({"file": Upload("empty.txt", b"")}, "nothing to analyse"),
    ],
)
@pytest.mark.parametrize("headers", [JSON, PAGE])
def test_a_form_without_a_text_is_refused(demo, fields, says, headers):
    answer = demo.post("/texts", fields, headers=headers, status=400)
    check_refusal(answer, headers, says)
    demo.get("/", headers=PAGE).mustcontain("None yet")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=x; charset=klingon",
        "application/x-www-form-urlencoded; charset=klingon",
        "application/json",
    ],
)
def test_a_body_that_is_no_form_is_refused(demo, content_type):
    headers = {**JSON, "Content-Type": content_type}
    answer = demo.post("/texts", b"text=to+be", headers=headers, status=400)
    check_refusal(answer, headers, "form")


@pytest.mark.parametrize("headers", [JSON, PAGE])
def test_a_text_that_is_too_long_is_refused(demo, headers):
    content = b"word " * (views.MOST_MEGABYTES * 200_000 + 10_000)
    files = [("file", "long.txt", content)]
    answer = demo.post(
        "/texts", upload_files=files, headers=headers, status=413
    )
    check_refusal(answer, headers, "up to 10 megabytes")


@pytest.mark.parametrize("headers", [JSON, PAGE])
@pytest.mark.parametrize("path", ["/texts/unknown", "/nowhere", "/texts"])
def test_an_unknown_address_is_answered_in_the_form_asked_for(
    demo, path, headers
):
    answer = demo.get(path, headers=headers, status=404)
    check_refusal(answer, headers, "nothing at this address")


def check_refusal(answer, headers, says):
    if headers is PAGE:
        assert answer.content_type == "text/html"
        assert says in answer.html.find(role="alert").text
    else:
        assert answer.content_type == "application/problem+json"
        assert answer.json["status"] == answer.status_code
        assert says in answer.json["detail"]


# -- People without JavaScript ------------------------------------------------


def test_the_form_leads_to_the_page_with_the_chart(demo):
    form = demo.get("/", headers=PAGE).forms[0]
    form["text"] = VERSE
    page = form.submit(headers=PAGE)
    assert page.status_code == 303
    drain(demo)
    page = page.follow(headers=PAGE)
    assert page.html.h1.text == "Tiger, tiger, burning bright: a TIGER's…"
    assert [bar["width"] for bar in page.html.find_all(class_="bar")] == [
        "100.00%",
        "66.67%",
        "33.33%",
        "33.33%",
        "33.33%",
    ]
    assert [row.th.text for row in page.html.tbody.find_all("tr")][:2] == [
        "tiger",
        "bright",
    ]
    assert page.html.find(id="analysis").get("data-job") is None


def test_the_list_shows_what_earlier_jobs_stored(demo):
    page = demo.get("/", headers=PAGE)
    page.mustcontain("None yet")
    demo.hand_in(VERSE.encode(), "blake.txt")
    demo.hand_in(b"to be or not to be", "shakespeare.txt")
    demo.hand_in(PICTURE, "holiday.png")
    items = demo.get("/", headers=PAGE).html.find(class_="texts")
    third, second, first = (
        " ".join(item.text.split()) for item in items.find_all("li")
    )
    assert first.startswith("blake.txt 53 bytes,")
    assert first.endswith("8 words, most often tiger, bright, burning")
    assert second.endswith("6 words, most often to, be, or")
    assert third.endswith("cannot be read")


def test_the_list_does_not_load_the_bytes_of_the_texts(demo):
    demo.hand_in(b"word " * 1000)
    (db,) = demo.app.registry._zodb_databases.values()
    db.cacheMinimize()
    demo.get("/", headers=PAGE)
    kinds = {
        item["klass"]
        for item in db.cacheExtremeDetail()
        if item["state"] is not None  # which is what a ghost has
    }
    assert "demo_app.models.Text" in kinds
    assert "demo_app.models.Body" not in kinds


def test_a_strange_name_is_shown_as_it_is(demo):
    demo.hand_in(b"word", "<b>&'“.txt")
    assert demo.newest_page().html.h1.text == "<b>&'“.txt"


def test_a_text_without_words_says_so(demo):
    demo.hand_in(b"1984")
    demo.newest_page().mustcontain("not a single word")


def test_the_page_of_a_failed_text_says_why_also_when_reloaded(demo):
    demo.hand_in(PICTURE, "holiday.png")
    for _ in range(2):
        page = demo.newest_page()
        page.mustcontain("“holiday.png” cannot be read as text.")
        assert len(page.forms) == 0


def test_a_failure_of_the_program_can_be_tried_again(demo, monkeypatch):
    def stumble(content):
        raise KeyError(content)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "cut", stumble)
        demo.hand_in(b"word")
    page = demo.newest_page()
    page.mustcontain("not the text's fault", "KeyError", no="word")
    page.form.submit(headers=PAGE)
    drain(demo)
    demo.newest_page().mustcontain("The most frequent words")


@only_threads
def test_the_page_of_a_text_that_is_being_read_reloads_itself(demo, held):
    answer = demo.post("/texts", {"text": VERSE})
    page = demo.newest_page()
    assert page.html.find(id="analysis")["data-job"] == answer.location
    assert page.html.find("progress")["max"] == "1"
    assert page.html.noscript.meta["http-equiv"] == "refresh"
    demo.get("/", headers=PAGE).mustcontain("being read")
    held.set()
    drain(demo)
    page = demo.newest_page()
    page.mustcontain("The most frequent words", no="refresh")


@only_threads
def test_the_page_begins_where_the_job_is(demo, held, monkeypatch):
    there = threading.Event()

    def sleep(_seconds):
        there.set()
        assert held.wait(10)

    monkeypatch.setattr(jobs, "decode", lambda _text: "to be " * 100)
    monkeypatch.setattr(jobs.time, "sleep", sleep)
    demo.post("/texts", {"text": VERSE})
    assert there.wait(10)
    page = demo.newest_page()
    assert page.html.find("progress")["value"] == "0.0"
    page.mustcontain("0 words so far")


@only_threads
def test_a_text_that_is_being_read_is_not_read_twice(demo, held):
    answer = demo.post("/texts", {"text": VERSE})
    path = demo.newest_page().request.path
    again = demo.post(path)
    assert again.json["sid"] == answer.json["sid"]


def test_what_was_found_outlives_the_job(start_demo):
    demo = start_demo()
    demo.hand_in(VERSE.encode())
    demo.stop()
    start_demo().newest_page().mustcontain("The most frequent words", "tiger")


@only_threads
def test_a_job_that_a_restart_lost_can_be_started_again(start_demo, held):
    demo = start_demo(**{"zodb_async.grace": "0"})
    demo.post("/texts", {"text": VERSE})
    (db,) = demo.app.registry._zodb_databases.values()
    demo.app.registry.getUtility(IEngine).stop(grace=0)
    page = demo.newest_page()
    path = page.request.path
    with db.transaction() as connection:
        # What the next process finds: a job that nobody knows of.
        connection.root()["texts"].get(path[7:]).sid = "lost"
    page = demo.get(path, headers=PAGE)
    page.mustcontain("The analysis was lost")
    held.set()
    demo.stop()

    demo = start_demo()
    page = demo.get(path, headers=PAGE)
    page.mustcontain("The analysis was lost")
    assert page.form.submit(headers=PAGE).location.endswith(path)
    drain(demo)
    demo.get(path, headers=PAGE).mustcontain("The most frequent words")


# -- The experiment -----------------------------------------------------------


def test_a_committed_job_of_the_experiment_runs(demo):
    page = demo.post("/committed", headers=PAGE)
    drain(demo)
    page = page.follow(headers=PAGE)
    assert page.html.find(id="counter").text == "1"
    page.mustcontain("The job succeeded.")
    assert demo.get("/counter").json == {"value": 1}


def test_an_aborted_job_of_the_experiment_does_not_run(demo):
    demo.post("/committed")
    page = demo.post("/aborted", headers=PAGE)
    drain(demo)
    page = page.follow(headers=PAGE)
    assert page.html.find(id="counter").text == "1"
    page.mustcontain("Nothing ran")
    job = page.html.find(id="outcome")["data-job"]
    assert demo.get(job, status=404).content_type == "application/problem+json"


def test_the_very_first_request_may_be_the_aborted_one(demo):
    demo.post("/aborted")
    drain(demo)
    assert demo.get("/counter").json == {"value": 0}


def test_first_visitors_at_the_same_time_lose_no_text(demo):
    visitors = 4
    together = threading.Barrier(visitors)

    def visit():
        together.wait()
        demo.post("/texts", {"text": VERSE})

    threads = [threading.Thread(target=visit) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(demo)
    items = demo.get("/", headers=PAGE).html.find(class_="texts")
    assert len(items.find_all("li")) == visitors


def test_pages_ask_nothing_of_other_servers(demo):
    demo.hand_in(VERSE.encode())
    for page in [demo.get("/", headers=PAGE), demo.newest_page()]:
        for tag in page.html.find_all(["script", "link", "img"]):
            url = tag.get("src") or tag.get("href")
            assert url is None or url.startswith("/")
            if url:
                demo.get(url)
    demo.get("/jobs/static/jobs.js").mustcontain("export async function job")
