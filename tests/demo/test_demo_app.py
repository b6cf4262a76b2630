"""The text analyser, as people and programs meet it, without a browser."""

import re
import threading

import pytest
from shop import shut_down, wait_until
from webob.request import BaseRequest
from webtest import TestApp, Upload

import demo_app
from demo_app import forms, jobs, samples, views
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import drain, wait_for

PAGE = "text/html,application/xhtml+xml,*/*;q=0.8"
JSON = {"Accept": "application/json"}
VERSE = "Tiger, tiger, burning bright: a TIGER's bright tiger!"
PICTURE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


class Browser(TestApp):
    """Somebody who looks at pages, without JavaScript."""

    def __init__(self, app, user=None):
        super().__init__(app, extra_environ={"HTTP_ACCEPT": PAGE})
        if user:
            self.get("/login").forms[0].submit("user", value=user).follow()

    def press(self, page, name):
        """Press the button of that name on *page*, and go where it leads."""
        form, button = find_button(page, name)
        answer = form.submit(button.name, value=button._value)
        return answer.follow() if answer.status_code == 303 else answer

    def newest_page(self):
        """Open the page of the text that came last."""
        return self.get("/texts").click(href="/texts/.", index=0)


def find_button(page, name):
    """Give the form and the button of that name."""
    for form in page.forms.values():
        for tag in form.html.find_all("button"):
            if name_of(tag).startswith(name):
                fields = form.fields.get(tag.get("name"), [])
                mine = [f for f in fields if f._value == tag.get("value")]
                if action := tag.get("formaction"):
                    form.action = action
                return form, mine[0] if mine else NO_VALUE
    raise AssertionError(f"there is no button {name!r}")


def name_of(button):
    """Give what a screen reader calls the button."""
    seen = [
        string
        for string in button.strings
        if string.parent.get("aria-hidden") != "true"
    ]
    return " ".join("".join(seen).split())


class NO_VALUE:  # noqa: N801
    """A button that sends nothing of its own."""

    name = None
    _value = None


def buttons(page):
    """Give the names of the buttons in the page, but for the header's."""
    return [name_of(tag) for tag in page.html.main("button")]


class Demo(TestApp):
    """The application, a program of Ada's that uses it, and her browser."""

    def __init__(self, app):
        super().__init__(app)
        self.ada = Browser(app, "ada")
        self.authorization = ("Bearer", token_of(self.ada))

    def stop(self):
        """Let the jobs end, and close the database."""
        shut_down(self.app.registry)

    def hand_in(self, content, name="poem.txt", **fields):
        """Upload a file as a program does, and give its job when it ended."""
        files = [("file", name, content)]
        answer = self.post("/texts", fields, upload_files=files)
        return wait_for(self, answer.json["sid"])


def token_of(browser):
    """Read the token for programs from the page."""
    return re.search(r"Bearer (\S+)'", browser.get("/").html.pre.text)[1]


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
            "text_analyser.secret": "for tests",
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
def ada(demo):
    return demo.ada


@pytest.fixture
def grace(demo):
    return Browser(demo.app, "grace")


@pytest.fixture
def held(monkeypatch):
    """Hold every analysis until the event that this gives is set."""
    go_on = threading.Event()
    decode = jobs.decode

    def wait_and_decode(text):
        assert go_on.wait(60)
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
    assert answer.location == f"/jobs/{answer.json['sid']}"
    drain(demo)
    assert demo.get(answer.location).json["result"] == [
        ["tiger", 3],
        ["bright", 2],
        ["burning", 1],
        ["a", 1],
        ["tiger's", 1],
    ]


def test_several_uploads_are_a_job_each(demo):
    files = [("file", f"{word}.txt", word.encode()) for word in ("to", "be")]
    answer = demo.post("/texts", upload_files=files)
    assert answer.status_code == 202
    drain(demo)
    results = [demo.get(url).json["result"] for url in answer.json["jobs"]]
    assert results == [[["to", 1]], [["be", 1]]]


def test_a_text_may_come_as_a_form_field(demo):
    answer = demo.post("/texts", {"text": "To be, or not to be"})
    assert answer.status_code == 202
    assert wait_for(demo, answer.json["sid"]).result[0] == ("to", 2)


def test_files_and_a_pasted_text_are_all_analysed(demo):
    answer = demo.post(
        "/texts", {"text": "pasted"}, upload_files=[("file", "a", b"filed")]
    )
    drain(demo)
    results = [demo.get(url).json["result"] for url in answer.json["jobs"]]
    assert results == [[["filed", 1]], [["pasted", 1]]]


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
    demo.ada.get("/").mustcontain("takes 6 seconds")


@pytest.mark.parametrize(
    "content", [PICTURE, b"plain but for a \0", b"\xff\xfe\x00\xd8"]
)
def test_what_is_no_text_fails_with_a_message_for_people(demo, content):
    files = [("file", "holiday.png", content)]
    answer = demo.post("/texts", upload_files=files)
    drain(demo)
    document = demo.get(answer.location).json
    assert document["state"] == "failed"
    assert document["error"]["type"] == "NotAText"
    assert document["error"]["detail"].startswith(
        "“holiday.png” cannot be read as text."
    )


@only_threads
def test_a_program_cancels_and_retries_without_a_csrf_token(demo, held):
    answer = demo.post("/texts", {"text": VERSE})
    assert demo.delete(answer.location).json["state"] == "cancelled"
    held.set()
    answer = demo.post("/texts", {"text": VERSE, "without_stop_words": "yes"})
    drain(demo)
    assert demo.get(answer.location).json["error"]["type"] == "NoStopWords"
    assert demo.post(f"{answer.location}/retry").status_code == 202


@pytest.mark.parametrize("wrong", ["", "forged", "é"])
def test_a_program_without_a_right_token_is_refused(demo, wrong):
    demo.authorization = None
    headers = {"Authorization": f"Bearer {wrong}"} if wrong else {}
    answer = demo.get("/texts", headers={**JSON, **headers}, status=401)
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_token_for_a_page_is_good_for_a_while(start_demo):
    demo = start_demo(**{"text_analyser.token_seconds": "2"})
    given = take_token(demo.ada)
    assert given["expires_in"] == 2
    demo.authorization = ("Bearer", given["token"])
    job = demo.post("/texts", {"text": VERSE}).location

    def has_ended():
        return demo.get(job, status="*").status_code == 401

    wait_until(has_ended)
    answer = demo.get(job, headers=JSON, status=401)
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    demo.authorization = ("Bearer", take_token(demo.ada)["token"])
    assert demo.get(job).json["state"] in {"pending", "running", "succeeded"}
    drain(demo)


def take_token(browser):
    """Take a token as the script of the page does."""
    page = browser.get("/by-token")
    csrf = page.html.find("meta", {"name": "csrf-token"})["content"]
    return browser.post("/tokens", headers={"X-CSRF-Token": csrf}).json


def test_a_token_gives_no_other_token(demo):
    demo.post("/tokens", headers=JSON, status=401)


def test_a_token_is_given_to_no_form_of_another_site(demo):
    demo.ada.post("/tokens", status=400)


@pytest.mark.parametrize("wrong", ["forged", "é"])
def test_a_job_is_refused_to_a_wrong_token_before_it_is_looked_for(
    demo, wrong
):
    demo.authorization = None
    headers = {**JSON, "Authorization": f"Bearer {wrong}"}
    check_problem(
        demo.get("/jobs/unknown", headers=headers, status=401), "a token"
    )


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "form field “text”"),
        ({"words": "to be"}, "form field “text”"),
        ({"text": ""}, "nothing to analyse"),
        ({"text": " \n"}, "The pasted text is blank"),
        ({"file": "", "text": ""}, "nothing to analyse"),
        ({"file": Upload("empty.txt", b"")}, "“empty.txt” is empty"),
    ],
)
def test_a_form_without_a_text_is_refused(demo, fields, says):
    answer = demo.post("/texts", fields, headers=JSON, status=400)
    check_problem(answer, says)
    demo.ada.get("/texts").mustcontain("None yet")


def test_too_many_files_are_refused(demo):
    files = [
        ("file", f"{number}.txt", b"word")
        for number in range(forms.MOST_FILES + 1)
    ]
    answer = demo.post("/texts", upload_files=files, status=400)
    check_problem(answer, "These are 21 texts; hand in up to 20")


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
    check_problem(answer, "form")


def test_a_text_that_is_too_long_is_refused(demo):
    content = b"word " * (forms.MOST_MEGABYTES * 200_000 + 10_000)
    files = [("file", "long.txt", content)]
    answer = demo.post("/texts", upload_files=files, status=413)
    check_problem(answer, "Up to 10 megabytes")


@pytest.mark.parametrize("path", ["/texts/unknown", "/nowhere"])
def test_an_unknown_address_is_answered_in_the_form_asked_for(demo, path):
    check_problem(demo.get(path, headers=JSON, status=404), "at this address")
    page = demo.ada.get(path, status=404)
    assert "nothing at this address" in page.html.find(role="alert").text


def check_problem(answer, says):
    assert answer.content_type == "application/problem+json"
    assert answer.json["status"] == answer.status_code
    assert says in answer.json["detail"]


# -- Logins -------------------------------------------------------------------


def test_nobody_sees_a_page_without_a_login_and_comes_to_it_after(demo):
    browser = Browser(demo.app)
    page = browser.get("/texts")
    assert page.location == "http://localhost/login?next=%2Ftexts"
    page = browser.press(page.follow(), "Ada")
    assert page.request.path == "/texts"
    page.mustcontain("None yet", "Log out")


def test_the_first_page_says_what_the_add_on_does(demo):
    browser = Browser(demo.app)
    first = browser.get("/").follow()
    first.mustcontain("pyramid_zodb_async", "in the background, as jobs")
    home = Browser(demo.app, "ada").get("/")

    home.mustcontain("in one commit of the ZODB")


def test_a_login_leads_to_no_other_site(demo):
    for elsewhere in ["//evil.example", "https://evil.example", "/\\evil"]:
        browser = Browser(demo.app)
        page = browser.get("/login", {"next": elsewhere})
        assert browser.press(page, "Grace").request.url == "http://localhost/"


def test_only_known_people_can_log_in(demo):
    form = Browser(demo.app).get("/login").form
    form["next"].force_value("/")
    page = form.submit("user", value="eve", status=400)
    page.mustcontain("Nobody of this name")


def test_who_logs_out_is_out(demo, ada):
    page = ada.press(ada.get("/"), "Log out")
    page.mustcontain("Who are you?")
    assert ada.get("/").status_code == 303


def test_a_form_of_an_earlier_login_changes_nothing(ada):
    form, _ = find_button(ada.get("/"), "Install the English list")
    ada.press(ada.press(ada.get("/"), "Log out"), "Grace")
    form.submit(status=400).mustcontain("another login or another site")
    ada.get("/").mustcontain("Install the English list")


@pytest.mark.parametrize(
    "path", ["/login", "/logout", "/texts", "/samples", "/committed"]
)
def test_without_a_csrf_token_a_cookie_changes_nothing(ada, path):
    ada.post(path, {"text": "to be", "user": "ada"}, status=400)
    ada.get("/texts").mustcontain("None yet")


def test_a_cookie_cancels_only_with_the_token_that_the_page_has(demo, ada):
    sid = demo.hand_in(VERSE.encode()).sid
    ada.delete(f"/jobs/{sid}", status=400)
    token = ada.get("/").html.find("meta", {"name": "csrf-token"})["content"]
    ada.delete(f"/jobs/{sid}", headers={"X-CSRF-Token": token}, status=204)


def test_texts_and_jobs_of_others_do_not_exist(demo, ada, grace):
    sid = demo.hand_in(VERSE.encode(), "hers.txt").sid
    path = ada.newest_page().request.path
    grace.get("/texts").mustcontain("None yet", no="hers.txt")
    for url in [path, f"/jobs/{sid}"]:
        ada.get(url)
        grace.get(url, status=404)
    token = grace.get("/").html.find("meta", {"name": "csrf-token"})["content"]
    for action in ["analyse", "cancel", "retry"]:
        url = f"{path}/{action}"
        grace.post(url, {"csrf_token": token}, status=404)
    grace.delete(f"/jobs/{sid}", headers={"X-CSRF-Token": token}, status=404)
    assert ada.get(f"/jobs/{sid}").json["state"] == "succeeded"


def test_a_page_can_be_opened_as_somebody_else_and_back(demo, ada):
    demo.hand_in(VERSE.encode())
    page = ada.newest_page()
    path = page.request.path
    form, _ = find_button(page, "Open this page as Grace")
    page = form.submit().follow(status=404)
    page.mustcontain("You are Grace.", "nothing at this address")
    page = ada.press(page, "Open this page as Ada")
    assert page.request.path == path
    page.mustcontain("The most frequent words")


def test_each_has_a_counter_and_a_list_of_stop_words_of_their_own(ada, grace):
    ada.press(ada.get("/"), "Install the English list")
    ada.press(ada.get("/"), "Schedule and commit")
    page = grace.get("/")
    page.mustcontain("Install the English list")
    assert page.html.find(id="counter").text == "0"


# -- People without JavaScript ------------------------------------------------


def test_the_form_leads_to_the_page_with_the_chart(demo, ada):
    page = ada.get("/")
    form, _ = find_button(page, "Analyse")
    form["text"] = VERSE
    page = form.submit()
    assert page.status_code == 303
    drain(demo)
    page = page.follow()
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
    assert page.html.find("job-progress") is None


def test_several_files_lead_to_the_list_in_their_order(demo, ada):
    form, _ = find_button(ada.get("/"), "Analyse")
    form["file"] = [("first.txt", b"to be"), ("second.txt", b"or not")]
    form["text"] = "to be"
    page = form.submit().follow()
    assert page.request.path == "/texts"
    names = [tag.text for tag in page.html.main("h2")]
    assert names == ["first.txt", "second.txt", "to be"]
    drain(demo)


def test_the_sample_is_four_texts_of_english(demo, ada):
    ada.press(ada.get("/"), "Analyse it in 4 parts")
    drain(demo)
    page = ada.get("/texts")
    names = [tag.text for tag in page.html.main("h2")]
    assert names == [
        f"Python’s reference, part {part} of 4"  # noqa: RUF001
        for part in (1, 2, 3, 4)
    ]
    outcomes = [tag.text for tag in page.html.main(class_="outcome")]
    assert all("the" in outcome for outcome in outcomes)
    assert len(outcomes) == samples.PARTS


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"text": ""}, "nothing to analyse"),
        ({"text": " \n"}, "The pasted text is blank"),
        ({"file": [("<i>.txt", b"")], "text": "kept"}, "“<i>.txt” is"),
    ],
)
def test_what_is_wrong_with_the_form_is_said_in_the_form(ada, fields, says):
    form, _ = find_button(ada.get("/"), "Analyse")
    for name, value in fields.items():
        form[name] = value
    page = form.submit(status=400)
    form, _ = find_button(page, "Analyse")
    assert says in form.html.find(role="alert").text
    assert form["text"].value.strip() == fields["text"].strip()
    assert form.html.find(id="file")["aria-describedby"] == "error limits"
    ada.get("/texts").mustcontain("None yet")


def test_a_form_that_is_too_long_comes_back_with_the_reason(ada):
    form, _ = find_button(ada.get("/"), "Analyse")
    form["text"] = "word " * (forms.MOST_MEGABYTES * 200_000 + 10_000)
    page = form.submit(status=413)
    assert "Up to 10 megabytes" in page.html.find(role="alert").text


def test_the_list_shows_what_earlier_jobs_stored(demo, ada):
    demo.hand_in(VERSE.encode(), "blake.txt")
    demo.hand_in(b"to be or not to be", "shakespeare.txt")
    demo.hand_in(PICTURE, "holiday.png")
    demo.hand_in(b"tiger", "word.txt")
    items = ada.get("/texts").html.find(class_="texts")
    fourth, third, second, first = (
        " ".join(item.text.split()) for item in items.find_all("li")
    )
    assert first.startswith("blake.txt 53 bytes,")
    assert first.endswith("8 words, most often tiger, bright, burning")
    assert second.endswith("6 words, most often to, be, or")
    assert "“holiday.png” cannot be read as text." in third
    assert fourth.endswith("1 word, most often tiger")


def test_the_list_ends_somewhere_and_says_so(demo, ada, monkeypatch):
    monkeypatch.setattr(views, "LISTED", 2)
    for word in (b"one", b"two"):
        demo.hand_in(word)
    assert "These are the latest" not in ada.get("/texts")
    demo.hand_in(b"three")
    page = ada.get("/texts")
    page.mustcontain("These are the latest 2.")
    assert len(page.html.main("li")) == 2


def test_the_list_does_not_load_the_bytes_of_the_texts(demo, ada):
    demo.hand_in(b"word " * 1000)
    (db,) = databases_of(demo.app.registry).values()
    db.cacheMinimize()
    ada.get("/texts")
    kinds = {
        item["klass"]
        for item in db.cacheExtremeDetail()
        if item["state"] is not None  # which is what a ghost has
    }
    assert "demo_app.models.Text" in kinds
    assert "demo_app.models.Body" not in kinds


def test_a_strange_name_is_shown_as_it_is(demo, ada):
    demo.hand_in(b"word", "<b>&'“.txt")
    assert ada.newest_page().html.h1.text == "<b>&'“.txt"


def test_a_text_without_words_says_so(demo, ada):
    demo.hand_in(b"1984")
    ada.newest_page().mustcontain("not a single word in it.")


def test_a_text_of_nothing_but_stop_words_says_so(demo, ada):
    ada.press(ada.get("/"), "Install the English list")
    demo.hand_in(b"to be or not to be", without_stop_words="yes")
    ada.newest_page().mustcontain("not a single word in it but stop words.")


def test_the_page_of_a_failed_text_says_why_also_when_reloaded(demo, ada):
    demo.hand_in(PICTURE, "holiday.png")
    for _ in range(2):
        page = ada.newest_page()
        page.mustcontain("“holiday.png” cannot be read as text.")
        assert buttons(page) == ["Open this page as Grace"]


def test_a_failure_of_the_program_can_be_retried(demo, ada, monkeypatch):
    def stumble(content):
        raise KeyError(content)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "cut", stumble)
        demo.hand_in(b"word")
    page = ada.newest_page()
    page.mustcontain("not the text’s fault", "KeyError")  # noqa: RUF001
    page.mustcontain(no="'word'")
    ada.press(page, "Retry")
    drain(demo)
    ada.newest_page().mustcontain("The most frequent words")


def test_an_analysis_without_stop_words_fails_until_there_are_some(demo, ada):
    page = ada.get("/")
    page.mustcontain("You have no list of them yet.")
    form, _ = find_button(page, "Analyse")
    form["text"] = "The tiger and the bright tiger"
    form["without_stop_words"] = True
    page = form.submit()
    drain(demo)
    page = page.follow()
    page.mustcontain("there is no list of them")
    sid = page.html.find("job-progress")["src"].rpartition("/")[2]

    page = ada.press(page, "Install the English list")
    page.mustcontain("Now there is one: try again.")
    page = ada.press(page, "Retry")
    drain(demo)
    page = ada.get(page.request.path)
    assert [row.th.text for row in page.html.tbody("tr")] == [
        "tiger",
        "bright",
    ]
    page.mustcontain("3 stop words are left out.")
    assert demo.get(f"/jobs/{sid}").json["state"] == "succeeded"
    page = ada.get("/")
    page.mustcontain(f"By your list of {len(samples.ENGLISH)}.")

    ada.press(page, "Remove the list")
    assert demo.hand_in(b"word", without_stop_words="yes").failure


def test_what_was_analysed_can_be_analysed_again(demo, ada):
    sid = demo.hand_in(VERSE.encode()).sid
    page = ada.press(ada.newest_page(), "Analyse again")
    drain(demo)
    again = ada.get(page.request.path)
    again.mustcontain("The most frequent words")
    assert find_text(demo, page).sid != sid


def find_text(demo, page):
    """Give the text of a page as it is in the database."""
    (db,) = databases_of(demo.app.registry).values()
    with db.transaction() as connection:
        library = connection.root()["libraries"]["ada"]
        text = library.texts.get(page.request.path.split("/")[2])
        text.sid  # loads it, before the connection closes  # noqa: B018
        return text


@only_threads
def test_the_page_of_a_text_that_is_being_read_reloads_itself(demo, ada, held):
    answer = demo.post("/texts", {"text": VERSE})
    for page in [ada.newest_page(), ada.get("/texts")]:
        shown = page.html.find("job-progress")
        assert answer.location.endswith(shown["src"])
        assert page.html.head.noscript.meta["http-equiv"] == "refresh"
    held.set()
    drain(demo)
    page = ada.newest_page()
    page.mustcontain("The most frequent words", no="refresh")


@only_threads
def test_an_analysis_can_be_cancelled_and_made_again(demo, ada, held):
    demo.post("/texts", {"text": VERSE})
    page = ada.press(ada.newest_page(), "Cancel")
    page.mustcontain("The analysis was cancelled", no="refresh")
    assert "Cancelled." in ada.get("/texts")
    held.set()
    drain(demo)
    assert find_text(demo, page).finding is None
    page = ada.press(page, "Analyse again")
    drain(demo)
    ada.get(page.request.path).mustcontain("The most frequent words")


@only_threads
def test_a_cancelled_analysis_leaves_what_an_earlier_one_found(
    demo, ada, held
):
    held.set()
    demo.hand_in(VERSE.encode())
    held.clear()
    page = ada.press(ada.newest_page(), "Analyse again")
    page = ada.press(page, "Cancel")
    page.mustcontain(
        "was cancelled", "What an earlier analysis found", "tiger"
    )


def test_what_has_ended_is_neither_cancelled_nor_retried(demo, ada):
    sid = demo.hand_in(VERSE.encode()).sid
    page = ada.newest_page()
    form, _ = find_button(page, "Analyse again")
    for action in ["cancel", "retry"]:
        form.action = f"{page.request.path}/{action}"
        form.submit().follow().mustcontain("The most frequent words")
    assert find_text(demo, page).sid == sid


@only_threads
def test_a_text_that_is_being_read_is_not_read_twice(demo, ada, held):
    held.set()
    demo.hand_in(VERSE.encode())
    held.clear()
    page = ada.newest_page()
    for _ in range(2):
        ada.press(page, "Analyse again")
    held.set()
    drain(demo)
    scheduled = find_text(demo, page).sid
    assert demo.get(f"/jobs/{scheduled}").json["attempt"] == 1
    ada.newest_page().mustcontain("The most frequent words")


def test_what_was_found_outlives_the_job(start_demo):
    demo = start_demo()
    demo.hand_in(VERSE.encode())
    demo.stop()
    page = start_demo().ada.newest_page()
    page.mustcontain("The most frequent words", "tiger")


@only_threads
def test_a_text_whose_job_a_restart_lost_can_be_analysed_again(
    start_demo, held
):
    in_memory = {"zodb_async.scheduler": "memory"}
    demo = start_demo(**in_memory)
    demo.post("/texts", {"text": VERSE})
    path = demo.ada.press(demo.ada.newest_page(), "Cancel").request.path
    held.set()
    demo.stop()

    demo = start_demo(**in_memory)
    page = demo.ada.get(path)
    page.mustcontain("This text is not analysed")
    assert "Not analysed." in demo.ada.get("/texts")
    demo.ada.press(page, "Analyse again")
    drain(demo)
    demo.ada.get(path).mustcontain("The most frequent words")


# -- The experiment -----------------------------------------------------------


def test_a_committed_job_of_the_experiment_runs(demo, ada):
    page = ada.press(ada.get("/"), "Schedule and commit")
    drain(demo)
    page = ada.get(page.request.path_qs)
    assert page.html.find(id="counter").text == "1"
    page.mustcontain("The job succeeded.")
    assert demo.get("/counter").json == {"value": 1}


def test_an_aborted_job_of_the_experiment_does_not_run(demo, ada):
    ada.press(ada.get("/"), "Schedule and commit")
    page = ada.press(ada.get("/"), "Schedule and abort")
    drain(demo)
    page = ada.get(page.request.path_qs)
    assert page.html.find(id="counter").text == "1"
    page.mustcontain("Nothing ran")
    job = page.html.find(id="outcome")["data-job"]
    assert demo.get(job, status=404).content_type == "application/problem+json"


def test_the_very_first_request_may_be_the_aborted_one(demo, tmp_path):
    (db,) = databases_of(demo.app.registry).values()
    with db.transaction() as connection:
        connection.root().pop("libraries")
    demo.post("/aborted")
    drain(demo)
    assert demo.get("/counter").json == {"value": 0}


def test_first_visitors_at_the_same_time_lose_no_text(demo):
    visitors = 4
    (db,) = databases_of(demo.app.registry).values()
    with db.transaction() as connection:
        connection.root().pop("libraries")
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
    items = demo.ada.get("/texts").html.find(class_="texts")
    assert len(items.find_all("li")) == visitors


def test_pages_ask_nothing_of_other_servers(demo, ada):
    demo.hand_in(VERSE.encode())
    pages = [ada.get("/"), ada.get("/texts"), ada.newest_page()]
    for page in pages:
        for tag in page.html.find_all(["script", "link", "img"]):
            url = tag.get("src") or tag.get("href")
            assert url is None or url.startswith("/")
            if url:
                demo.get(url)
