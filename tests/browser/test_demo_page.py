"""The text analyser in a browser, served by pserve on a FileStorage."""

import re

import pytest

NO_TEXT = "“holiday.png” cannot be read as text."


def hand_in(page, url, path):
    """Choose a file in the form, press the button, and get to its page."""
    page.goto(url)
    page.get_by_label("A file").set_input_files(path)
    page.get_by_role("button", name="Analyse").click()
    page.wait_for_url("**/texts/*")


def watch_bar(page, values):
    """Wait until the bar has shown so many different values; give them."""
    page.wait_for_function(
        """(wanted) => {
          window.bars ??= [];
          const value = document.querySelector("progress[value]")?.value;
          if (value !== undefined && value !== window.bars.at(-1)) {
            window.bars.push(value);
          }
          return window.bars.length >= wanted;
        }""",
        arg=values,
    )
    return page.evaluate("window.bars")


def wait_for_chart(page):
    page.get_by_role("img", name="The most frequent words").wait_for()


def test_a_megabyte_is_read_while_one_watches_and_becomes_a_chart(
    page, demo, novel
):
    hand_in(page, demo, novel)
    before = page.evaluate("window.mark = performance.timeOrigin")
    values = watch_bar(page, 4)
    assert values == sorted(set(values)), "it went back"
    assert 0 <= values[0] <= values[-1] <= 1
    assert "words so far" in page.inner_text("#message")
    assert re.match(r"\d+ % . novel.txt", page.title())
    wait_for_chart(page)
    assert page.title().startswith("novel.txt")
    assert page.locator("svg .bar").count() == 12
    assert page.locator("progress").count() == 0
    assert page.inner_text("#status").startswith("Done. The most frequent")
    assert page.evaluate("window.mark") == before, "the page was reloaded"
    page.get_by_text("As a table").click()
    top = page.get_by_role("row").nth(1).inner_text()
    assert top.startswith("the")


def test_a_reload_in_the_middle_goes_on_where_the_job_is(page, demo, novel):
    hand_in(page, demo, novel)
    reached = watch_bar(page, 3)[-1]
    page.reload()
    assert watch_bar(page, 1)[0] >= reached
    watch_bar(page, 2)
    wait_for_chart(page)
    page.reload()
    wait_for_chart(page)
    page.get_by_role("link", name="All texts").click()
    assert "most often the" in page.get_by_role("listitem").first.inner_text()


def test_screen_readers_hear_of_the_progress_but_seldom(page, demo, novel):
    hand_in(page, demo, novel)
    page.evaluate(
        """() => {
          window.said = [];
          const status = document.querySelector("[role=status]");
          const listen = () => window.said.push(status.textContent);
          new MutationObserver(listen).observe(status, { childList: true });
        }"""
    )
    assert page.get_by_role("progressbar", name="Being read").is_visible()
    wait_for_chart(page)
    said = page.evaluate("window.said")
    assert 1 <= len(said) <= 6
    assert said[-1].startswith("Done.")


def test_a_picture_fails_with_a_message_for_people(page, demo, picture):
    hand_in(page, demo, picture)
    message = page.locator("#analysis").get_by_text(NO_TEXT)
    message.wait_for()
    page.reload()
    message.wait_for()


def test_a_failure_that_comes_while_one_watches_is_shown(
    page, demo, novel, picture
):
    for _worker in range(2):
        page.request.post(
            f"{demo}/texts",
            multipart={
                "file": {
                    "name": novel.name,
                    "mimeType": "text/plain",
                    "buffer": novel.read_bytes(),
                }
            },
        )
    hand_in(page, demo, picture)
    assert page.inner_text("#message") == "Waiting for its turn"
    message = page.locator("#analysis").get_by_text(NO_TEXT)
    message.wait_for()
    assert page.inner_text("#status") == message.inner_text()


def test_a_restart_of_the_server_in_the_middle_finishes_the_analysis(
    page, make_server, novel
):
    """The open page shows it, without a reload and without a click."""
    server = make_server()
    hand_in(page, server.url, novel)
    mark = page.evaluate("window.mark = performance.timeOrigin")
    watch_bar(page, 2)
    server.kill()
    server.start()
    wait_for_chart(page)
    assert page.evaluate("window.mark") == mark, "the page was reloaded"


def test_an_analysis_that_was_lost_is_made_again_by_a_button(
    page, make_server, novel
):
    server = make_server(zodb_async__scheduler="memory")
    hand_in(page, server.url, novel)
    watch_bar(page, 2)
    server.kill()
    server.start()
    page.get_by_role("heading", name="The analysis was lost").wait_for()
    page.get_by_role("button", name="Analyse it again").click()
    watch_bar(page, 2)
    wait_for_chart(page)


def test_a_job_whose_request_aborts_does_not_run(page, demo):
    page.goto(demo)
    counter = page.get_by_label("The counter")
    before = int(counter.inner_text())
    page.get_by_role("button", name="Schedule and commit").click()
    page.get_by_text("The job ran, after the commit.").wait_for()
    wait_for_text(counter, str(before + 1))
    page.get_by_role("button", name="Schedule and abort").click()
    page.get_by_text("Nothing ran. Asked again for a second").wait_for()
    wait_for_text(counter, str(before + 1))
    page.goto(demo)
    assert counter.inner_text() == str(before + 1)


def wait_for_text(locator, text):
    locator.filter(has_text=re.compile(f"^{text}$")).wait_for()


def test_a_text_may_be_pasted(page, demo):
    page.goto(demo)
    page.get_by_label("or a text, pasted here").fill("to be or not to be")
    page.get_by_role("button", name="Analyse").click()
    wait_for_chart(page)
    assert page.locator("svg text").first.inner_html() == "to"


def test_nothing_handed_in_is_told(page, demo):
    page.goto(demo)
    page.get_by_role("button", name="Analyse").click()
    assert "nothing to analyse" in page.get_by_role("alert").inner_text()


def test_a_file_that_is_too_large_is_told_before_it_is_sent(
    page, demo, tmp_path
):
    path = tmp_path / "large.txt"
    path.write_bytes(b"word " * 2_000_001)
    page.goto(demo)
    page.get_by_label("A file").set_input_files(path)
    page.get_by_role("button", name="Analyse").click()
    assert page.evaluate(
        "document.getElementById('file').validationMessage"
    ) == ("This file is too large.")
    assert page.url.rstrip("/") == demo


def test_it_works_without_javascript(browser, demo, novel):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    hand_in(page, demo, novel)
    assert page.get_by_role("progressbar").is_visible()
    wait_for_chart(page)  # it has reloaded itself by then
    context.close()


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("colours", ["light", "dark"])
def test_every_page_fits_the_screen_and_can_be_read(
    browser, demo, picture, width, colours
):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=colours
    )
    page = context.new_page()
    page.goto(demo)
    page.get_by_label("or a text").fill("Donaudampfschifffahrt " * 40)
    page.get_by_role("button", name="Analyse").click()
    wait_for_chart(page)
    check_looks(page)
    hand_in(page, demo, picture)
    page.locator("#analysis").get_by_text(NO_TEXT).wait_for()
    check_looks(page)
    page.goto(demo)
    check_looks(page)
    context.close()


def check_looks(page):
    """Nothing sticks out to the side, and text stands out by 4.5 to 1."""
    assert page.evaluate(
        "document.documentElement.scrollWidth <= window.innerWidth"
    )
    assert page.evaluate(FAINT_TEXTS) == []


FAINT_TEXTS = """
() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const background = (element) => {
    for (let it = element; it; it = it.parentElement) {
      const colour = channels(getComputedStyle(it).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some(
      (node) => node.nodeType === 3 && node.textContent.trim(),
    );
    if (!own || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [light, dark] = [channels(ink), background(element)]
      .map(luminance)
      .sort((a, b) => b - a);
    if ((light + 0.05) / (dark + 0.05) < 4.5) {
      faint.push(element.outerHTML);
    }
  }
  return faint;
}
"""
