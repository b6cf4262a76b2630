"""Pages behind proxies that change what passes them, in a real browser."""

import pytest
from proxies import before

pytestmark = pytest.mark.proxies

#: Those that differ for a page.
NAMES = [
    "apache-deflate",
    "apache-brotli",
    "apache-cache",
    "nginx-gzip",
    "small-coding",
    "small-hashed",
    "small-remove",
]

LOAD = "import('/jobs/static/jobs.js').then((jobs) => { window.jobs = jobs })"

START = """async () => {
  const answer = await fetch("/start/add", { method: "POST", body: "[1]" });
  window.place = answer.headers.get("Location");
  window.outcome = null;
  jobs.job(place).then(
    (result) => { window.outcome = { result } },
    (error) => { window.outcome = { type: error.type } },
  );
}"""

ASK = "(path) => fetch(path).then((answer) => answer.json())"


@pytest.fixture(scope="module", params=NAMES)
def proxy(request, server, tmp_path_factory):
    """Have each proxy before the server."""
    folder = tmp_path_factory.mktemp(request.param)
    with before(server.port, request.param, folder) as proxy:
        proxy.name = request.param
        yield proxy


def sent(page, method):
    """List the requests of a page with that method, as they are sent."""
    urls = []
    page.on(
        "request",
        lambda asked: urls.append(asked.url) if asked.method == method else 0,
    )
    return urls


def wait_for_message(page, text):
    message = page.locator("job-progress [part=message]")
    message.filter(has_text=text).wait_for()


def test_the_element_shows_a_job_to_its_end(page, server, gate, proxy):
    sid = server.schedule("walk", gate, 2)
    page.goto(f"{proxy.url}/page?sid={sid}")
    server.open(f"{gate}1")
    wait_for_message(page, "Step 1")
    server.open(f"{gate}2", f"{gate}end")
    page.locator("job-progress[state=succeeded]").wait_for()
    assert server.wait_for(sid, "succeeded")["result"] == 2


def test_a_click_cancels_a_job_with_one_request(page, server, gate, proxy):
    sid = server.schedule("walk", gate, 2)
    deletes = sent(page, "DELETE")
    page.goto(f"{proxy.url}/page?sid={sid}")
    server.open(f"{gate}1")
    wait_for_message(page, "Step 1")
    page.get_by_role("button", name="Cancel").click()
    page.locator("job-progress[state=cancelled]").wait_for()
    assert server.look(sid)["state"] == "cancelled"
    assert deletes == [f"{proxy.url}/jobs/{sid}"]


def test_an_outage_behind_it_is_told_and_its_end(page, server, gate, proxy):
    sid = server.schedule("walk", gate, 2)
    page.goto(f"{proxy.url}/page?sid={sid}")
    server.open(f"{gate}1")
    wait_for_message(page, "Step 1")
    server.kill()
    page.locator("job-progress[offline]").wait_for()
    server.start()
    wait_for_message(page, "Step 1")
    assert page.locator("job-progress[offline]").count() == 0
    page.get_by_role("button", name="Cancel").click()
    page.locator("job-progress[state=cancelled]").wait_for()
    assert server.look(sid)["state"] == "cancelled"


def test_the_result_is_found_by_the_location_and_forgotten(
    page, server, proxy
):
    """Each of these puts its own server's host into the request."""
    page.goto(f"{proxy.url}/page?bare")
    page.evaluate(LOAD)
    page.evaluate(START)
    page.wait_for_function("() => window.outcome")
    assert page.evaluate("outcome") == {"result": 2}
    place = page.evaluate("place")
    assert place.startswith("/jobs/")
    server.wait_for(place.rpartition("/")[2], None)


@pytest.mark.parametrize("name", ["apache-brotli", "small-hashed"])
def test_a_page_waits_where_tags_are_changed(
    page, server, gate, tmp_path, name
):
    """It asks by the versions of documents, and is not answered at once."""
    sid = server.schedule("walk", gate, 2)
    with before(server.port, name, tmp_path) as proxy:
        page.goto(f"{proxy.url}/page?sid={sid}")
        server.open(f"{gate}1")
        wait_for_message(page, "Step 1")
        gets = sent(page, "GET")
        with page.expect_response(
            lambda answer: answer.status == 304 and answer.url.endswith(sid)
        ):
            pass  # it comes after ten seconds
        assert len(gets) <= 3
        server.open(f"{gate}2", f"{gate}end")
        page.locator("job-progress[state=succeeded]").wait_for()


@pytest.mark.parametrize(
    "name",
    [
        *(name for name in NAMES if not name.startswith("small")),
        "nginx-cache-alone",
    ],
)
def test_the_cache_of_a_browser_is_told_what_it_knows(
    page, server, gate, tmp_path, name
):
    """A page that asks by itself has it ask with the tag that it has got."""
    sid = server.schedule("walk", gate, 2)
    server.wait_for(sid, "running")
    statuses = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on(
        "Network.responseReceivedExtraInfo",
        lambda event: statuses.append(event["statusCode"]),
    )
    with before(server.port, name, tmp_path) as proxy:
        page.goto(f"{proxy.url}/page?bare")
        page.wait_for_load_state("networkidle")
        del statuses[:]
        for _ in range(4):
            document = page.evaluate(ASK, f"/jobs/{sid}")
            assert document["progress"] is None
        known = 200 if name == "nginx-cache-alone" else 304
        assert statuses == [200, known, known, known]
        server.open(f"{gate}1")
        server.wait_for_progress(f"/jobs/{sid}", 1)
        document = page.evaluate(ASK, f"/jobs/{sid}")
        assert document["progress"]["done"] == 1
        assert statuses[4:] == [200]
        server.open(f"{gate}2", f"{gate}end")
