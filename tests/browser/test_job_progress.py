"""The element in a browser, on pages of a real server."""

import itertools
import urllib.parse

import pytest
from axe_playwright_python.sync_playwright import Axe
from client_server import ClientServer
from shown_element import Element, listen

#: The widths of a telephone and of a desk.
WIDTHS = [360, 1280]


def test_it_shows_how_far_a_job_is_and_that_it_is_done(show, server, gate):
    element = show(server.schedule("walk", gate, 4), label="Best sellers")
    element.wait_for_state("running")
    assert "aria-valuenow" not in element.attributes
    assert element.message == "Working."
    server.open(f"{gate}1")
    element.wait_for_value(25)
    assert element.message == "Step 1"
    assert element.part("figures").inner_text() == "25%"
    width = element.part("fill").evaluate("fill => fill.style.inlineSize")
    assert width == "25%"
    assert element.attributes["aria-label"] == "Best sellers"
    assert element.attributes["aria-valuetext"] == "25% Step 1"
    assert element.attributes["aria-valuemin"] == "0"
    assert element.attributes["aria-valuemax"] == "100"
    server.open(f"{gate}2", f"{gate}3", f"{gate}4", f"{gate}end")
    element.wait_for_state("succeeded")
    assert element.message == "Done."
    assert element.attributes["aria-valuenow"] == "100"
    assert element.button("Cancel").count() == 0


def test_a_reload_shows_at_once_where_the_job_is(show, page, server, gate):
    sid = server.schedule("walk", gate, 4)
    server.open(f"{gate}1", f"{gate}2")
    element = show(sid)
    element.wait_for_value(50)
    page.reload()
    # sooner than a request that waits for news is over
    page.locator("job-progress [aria-valuenow='50']").wait_for(timeout=9000)
    server.open(f"{gate}3", f"{gate}4", f"{gate}end")
    element.wait_for_state("succeeded")
    page.reload()
    element.wait_for_state("succeeded")
    assert server.look(sid)["result"] == 4, "it was not kept"


def test_one_that_forgets_acknowledges_the_result(show, server):
    sid = server.schedule("add", 1)
    show(sid, forget="").wait_for_state("succeeded")
    server.wait_for(sid, None)


def test_a_job_without_a_total_is_shown_as_busy(show, server, gate):
    server.open(f"{gate}1")
    element = show(server.schedule("wander", gate))
    element.wait_for_state("running")
    element.page.wait_for_function(
        """() => document.querySelector("job-progress").shadowRoot
          .querySelector("[part=figures]").textContent === "1" """
    )
    assert "aria-valuenow" not in element.attributes
    assert element.attributes["aria-valuetext"] == "1 Working."
    assert "busy" in element.part("fill").get_attribute("class")
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (29, 100, 29),
        (57, 100, 57),
        (0.29, 1, 29),
        (1.1, 110, 1),
        (199, 200, 99),
        (1e12 - 1, 1e12, 99),
        (3, 3, 100),
        (4, 3, 100),
        (0, 3, 0),
    ],
)
def test_a_part_is_shown_in_whole_percent_that_are_done(
    show, server, gate, done, total, shown
):
    element = show(server.schedule("stand", gate, done, total))
    element.wait_for_value(shown)
    assert element.part("figures").inner_text() == f"{shown}%"
    server.open(gate)
    element.wait_for_state("succeeded")


def test_a_job_that_waits_does_not_look_as_if_it_ran(show, server):
    element = show(server.schedule("add", 1, delay=3600))
    element.wait_for_state("pending")
    assert element.message == "Waiting to begin."
    fill = element.part("fill")
    assert fill.evaluate("fill => fill.getAnimations().length") == 0
    assert fill.bounding_box()["width"] == 0
    assert "aria-valuenow" not in element.attributes
    element.button("Cancel").click()
    element.wait_for_state("cancelled")


def test_before_any_news_nothing_looks_as_if_it_ran(show, page):
    page.route("**/jobs/slow", lambda route: None)
    element = show("slow")
    element.part("bar").wait_for()
    fill = element.part("fill")
    assert fill.evaluate("fill => fill.getAnimations().length") == 0


def test_the_bar_of_a_job_begins_at_nothing(show, server, gate):
    element = show(server.schedule("walk", gate, 4))
    element.wait_for_state("running")
    element.page.evaluate(
        """() => {
          const { shadowRoot } = document.querySelector("job-progress");
          const fill = shadowRoot.querySelector("[part=fill]");
          const look = () => {
            if (!fill.classList.contains("busy")) {
              const { width } = fill.getBoundingClientRect();
              widths.push(width / fill.parentElement.clientWidth);
            }
            requestAnimationFrame(look);
          };
          window.widths = [];
          look();
        }"""
    )
    server.open(f"{gate}1")
    element.page.wait_for_function("() => widths.at(-1) === 0.25")
    widths = element.page.evaluate("widths")
    assert widths == sorted(widths)
    server.open(f"{gate}2", f"{gate}3", f"{gate}4", f"{gate}end")


def test_the_page_hears_of_news_and_once_of_the_outcome(
    show, page, server, gate
):
    element = show()
    listen(page)
    sid = server.schedule("walk", gate, 1)
    page.evaluate(
        """(src) => {
          const element = document.createElement("job-progress");
          element.setAttribute("src", src);
          document.querySelector("main").append(element);
        }""",
        f"/jobs/{sid}",
    )
    element.wait_for_state("running")
    server.open(f"{gate}1")
    element.wait_for_value(100)
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")
    *news, outcome = page.evaluate("told")
    assert {event["type"] for event in news} == {"job-progress"}
    assert [event["done"] for event in news][-2:] == [False, True]
    assert all(event["composed"] for event in [*news, outcome])
    assert outcome["type"] == "job-outcome"
    assert outcome["state"] == "succeeded"
    assert outcome["result"] == 1
    assert outcome["error"] is None
    assert outcome["document"]["sid"] == sid


def test_cancel_cancels_and_the_focus_is_not_lost(show, page, server, gate):
    sid = server.schedule("walk", gate, 1)
    element = show(sid)
    element.button("Cancel").focus()
    page.keyboard.press("Enter")
    element.wait_for_state("cancelled")
    assert element.message == "Cancelled."
    assert server.look(sid)["state"] == "cancelled"
    assert element.button("Cancel").count() == 0
    focused = "document.activeElement.shadowRoot.activeElement.part.value"
    assert page.evaluate(focused) == "message"


def test_a_cancel_that_is_refused_is_told_and_the_job_goes_on(
    show, page, server, gate
):
    element = show(server.schedule("walk", gate, 1))
    problem = '{"title": "Forbidden", "detail": "Not yours to stop."}'
    page.route(
        "**/jobs/*",
        lambda route: (
            route.fulfill(status=403, body=problem)
            if route.request.method == "DELETE"
            else route.continue_()
        ),
    )
    element.button("Cancel").click()
    page.get_by_text("Not yours to stop.").first.wait_for()
    assert element.button("Cancel").get_attribute("aria-disabled") == "false"
    server.open(f"{gate}1", f"{gate}end")
    element.wait_for_state("succeeded")


def test_a_job_that_failed_is_tried_again(show, page, server, gate):
    element = show(server.schedule("fail", gate))
    listen(page)
    element.wait_for_state("failed")
    assert element.message == "The gate is shut."
    server.open(gate)
    element.button("Try again").click()
    element.wait_for_state("succeeded")
    assert element.button("Try again").count() == 0
    outcome = page.evaluate("told.at(-1)")
    assert (outcome["type"], outcome["result"]) == ("job-outcome", "open")


def hear(page):
    """Have the page keep what a screen reader is told."""
    page.evaluate(
        """() => {
          const status = document.querySelector("job-progress").shadowRoot
            .querySelector("[role=status]");
          window.said = [status.textContent];
          new MutationObserver(() => said.push(status.textContent))
            .observe(status, { childList: true });
        }"""
    )


def test_a_job_that_fails_again_says_so(show, page, server, gate):
    element = show(server.schedule("fail", gate))
    element.wait_for_state("failed")
    hear(page)
    listen(page)
    for outcomes in (1, 2):
        element.button("Try again").click()
        page.wait_for_function(
            """(outcomes) => outcomes ===
              told.filter(({ type }) => type === "job-outcome").length""",
            arg=outcomes,
        )
        assert element.message == "It failed again. The gate is shut."
    said = page.evaluate("said")
    assert said.count("It failed again. The gate is shut.") == 2
    assert all(one != other for one, other in itertools.pairwise(said))
    server.open(gate)
    element.button("Try again").click()
    element.wait_for_state("succeeded")
    assert element.message == "Done."


def test_what_fails_again_is_said_in_other_words(show, page, server, gate):
    element = show(
        server.schedule("fail", gate),
        text_again="Wieder nicht.",
        text_retry="Nochmals",
    )
    element.wait_for_state("failed")
    assert element.message == "The gate is shut."
    element.button("Nochmals").click()
    page.get_by_text("Wieder nicht. The gate is shut.").first.wait_for()


def test_an_error_that_is_none_for_people_is_not_shown(show, server):
    element = show(server.schedule("break_down"))
    element.wait_for_state("failed")
    assert element.message == "The job failed"


def test_readonly_has_no_buttons(show, server, gate):
    element = show(server.schedule("fail", gate), readonly="")
    element.wait_for_state("failed")
    assert element.page.get_by_role("button").count() == 0


def test_an_unknown_job_is_told_of(show, page):
    element = show("nowhere")
    element.wait_for_state("unknown")
    assert element.message == (
        "This job is not known, or no longer, or not yours."
    )
    assert page.get_by_role("button").count() == 0


def test_who_may_not_look_is_told_so(show, page):
    page.route("**/jobs/secret", lambda route: route.fulfill(status=403))
    element = show("secret")
    element.wait_for_state("denied")
    assert element.message == "You have no access to this job."
    page.unroute("**/jobs/secret")  # after a log-in in another tab
    element.button("Try again").click()
    element.wait_for_state("unknown")


def test_a_url_that_is_none_is_an_error(show):
    element = show()
    element.page.evaluate(
        """() => {
          const element = document.createElement("job-progress");
          element.setAttribute("src", "http://[");
          document.querySelector("main").append(element);
        }"""
    )
    element.wait_for_state("error")
    assert "URL" in element.message


def test_the_page_goes_on_when_the_job_has_succeeded(show, page, server, gate):
    show()
    element = show(server.schedule("walk", gate, 0), next="/page?label=next")
    element.wait_for_state("running")
    server.open(f"{gate}end")
    page.wait_for_url("**/page?label=next")
    page.go_back()
    page.wait_for_url("**/page?")  # not to the element, which would go on


def test_the_page_does_not_go_on_from_a_failure(show, page, server, gate):
    element = show(server.schedule("fail", gate), next="/page?label=next")
    element.wait_for_state("failed")
    assert "label=next" not in page.url


def test_a_listener_may_keep_the_page_from_going_on(show, page, server, gate):
    element = show(server.schedule("walk", gate, 0), next="/page?label=next")
    page.evaluate(
        """() => document.addEventListener("job-outcome", (event) =>
          event.preventDefault())"""
    )
    element.wait_for_state("running")
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")
    assert "label" not in page.url.replace("next=%2Fpage%3Flabel", "")


def test_it_goes_nowhere_that_is_no_page(show, page, server):
    element = show(server.schedule("add", 1), next="javascript:alert(1)")
    element.wait_for_state("succeeded")
    assert element.message == "Done."


def test_to_leave_the_page_is_not_to_cancel(show, page, server, gate):
    sid = server.schedule("walk", gate, 0)
    element = show(sid)
    element.wait_for_state("running")
    page.evaluate(
        """() => {
          window.kept = document.querySelector("job-progress");
          kept.remove();
        }"""
    )
    server.open(f"{gate}end")
    server.wait_for(sid, "succeeded")
    assert page.evaluate("kept.state") == "running", "it listened"
    page.evaluate("document.querySelector('main').append(kept)")
    element.wait_for_state("succeeded")


MOVE = """(src) => {
  const element = document.querySelector("job-progress");
  element.remove();
  element.src = src;
  document.querySelector("main").append(element);
  const bar = element.shadowRoot.querySelector("[part=bar]");
  return [element.state ?? null, bar.ariaValueNow];
}"""


def test_one_that_is_moved_goes_on_from_what_it_shows(
    show, page, server, gate
):
    server.open(f"{gate}1")
    sid = server.schedule("walk", gate, 4)
    element = show(sid)
    element.wait_for_value(25)
    assert page.evaluate(MOVE, f"/jobs/{sid}") == ["running", "25"]
    server.open(f"{gate}2")
    element.wait_for_value(50)
    other = server.schedule("add", 1)
    assert page.evaluate(MOVE, f"/jobs/{other}") == [None, None]
    element.wait_for_state("succeeded")
    assert page.evaluate(MOVE, f"/jobs/{other}") == ["succeeded", "100"]
    assert page.evaluate(MOVE, f"/jobs/{sid}") == [None, None]
    element.wait_for_value(50)
    server.open(f"{gate}3", f"{gate}4", f"{gate}end")
    element.wait_for_state("succeeded")


def test_another_src_is_another_job(show, page, server, gate):
    element = show(server.schedule("wander", f"{gate}other"))
    element.wait_for_state("running")
    server.open(f"{gate}1")
    sid = server.schedule("walk", gate, 2)
    page.evaluate(
        "src => document.querySelector('job-progress')"
        ".setAttribute('src', src)",
        f"/jobs/{sid}",
    )
    element.wait_for_value(50)
    assert element.message == "Step 1"
    page.evaluate(
        "document.querySelector('job-progress').removeAttribute('src')"
    )
    element.host.wait_for(state="hidden")


def test_its_words_can_be_others(show, page, server, gate):
    element = show(
        server.schedule("walk", gate, 0),
        text_running="Läuft.",
        text_cancel="Abbrechen",
        text_cancelled="Abgebrochen.",
        text_label="Fortschritt",
    )
    element.wait_for_state("running")
    assert element.message == "Läuft."
    assert element.attributes["aria-label"] == "Fortschritt"
    element.button("Abbrechen").click()
    element.wait_for_state("cancelled")
    assert element.message == "Abgebrochen."


def test_a_slot_replaces_what_a_button_shows(show, page, server, gate):
    element = show(server.schedule("walk", gate, 0))
    page.evaluate(
        """() => {
          const stop = document.createElement("b");
          stop.slot = "cancel";
          stop.textContent = "Stop it";
          document.querySelector("job-progress").append(stop);
        }"""
    )
    element.button("Stop it").click()
    element.wait_for_state("cancelled")


def test_screen_readers_hear_start_quarters_and_end(show, page, server, gate):
    sid = server.schedule("walk", gate, 12)
    element = show(sid, label="Report")
    element.wait_for_state("running")
    hear(page)
    for step in range(1, 13):
        server.open(f"{gate}{step}")
        element.wait_for_value(100 * step // 12)
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")
    assert page.evaluate("said") == [
        "Report: Working.",
        "Report: 25%",
        "Report: 50%",
        "Report: 75%",
        "Report: 100%",
        "Report: Done.",
    ]


def test_without_javascript_the_fallback_is_there(browser, server):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sid = server.schedule("add", 1)
    page.goto(f"{server.url}/page?sid={sid}")
    page.get_by_text("done in the background").wait_for()
    assert page.get_by_role("link").count() == 0
    page.goto(f"{server.url}/page?sid={sid}&next=/page?label=next")
    page.get_by_role("link", name="Look for the result").click()
    page.wait_for_url("**/page?label=next")
    page.get_by_role("heading", name="A job").wait_for()
    context.close()


def test_parts_and_properties_style_it(show, page, server):
    element = show(server.schedule("add", 1))
    element.wait_for_state("succeeded")
    # the style sheet of a page, which its policy would not let in otherwise
    page.evaluate(
        """() => {
          const sheet = new CSSStyleSheet();
          sheet.replaceSync(`
            job-progress {
              --job-progress-succeeded: rgb(1, 2, 3);
              --job-progress-height: 30px;
            }
            job-progress[state=succeeded]::part(message) { color: #040506 }
          `);
          document.adoptedStyleSheets = [sheet];
        }"""
    )
    style = "(part, name) => getComputedStyle(part)[name]"
    fill = element.part("fill")
    fill.evaluate(
        "fill => Promise.all(fill.getAnimations().map(a => a.finished))"
    )
    color = fill.evaluate("part => getComputedStyle(part).backgroundColor")
    assert color == "rgb(1, 2, 3)"
    assert element.bar.bounding_box()["height"] == 30
    message = element.part("message")
    assert message.evaluate(f"part => ({style})(part, 'color')") == (
        "rgb(4, 5, 6)"
    )


def test_paper_has_the_bar_and_no_buttons(show, page, server, gate):
    element = show(server.schedule("stand", gate, 1, 2))
    element.wait_for_value(50)
    adjust = "part => getComputedStyle(part).printColorAdjust"
    assert element.button("Cancel").is_visible()
    page.emulate_media(media="print")

    assert not element.button("Cancel").is_visible()
    assert element.bar.evaluate(adjust) == "exact"
    assert element.part("fill").evaluate(adjust) == "exact"
    server.open(gate)


def test_a_label_of_one_long_word_makes_no_page_wider(show, page, server):
    page.set_viewport_size({"width": 360, "height": 640})
    element = show(server.schedule("add", 1), label="Stock" * 40)
    element.wait_for_state("succeeded")

    assert page.evaluate("document.scrollingElement.scrollWidth") == 360


def test_who_wants_no_motion_gets_none(browser, server, gate):
    context = browser.new_context(reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{server.url}/page?sid={server.schedule('walk', gate, 0)}")
    Element(page).wait_for_state("running")
    assert page.evaluate("document.getAnimations().length") == 0
    assert (
        Element(page)
        .part("fill")
        .evaluate("fill => fill.getAnimations().length")
        == 0
    )
    server.open(f"{gate}end")
    context.close()


def test_the_token_goes_with_its_changes(page, tmp_path, gate):
    server = ClientServer(tmp_path, csrf="X-Shop-Token")
    server.start()
    try:
        sid = server.schedule("walk", gate, 0)
        page.goto(f"{server.url}/page?sid={sid}")
        element = Element(page)
        element.button("Cancel").click()
        element.wait_for_state("cancelled")
    finally:
        server.kill()


def test_it_survives_a_restart_of_the_server(page, tmp_path, gate):
    server = ClientServer(tmp_path)
    server.start()
    try:
        sid = server.schedule("walk", gate, 2)
        page.goto(f"{server.url}/page?sid={sid}")
        element = Element(page)
        server.open(f"{gate}1")
        element.wait_for_value(50)
        server.kill()
        server.start()
        server.open(f"{gate}2", f"{gate}end")
        element.wait_for_state("succeeded")
    finally:
        server.kill()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_in_any_state(browser, server, gate, scheme, width):
    server.open(f"{gate}1", f"{gate}2")
    cancelled = server.schedule("walk", f"{gate}c", 1)
    sids = {
        "running": server.schedule("walk", gate, 4),
        "succeeded": server.schedule("add", 1),
        "failed": server.schedule("fail", f"{gate}f"),
        "cancelled": cancelled,
        "unknown": "nowhere",
    }
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    page = context.new_page()
    page.goto(f"{server.url}/page?sid={cancelled}")
    Element(page).button("Cancel").click()
    query = urllib.parse.urlencode(
        [("label", "Best sellers"), *(("sid", sid) for sid in sids.values())]
    )
    page.goto(f"{server.url}/page?{query}")
    for state in sids:
        Element(page).wait_for_state(state)
    page.locator("job-progress [aria-valuenow='50']").wait_for()
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")

    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    overflow = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(overflow)
    server.open(f"{gate}3", f"{gate}4", f"{gate}end")
    context.close()
