"""The text analyser in a browser, served by pserve on a FileStorage."""

import json
import re
import shutil
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from needed import missing

NO_TEXT = "“holiday.png” cannot be read as text."
NO_LIST = "there is no list of them yet"

IS_IN_VIEW = """(element) => {
  const { top, bottom } = element.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight;
}"""


@pytest.fixture
def ada(page, demo):
    """Give a page on which Ada is logged in."""
    log_in(page, demo)
    return page


def log_in(page, url, name="Ada"):
    page.goto(f"{url}/login")
    press(page, name)
    page.get_by_role("heading", name="Which words").wait_for()


def press(page, name):
    page.get_by_role("button", name=name).first.click()


def hand_in(page, url, *paths, without_stop_words=False):
    """Choose files in the form, press the button, and get to their page."""
    page.goto(url)
    page.get_by_label("Files").set_input_files(paths)
    if without_stop_words:
        page.get_by_label("Leave out stop words").check()
    page.get_by_role("button", name="Analyse", exact=True).click()
    page.wait_for_url(re.compile(r"/texts/?"))


def have_list(page, url, *, installed):
    """See to it that there is a list of stop words, or that there is none."""
    page.goto(url)
    wrong, right = "Install the English list", "Remove the list"
    if not installed:
        wrong, right = right, wrong
    button = page.get_by_role("button", name=wrong)
    if button.count():
        button.click()
    page.get_by_role("button", name=right).wait_for()


def watch_bar(page, values):
    """Wait until the bar has shown so many different values; give them."""
    page.wait_for_function(
        """(wanted) => {
          window.bars ??= [];
          const element = document.querySelector("job-progress");
          const bar = element?.shadowRoot?.querySelector("[part=bar]");
          const value = bar?.ariaValueNow;
          if (value && Number(value) !== window.bars.at(-1)) {
            window.bars.push(Number(value));
          }
          return window.bars.length >= wanted;
        }""",
        arg=values,
    )
    return page.evaluate("window.bars")


def watch_all(page):
    """Watch until the chart is there; give what bar, message and title said.

    What comes next may come at any moment, so nothing waits for one of them.
    """
    page.wait_for_function(
        """() => {
          window.watched ??= [[], [], []];
          const inside = document.querySelector("job-progress")?.shadowRoot;
          const bar = inside?.querySelector("[part=bar]")?.ariaValueNow;
          const message = inside?.querySelector("[part=message]")?.textContent;
          const seen = [bar && Number(bar), message, document.title];
          seen.forEach((value, number) => {
            if (value && value !== watched[number].at(-1)) {
              watched[number].push(value);
            }
          });
          return document.querySelector("svg .bar");
        }"""
    )
    return page.evaluate("watched")


def mark(page):
    """Give what changes if the page is reloaded."""
    return page.evaluate("window.mark ??= performance.timeOrigin")


def message_of(place):
    """Give what the element there says, to those who see it."""
    return place.locator("job-progress [part=message]")


def wait_for_chart(page):
    page.get_by_role("img", name="The most frequent words").wait_for()


# -- A text is read -----------------------------------------------------------


def test_a_megabyte_is_read_while_one_watches_and_becomes_a_chart(
    ada, demo, novel
):
    hand_in(ada, demo, novel)
    before = mark(ada)
    values, messages, titles = watch_all(ada)
    assert len(values) >= 3
    assert values == sorted(set(values)), "it went back"
    assert 0 <= values[0] <= values[-1] <= 100
    assert any(re.search("[0-9] words", message) for message in messages)
    assert any(re.match(r"\d+ % . novel.txt", title) for title in titles)
    wait_for_chart(ada)
    assert ada.title().startswith("novel.txt")
    assert ada.locator("svg .bar").count() == 12
    assert ada.get_by_role("progressbar").count() == 0
    assert ada.inner_text("#status") == "novel.txt: Done."
    assert mark(ada) == before, "the page was reloaded"
    ada.get_by_text("As a table").click()
    top = ada.get_by_role("row").nth(1).inner_text()
    assert top.startswith("the")


def test_a_reload_in_the_middle_goes_on_where_the_job_is(ada, demo, novel):
    hand_in(ada, demo, novel)
    reached = watch_bar(ada, 3)[-1]
    ada.reload()
    assert watch_bar(ada, 1)[0] >= reached
    watch_bar(ada, 2)
    wait_for_chart(ada)
    ada.reload()
    wait_for_chart(ada)
    ada.get_by_role("link", name="Your texts").click()
    first = ada.get_by_role("main").get_by_role("listitem").first
    assert "most often the" in first.inner_text()


def test_the_bar_has_a_name(ada, demo, novel):
    hand_in(ada, demo, novel)
    ada.get_by_role("progressbar", name="novel.txt").wait_for()
    press(ada, "Cancel")


def test_a_text_may_be_pasted(ada):
    ada.get_by_label("or a text, pasted here").fill("to be or not to be")
    ada.get_by_role("button", name="Analyse", exact=True).click()
    wait_for_chart(ada)
    assert ada.locator("svg.chart text").first.inner_html() == "to"


def test_an_outcome_is_shown_also_where_the_script_loads_slowly(ada, demo):
    def hold(route):
        while 'data-state="running"' in ada.request.get(ada.url).text():
            ada.wait_for_timeout(50)
        ada.wait_for_timeout(500)  # in which the element would have told it
        route.continue_()

    ada.route("**/live.js", hold)
    ada.get_by_label("or a text, pasted here").fill("to be " * 20_000)
    ada.get_by_role("button", name="Analyse", exact=True).click()
    wait_for_chart(ada)
    ada.unroute_all(behavior="wait")


# -- Several at once ----------------------------------------------------------


def test_several_texts_are_watched_in_one_request(
    ada, demo, novel, picture, tmp_path
):
    copies = [tmp_path / f"{name}.txt" for name in ("one", "two", "three")]
    for copy in copies:
        copy.write_bytes(novel.read_bytes()[:200_000])
    asked = []
    ada.on("request", lambda it: asked.append((it.method, it.url)))
    hand_in(ada, demo, *copies, picture)
    before = mark(ada)
    items = ada.get_by_role("main").get_by_role("listitem")
    assert items.locator("job-progress").count() >= 3
    ada.wait_for_function(
        """() => [...document.querySelectorAll("main li")].slice(0, 4).every(
          (item) => ["found", "failed"].includes(item.dataset.state))"""
    )
    names = items.get_by_role("heading").all_inner_texts()[:4]
    assert names == ["one.txt", "two.txt", "three.txt", "holiday.png"]
    for number in range(3):
        items.nth(number).get_by_text("most often the").wait_for()
    items.nth(3).get_by_text(NO_TEXT).wait_for()
    assert mark(ada) == before, "the page was reloaded"
    urls = [url for method, url in asked if method == "GET" and "/jobs" in url]
    polls = [url for url in urls if "/static/" not in url]
    assert polls[0].count("sid=") >= 3
    alone = ["sid=" not in url for url in polls]
    assert alone == sorted(alone), "only the last one is asked for alone"


def test_one_of_several_can_be_cancelled(ada, demo, novel):
    hand_in(ada, demo, novel, novel)
    items = ada.get_by_role("main").get_by_role("listitem")
    items.nth(1).get_by_role("button", name="Cancel").click()
    items.nth(1).locator(".buttons").get_by_text("Cancelled.").wait_for()
    assert items.nth(0).get_by_role("progressbar").is_visible()
    items.nth(0).get_by_text("most often the").wait_for()


def test_there_is_a_sample_for_who_has_no_text(ada):
    press(ada, "Analyse it in 4 parts")
    items = ada.get_by_role("main").get_by_role("listitem")
    items.nth(3).get_by_text("words, most often").wait_for()
    first = items.first.get_by_role("link")
    assert first.inner_text().endswith("part 1 of 4")


# -- Cancel -------------------------------------------------------------------


def test_a_cancelled_analysis_is_shown_and_can_be_made_again(ada, demo, novel):
    hand_in(ada, demo, novel)
    before = mark(ada)
    watch_bar(ada, 2)
    ada.get_by_role("button", name="Cancel").focus()
    ada.keyboard.press("Enter")
    ada.get_by_role("heading", name="The analysis was cancelled").wait_for()
    assert mark(ada) == before, "the page was reloaded"
    assert ada.inner_text("#status").startswith("novel.txt: ")
    again = ada.get_by_role("button", name="Analyse again")
    ada.wait_for_function("document.activeElement.tagName === 'BUTTON'")
    assert again.evaluate("it => it === document.activeElement")
    ada.keyboard.press("Enter")
    watch_bar(ada, 2)
    wait_for_chart(ada)


# -- Failures -----------------------------------------------------------------


def test_what_is_no_text_fails_for_good_with_a_message_for_people(
    ada, demo, picture
):
    hand_in(ada, demo, picture)
    message = ada.locator(".card.bad > p").get_by_text(NO_TEXT)
    message.wait_for()
    assert ada.get_by_role("button", name="Retry").count() == 0
    ada.reload()
    message.wait_for()


def test_a_failure_that_comes_while_one_watches_is_shown(
    ada, demo, novel, picture
):
    hand_in(ada, demo, novel, novel)
    ada.get_by_role("progressbar").nth(1).wait_for()
    hand_in(ada, demo, picture)
    message_of(ada).get_by_text("Waiting to begin.").wait_for()
    ada.locator(".card.bad").get_by_text(NO_TEXT).wait_for()
    assert NO_TEXT in ada.inner_text("#status")


def test_a_failed_analysis_succeeds_when_retried_with_what_it_lacked(
    ada, demo, novel
):
    have_list(ada, demo, installed=False)
    hand_in(ada, demo, novel, without_stop_words=True)
    failed = ada.locator(".card.bad > p")
    failed.get_by_text(NO_LIST).wait_for()
    press(ada, "Retry")  # to no avail yet, for nothing has changed
    ada.wait_for_function(
        "document.querySelector('job-progress').state === 'failed'"
    )
    failed.get_by_text(NO_LIST).wait_for()

    press(ada, "Install the English list")
    failed.get_by_text("Now there is one: try again.").wait_for()
    before = mark(ada)
    press(ada, "Retry")
    watch_bar(ada, 2)
    assert not failed.is_visible(), "it is no news while it is tried again"
    wait_for_chart(ada)
    ada.get_by_text("stop words are left out").wait_for()
    assert mark(ada) == before, "the page was reloaded"
    words = ada.locator("svg.chart text").all_inner_texts()
    assert "the" not in words
    have_list(ada, demo, installed=False)


def test_a_failure_in_the_list_can_be_retried_there(ada, demo, tmp_path):
    poem = tmp_path / "poem.txt"
    poem.write_text("the tiger and the bright tiger")
    have_list(ada, demo, installed=False)
    hand_in(ada, demo, poem, poem, without_stop_words=True)
    first = ada.get_by_role("main").get_by_role("listitem").first
    message_of(first).get_by_text(NO_LIST).wait_for()
    have_list(ada, demo, installed=True)
    ada.goto(f"{demo}/texts")
    first.get_by_role("button", name="Retry").click()
    first.get_by_text("most often tiger, bright").wait_for()
    have_list(ada, demo, installed=False)


# -- Two people ---------------------------------------------------------------


def test_two_people_do_not_see_each_others_texts_and_jobs(
    browser, ada, demo, novel
):
    hand_in(ada, demo, novel)
    ada.get_by_role("progressbar").wait_for()
    job = ada.locator("job-progress").get_attribute("src")
    context = browser.new_context()
    grace = context.new_page()
    log_in(grace, demo, "Grace")
    for url in [ada.url, f"{demo}{job}"]:
        assert grace.goto(url).status == 404
    grace.goto(f"{demo}/texts")
    assert grace.get_by_text("novel.txt").count() == 0
    token = grace.locator("meta[name=csrf-token]").get_attribute("content")
    answer = grace.request.delete(
        f"{demo}{job}", headers={"X-CSRF-Token": token}
    )
    assert answer.status == 404
    context.close()
    wait_for_chart(ada)


def test_a_visitor_can_try_what_somebody_else_would_see(ada, demo, picture):
    hand_in(ada, demo, picture)
    url = ada.url
    press(ada, "Open this page as Grace")
    ada.get_by_role("heading", name="Not found").wait_for()
    assert ada.url == url
    ada.get_by_text("You are Grace.", exact=False).last.wait_for()
    press(ada, "Open this page as Ada")
    ada.get_by_role("heading", name="holiday.png").wait_for()


def test_a_page_whose_user_is_another_by_now_says_so(ada, demo, novel):
    hand_in(ada, demo, novel)
    watch_bar(ada, 1)
    other_tab = ada.context.new_page()
    log_in(other_tab, demo, "Grace")
    ada.get_by_role("heading", name="Not found").wait_for()
    other_tab.close()


# -- The server stops ---------------------------------------------------------


def test_a_restart_of_the_server_in_the_middle_finishes_the_analysis(
    page, make_server, novel
):
    """The open page shows it, without a reload and without a click."""
    server = make_server()
    log_in(page, server.url)
    hand_in(page, server.url, novel)
    before = mark(page)
    watch_bar(page, 2)
    server.kill()
    server.start()
    wait_for_chart(page)
    assert mark(page) == before, "the page was reloaded"


def test_an_analysis_that_was_lost_is_made_again_by_a_button(
    page, make_server, novel
):
    server = make_server(zodb_async__scheduler="memory")
    log_in(page, server.url)
    hand_in(page, server.url, novel)
    watch_bar(page, 2)
    server.kill()
    server.start()
    page.get_by_role("heading", name="This text is not analysed").wait_for()
    press(page, "Analyse again")
    watch_bar(page, 2)
    wait_for_chart(page)


# -- The experiment -----------------------------------------------------------


def test_a_job_whose_request_aborts_does_not_run(ada, demo):
    counter = ada.get_by_label("The counter")
    before = int(counter.inner_text())
    press(ada, "Schedule and commit")
    ada.get_by_text("The job ran, after the commit.").wait_for()
    wait_for_text(counter, str(before + 1))
    ada.reload()
    ada.get_by_text("The job ran, after the commit.").wait_for()
    press(ada, "Schedule and abort")
    ada.get_by_text("Nothing ran. Asked again for a second").wait_for()
    wait_for_text(counter, str(before + 1))
    ada.goto(demo)
    assert counter.inner_text() == str(before + 1)


def wait_for_text(locator, text):
    locator.filter(has_text=re.compile(f"^{text}$")).wait_for()


# -- The form -----------------------------------------------------------------


def test_nothing_handed_in_is_told_in_the_form(ada):
    ada.get_by_role("button", name="Analyse", exact=True).click()
    alert = ada.locator("form").get_by_role("alert")
    assert "nothing to analyse" in alert.inner_text()


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ([10_000_001], "This file is too large."),
        ([6_000_000, 6_000_000], "Together, these files are too large."),
        ([1] * 21, "Choose up to 20 files at once."),
        ([1, 0], "“1.txt” is empty."),
    ],
)
def test_files_that_cannot_do_are_told_before_they_are_sent(
    ada, demo, tmp_path, sizes, says
):
    paths = [tmp_path / f"{number}.txt" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"a" * size)
    field = ada.get_by_label("Files")
    field.set_input_files(paths)
    ada.get_by_role("button", name="Analyse", exact=True).click()
    assert field.evaluate("it => it.validationMessage") == says
    assert ada.url.rstrip("/") == demo


# -- Programs -----------------------------------------------------------------


def test_the_commands_for_programs_do_what_they_say(ada, tmp_path):
    if not shutil.which("curl"):
        missing("there is no curl: apt-get install curl")
    commands = "\n".join(ada.locator("pre").all_inner_texts())
    # zsh, which macOS has, takes them for commands when they are pasted
    assert "#" not in commands
    done = subprocess.run(
        ["/bin/sh", "-ec", commands],
        cwd=tmp_path,  # where there is nothing yet
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    decoder = json.JSONDecoder()
    documents, rest = [], done.stdout.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        documents.append(document)
        rest = rest[end:].strip()
    states = [document["state"] for document in documents]
    assert states[0] == "pending"
    assert states[1] in {"pending", "running"}
    # what was cancelled has not failed, so the retry is refused
    assert states[2:] == ["cancelled", "cancelled"]
    assert len({document["sid"] for document in documents}) == 1
    # the prompt comes in a line of its own
    assert len(done.stdout.splitlines()) == 4


# -- By token -----------------------------------------------------------------


def test_a_job_is_followed_by_tokens_that_soon_expire(browser, make_server):
    server = make_server(text_analyser__token_seconds=2)
    context = browser.new_context()
    page = context.new_page()
    log_in(page, server.url)
    page.get_by_role("link", name="A page without a cookie").click()
    asked = []

    def note(request):
        asked.append(request)

    page.on("request", note)
    press(page, "Analyse by token")
    message = page.locator("#by-token > [role=status]")
    wait_for_text(message, "The most frequent word is “tiger”: .*")
    assert int(page.locator("#taken").inner_text()) >= 2
    cookies = {
        "cookie" in request.all_headers()
        for request in asked
        if re.search("/jobs/|/texts", request.url)
    }

    assert cookies == {False}
    context.close()


def test_a_job_by_token_can_be_cancelled(ada, demo):
    ada.goto(f"{demo}/by-token")
    press(ada, "Analyse by token")
    wait_for_text(message_of(ada), ".* words")
    press(ada, "Cancel")
    wait_for_text(message_of(ada), "Cancelled.")

    assert ada.get_by_role("button", name="Analyse by token").is_visible()


def test_a_login_that_ends_elsewhere_ends_the_tokens(browser, make_server):
    server = make_server(text_analyser__token_seconds=2)
    context = browser.new_context()
    page, other = context.new_page(), context.new_page()
    log_in(page, server.url)
    page.goto(f"{server.url}/by-token")
    press(page, "Analyse by token")
    message = message_of(page)
    wait_for_text(message, ".* words")
    other.goto(server.url)
    press(other, "Log out")
    wait_for_text(message, "Your login has ended.")
    context.close()


# -- Without JavaScript -------------------------------------------------------


@pytest.fixture
def open_plain(browser):
    """Open pages without JavaScript, on which Grace is logged in."""
    contexts = []

    def open_page(url):
        contexts.append(browser.new_context(java_script_enabled=False))
        page = contexts[-1].new_page()
        log_in(page, url, "Grace")
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def plain(open_plain, demo):
    """Give a page of the demo that works without JavaScript."""
    return open_plain(demo)


def test_it_works_without_javascript(plain, demo, novel):
    hand_in(plain, demo, novel)
    plain.get_by_role("progressbar", name="novel.txt").wait_for()
    assert plain.locator("noscript p").is_visible()
    wait_for_chart(plain)  # it has reloaded itself by then


def test_the_list_works_without_javascript(plain, demo, novel, picture):
    hand_in(plain, demo, novel, picture)
    items = plain.get_by_role("main").get_by_role("listitem")
    assert items.first.get_by_role("progressbar").is_visible()
    items.first.get_by_text("most often the").wait_for()
    items.nth(1).get_by_text(NO_TEXT).wait_for()


def test_an_analysis_is_cancelled_without_javascript(plain, demo, novel):
    hand_in(plain, demo, novel)
    press(plain, "Cancel")
    plain.get_by_role("heading", name="The analysis was cancelled").wait_for()
    press(plain, "Analyse again")
    plain.get_by_role("progressbar").wait_for()
    press(plain, "Cancel")


def test_an_analysis_is_retried_without_javascript(plain, demo, tmp_path):
    poem = tmp_path / "poem.txt"
    poem.write_text("the tiger and the bright tiger")
    have_list(plain, demo, installed=False)
    hand_in(plain, demo, poem, without_stop_words=True)
    plain.locator(".card.bad > p").get_by_text(NO_LIST).wait_for()
    press(plain, "Install the English list")
    press(plain, "Retry")
    wait_for_chart(plain)
    have_list(plain, demo, installed=False)


def test_the_experiment_works_without_javascript(plain):
    press(plain, "Schedule and commit")
    plain.get_by_text("The job succeeded.").wait_for()
    press(plain, "Schedule and abort")
    plain.get_by_text("Nothing ran: there is no such job.").wait_for()


def test_the_experiment_is_followed_without_javascript_until_its_turn(
    open_plain, make_server, novel
):
    url = make_server(zodb_async__workers=1).url
    plain = open_plain(url)
    hand_in(plain, url, novel)
    plain.goto(url)
    press(plain, "Schedule and commit")
    outcome = plain.locator("#outcome")
    outcome.get_by_text("The job is on its way.").wait_for()
    outcome.get_by_text("The job succeeded.").wait_for()
    assert outcome.evaluate(IS_IN_VIEW), "the page has gone back to its top"


# -- Looks --------------------------------------------------------------------


@pytest.mark.parametrize("width", [320, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_screen_fits_and_can_be_used_by_everybody(
    browser, make_server, novel, picture, width, colours, tmp_path
):
    server = make_server(text_analyser__seconds_per_megabyte=20)
    url = server.url
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme=colours,
        reduced_motion="reduce",  # colours of a moment count as well
    )
    page = context.new_page()
    page.goto(url)
    check_looks(page)
    log_in(page, url)
    check_looks(page)
    page.goto(f"{url}/texts")
    check_looks(page)
    page.goto(f"{url}/by-token")
    press(page, "Analyse by token")
    page.get_by_role("button", name="Cancel").wait_for()
    check_looks(page)
    press(page, "Cancel")

    page.goto(url)
    page.get_by_role("button", name="Analyse", exact=True).click()
    page.get_by_role("alert").wait_for()
    check_looks(page)
    page.get_by_label("or a text").fill("Donaudampfschifffahrt" * 40)
    page.get_by_role("button", name="Analyse", exact=True).click()
    wait_for_chart(page)
    page.get_by_text("As a table").click()
    check_looks(page)

    hand_in(page, url, novel)
    watch_bar(page, 1)
    check_looks(page)
    press(page, "Cancel")
    page.get_by_role("button", name="Analyse again").wait_for()
    check_looks(page)

    long_name = tmp_path / f"{'a-long-name' * 15}.txt"
    long_name.write_text("to be or not to be")
    hand_in(page, url, long_name, without_stop_words=True)
    page.locator(".card.bad > p").get_by_text(NO_LIST).wait_for()
    page.get_by_role("button", name="Retry").wait_for()
    check_looks(page)
    hand_in(page, url, picture)
    page.locator(".card.bad").get_by_text(NO_TEXT).wait_for()
    check_looks(page)
    hand_in(page, url, novel, novel, novel)
    page.get_by_role("button", name="Cancel").nth(2).wait_for()
    watch_bar(page, 1)
    check_looks(page)

    page.get_by_role("link", name="holiday.png").first.click()
    press(page, "Open this page as Grace")
    page.get_by_role("heading", name="Not found").wait_for()
    check_looks(page)
    context.close()


def check_looks(page):
    """Nothing sticks out to the side, and axe finds nothing."""
    assert page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
    )
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
