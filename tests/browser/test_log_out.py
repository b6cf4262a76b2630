"""Who logs out in one tab stays so, whatever another tab waits for."""

import pytest
from client_server import ClientServer

#: Ask for the job with its tag, and be held.
HOLD = """async (url) => {
  const known = (await fetch(url)).headers.get("ETag");
  window.held = fetch(url, {
    headers: { Prefer: "wait=10", "If-None-Match": known },
  }).then((answer) => { window.answered = answer.status; });
}"""

SCHEDULE = """async (gate) => {
  const answer = await fetch("/start/walk", {
    method: "POST", body: JSON.stringify([gate, 0]),
  });
  return answer.headers.get("Location");
}"""


@pytest.fixture(params=["session", "ticket"])
def server(request, tmp_path):
    """Serve an application in which users log in."""
    server = ClientServer(tmp_path, login=request.param)
    server.start()
    yield server
    server.kill()


def who(page, server):
    """Tell who the browser is to the server, and set no cookie by that."""
    return page.request.get(f"{server.url}/who").text()


def test_a_poll_that_is_held_does_not_undo_a_log_out(page, server, gate):
    page.goto(f"{server.url}/login")
    page.goto(f"{server.url}/page?bare")
    url = page.evaluate(SCHEDULE, gate)
    # by default, a cookie is renewed if it is of another second
    page.wait_for_timeout(2_100)
    with page.expect_request(lambda request: "prefer" in request.headers):
        page.evaluate(HOLD, url)
    # a later one that was answered tells that it is with the server
    page.evaluate("fetch('/page?bare').then(() => null)")
    tab = page.context.new_page()
    tab.goto(f"{server.url}/logout")
    assert who(page, server) == "None"
    server.open(f"{gate}end")
    page.wait_for_function("() => window.answered")

    assert page.evaluate("answered") == 200
    assert who(page, server) == "None"
