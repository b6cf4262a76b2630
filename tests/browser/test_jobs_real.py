"""The client module in pages of a real server: tabs, tokens, sharing."""

LOAD = "import('/jobs/static/jobs.js').then((jobs) => { window.jobs = jobs })"

WAIT = """([url, options]) => {
  window.outcome = null;
  jobs.job(url, options).then(
    (result) => { window.outcome = { result } },
    (error) => { window.outcome = { type: error.type } },
  );
}"""


def load(page, server):
    """Open a page that has the module."""
    page.goto(f"{server.url}/page?bare")
    page.evaluate(LOAD)
    return page


def wait(page, sid, **options):
    """Begin to wait, and go on when the first request is under way."""
    with page.expect_request(f"**/jobs/{sid}"):
        page.evaluate(WAIT, [f"/jobs/{sid}", options])


def outcome_of(page):
    page.wait_for_function("() => window.outcome")
    return page.evaluate("outcome")


def test_two_tabs_on_one_job_both_get_its_result(page, server, gate):
    tabs = [load(page, server), load(page.context.new_page(), server)]
    sid = server.schedule("walk", gate, 0)
    for tab in tabs:
        wait(tab, sid)
    server.open(f"{gate}end")
    for tab in tabs:
        assert outcome_of(tab) == {"result": 0}
    server.wait_for(sid, None)


def test_a_tab_that_hears_nothing_is_told_by_the_other(page, server, gate):
    deaf = load(page.context.new_page(), server)
    deaf.route("**/jobs/*", lambda _route: None)
    sid = server.schedule("walk", gate, 0)
    wait(deaf, sid)
    wait(load(page, server), sid)
    server.open(f"{gate}end")
    assert outcome_of(page) == {"result": 0}
    assert outcome_of(deaf) == {"result": 0}


def test_an_element_in_another_tab_is_told_too(page, server, gate):
    sid = server.schedule("walk", gate, 0)
    other = page.context.new_page()
    other.goto(f"{server.url}/page?sid={sid}")
    other.locator("job-progress[state=running]").wait_for()
    wait(load(page, server), sid)
    server.open(f"{gate}end")
    assert outcome_of(page) == {"result": 0}
    other.locator("job-progress[state=succeeded]").wait_for()


def test_nothing_is_said_of_a_job_that_is_kept(page, server, gate):
    other = load(page.context.new_page(), server)
    other.evaluate(
        """() => {
          window.said = [];
          new BroadcastChannel("pyramid_zodb_async").onmessage =
            ({ data }) => said.push(data[0]);
        }"""
    )
    kept, acknowledged = server.schedule("add", 1), server.schedule("add", 1)
    load(page, server)
    for sid, keep in ((kept, True), (acknowledged, False)):
        wait(page, sid, keep=keep)
        assert outcome_of(page) == {"result": 2}
    other.wait_for_function("() => said.length")
    assert other.evaluate("said") == [f"{server.url}/jobs/{acknowledged}"]


def test_the_token_of_the_page_goes_with_a_change(page, server, gate):
    load(page, server)
    page.evaluate(
        """() => {
          const meta = document.createElement("meta");
          meta.name = "csrf-token";
          meta.content = "t0ken";
          document.head.append(meta);
        }"""
    )
    sid = server.schedule("walk", gate, 0)
    with page.expect_request(
        lambda request: request.method == "DELETE"
    ) as asked:
        page.evaluate(f"jobs.cancel('/jobs/{sid}')")
    assert asked.value.headers["x-csrf-token"] == "t0ken"
    assert server.look(sid)["state"] == "cancelled"


def test_the_token_of_the_page_goes_to_no_other_origin(page, server):
    load(page, server)
    page.evaluate(
        """() => {
          const meta = document.createElement("meta");
          meta.name = "csrf-token";
          meta.content = "t0ken";
          document.head.append(meta);
        }"""
    )
    sent = []
    page.evaluate(
        """() => {
          window.sent = [];
          window.fetch = async (request) => {
            sent.push([request.method, request.headers.get("X-CSRF-Token")]);
            return Response.json({ done: true, state: "succeeded" });
          };
        }"""
    )
    page.evaluate("jobs.job('http://elsewhere.test/jobs/1')")
    sent = page.evaluate("sent")
    assert sent == [["GET", None], ["DELETE", None]]


def test_an_abort_in_a_page_cancels_the_job(page, server, gate):
    load(page, server)
    sid = server.schedule("walk", gate, 0)
    page.evaluate(
        """async (url) => {
          const control = new AbortController();
          const waiting = jobs.job(url, { signal: control.signal });
          control.abort(new Error("enough"));
          window.reason = await waiting.catch((error) => error.message);
        }""",
        f"/jobs/{sid}",
    )
    assert page.evaluate("reason") == "enough"
    assert server.look(sid)["state"] == "cancelled"


def test_the_elements_of_a_page_share_their_requests(page, server, gate):
    sids = [
        server.schedule("walk", f"{gate}{name}", 0) for name in ("a", "b", "c")
    ]
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{server.url}/page?" + "&".join(f"sid={sid}" for sid in sids))
    page.locator("job-progress[state=running]").nth(2).wait_for()
    for name in ("a", "b", "c"):
        server.open(f"{gate}{name}end")
    page.locator("job-progress[state=succeeded]").nth(2).wait_for()
    about_jobs = [url for url in asked if "/jobs" in url and ".js" not in url]
    assert about_jobs[0].count("sid=") == 3
    assert len(about_jobs) <= 6


def test_a_slow_network_is_waited_for(page, server, gate):
    load(page, server)
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    conditions = {"offline": False, "latency": 400}
    conditions |= {"downloadThroughput": 2000, "uploadThroughput": 2000}
    session.send("Network.emulateNetworkConditions", conditions)
    wait(page, server.schedule("add", 1))
    assert outcome_of(page) == {"result": 2}


def test_a_network_that_was_away_is_waited_for(page, server, gate):
    load(page, server)
    sid = server.schedule("walk", gate, 0)
    wait(page, sid)
    page.context.set_offline(True)
    server.open(f"{gate}end")
    server.wait_for(sid, "succeeded")
    page.context.set_offline(False)
    assert outcome_of(page) == {"result": 0}
