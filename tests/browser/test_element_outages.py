"""What the element says while the server is away, or the login has ended."""

import pytest
from client_server import ClientServer
from shown_element import OFFLINE, Element

GATEWAY = {"name": "gateway", "value": "ann"}


@pytest.fixture
def make_own(tmp_path):
    """Give a function that serves the application for one test."""
    servers = []

    def make(**settings):
        server = ClientServer(tmp_path, **settings)
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def own(make_own):
    return make_own()


@pytest.fixture
def visit(page):
    """Give a function that opens the page about a job of a server."""

    def visit(server, sid, state="running", query=""):
        is_held = state != "failed"
        url = f"{server.url}/page?sid={sid}{query}"
        # one that the server holds, so that none follows soon
        with page.expect_request(
            lambda request: "prefer" in request.headers or not is_held
        ):
            page.goto(url)
        element = Element(page)
        element.wait_for_state(state)
        return element

    return visit


def test_an_outage_is_told_and_its_end(own, visit, gate):
    element = visit(own, own.schedule("wander", gate))
    assert element.is_moving
    for _ in range(2):
        own.kill()
        element.wait_until_offline()
        assert not element.is_moving
        assert element.said == OFFLINE
        assert OFFLINE in element.attributes["aria-valuetext"]
        own.start()
        element.wait_until_online()
        element.wait_for_message("Working.")
        element.page.locator("job-progress .busy").wait_for()
        assert element.said == "Working."
    own.open(f"{gate}1", f"{gate}end")
    element.wait_for_state("succeeded")


def test_an_outage_is_told_and_its_end_while_a_job_waits(own, visit):
    """What is known of it has not changed by then."""
    sid = own.schedule("add", 1, delay=3600)
    element = visit(own, sid, "pending")
    own.kill()
    # not later: a browser tells of answers only while somebody waits for them
    with element.page.expect_response(
        lambda answer: f"/jobs/{sid}" in answer.url
    ) as first:
        element.wait_until_offline()
        own.start()
        element.wait_until_online()
    assert "prefer" not in first.value.request.headers, "it was held"
    element.wait_for_message("Waiting to begin.")
    element.button("Cancel").click()
    element.wait_for_state("cancelled")


def test_in_an_outage_the_bar_stays_where_it_was(own, visit, gate):
    own.open(f"{gate}1")
    element = visit(own, own.schedule("walk", gate, 4))
    element.wait_for_value(25)
    look = "fill => getComputedStyle(fill).opacity"
    assert element.part("fill").evaluate(look) == "1"
    own.kill()
    element.wait_until_offline()
    assert element.attributes["aria-valuenow"] == "25"
    assert element.part("fill").evaluate(look) != "1"
    own.start()
    own.open(f"{gate}2", f"{gate}3", f"{gate}4", f"{gate}end")
    element.wait_for_state("succeeded")
    assert element.part("fill").evaluate(look) == "1"


def test_an_outage_is_told_before_anything_is_known(own, page, gate):
    sid = own.schedule("walk", gate, 0)
    page.goto(f"{own.url}/page")
    own.kill()
    page.evaluate(
        """(src) => {
          const element = document.createElement("job-progress");
          element.src = src;
          document.querySelector("main").append(element);
        }""",
        f"/jobs/{sid}",
    )
    element = Element(page)
    element.wait_until_offline()
    assert element.said == OFFLINE
    own.start()
    element.wait_for_state("running")
    element.wait_until_online()
    own.open(f"{gate}end")
    element.wait_for_state("succeeded")


@pytest.mark.parametrize("is_told_before", [True, False])
def test_cancel_says_that_it_does_not_reach_the_server(
    own, visit, gate, is_told_before
):
    sid = own.schedule("walk", gate, 0)
    element = visit(own, sid)
    own.kill()
    if is_told_before:
        element.wait_until_offline()
    element.button("Cancel").click()
    element.wait_until_offline()
    assert element.button("Cancel").get_attribute("aria-disabled") == "true"
    own.start()
    element.wait_for_state("cancelled")
    assert element.message == "Cancelled."
    assert own.look(sid)["state"] == "cancelled"


def test_cancel_says_so_of_a_server_that_stands_still(own, visit, gate):
    element = visit(own, own.schedule("walk", gate, 0))
    own.freeze()
    element.button("Cancel").click()
    assert element.message == "Cancelling."
    element.wait_until_offline()
    own.thaw()
    element.wait_for_state("cancelled")
    assert element.message == "Cancelled."


def test_try_again_says_so_too(own, visit, gate):
    element = visit(own, own.schedule("fail", gate), "failed")
    own.kill()
    element.button("Try again").click()
    assert element.message == "Trying again."
    element.wait_until_offline()
    own.start()
    own.open(gate)
    element.wait_for_state("succeeded")


def test_what_is_said_of_an_outage_can_be_said_otherwise(own, visit, gate):
    query = "&text_offline=Keine+Verbindung."
    element = visit(own, own.schedule("walk", gate, 0), query=query)
    own.kill()
    element.wait_until_offline("Keine Verbindung.")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "Your login has ended."),
        ("&text_login_ended=Bitte+anmelden.", "Bitte anmelden."),
    ],
)
def test_a_login_elsewhere_that_has_ended_is_told(
    make_own, page, visit, gate, query, said
):
    server = make_own(gateway=True)
    page.context.add_cookies([{**GATEWAY, "url": server.url}])
    answer = page.request.post(f"{server.url}/start/walk", data=[gate, 1])
    sid = answer.json()["sid"]
    element = visit(server, sid, query=query)
    page.context.clear_cookies()
    server.open(f"{gate}1")  # so that the next request comes now
    element.wait_for_state("login-ended")
    assert element.message == said
    assert element.said == said
    assert element.button("Cancel").count() == 0
    element.button("Try again").click()  # too early
    # the state stays meanwhile; a cookie now would let this attempt succeed
    element.wait_for_message(said)
    page.context.add_cookies([{**GATEWAY, "url": server.url}])
    element.button("Try again").click()
    element.wait_for_state("running")
    assert element.message == "Step 1"
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")


def test_a_cancel_after_the_login_has_ended_says_so(
    make_own, page, visit, gate
):
    server = make_own(gateway=True)
    page.context.add_cookies([{**GATEWAY, "url": server.url}])
    answer = page.request.post(f"{server.url}/start/walk", data=[gate, 0])
    element = visit(server, answer.json()["sid"])
    page.context.clear_cookies()
    element.button("Cancel").click()
    element.wait_for_message("Your login has ended.")
    element.wait_for_state("login-ended")


def test_a_job_that_is_gone_with_the_login_can_be_looked_for_again(
    make_own, page, visit, gate
):
    server = make_own(login="session")
    page.goto(f"{server.url}/login")
    answer = page.request.post(f"{server.url}/start/walk", data=[gate, 1])
    element = visit(server, answer.json()["sid"])
    tab = page.context.new_page()
    tab.goto(f"{server.url}/logout")
    server.open(f"{gate}1")
    element.wait_for_state("unknown")
    assert element.message.endswith("or not yours.")
    tab.goto(f"{server.url}/login")
    element.button("Try again").click()
    element.wait_for_state("running")
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "This page is out of date; reload it."),
        ("&text_outdated=Neu+laden.", "Neu laden."),
    ],
)
def test_a_page_of_an_earlier_login_is_out_of_date(
    make_own, page, visit, gate, query, said
):
    server = make_own(csrf="X-CSRF-Token")
    sid = server.schedule("walk", gate, 1)
    element = visit(server, sid, query=query)
    page.context.clear_cookies()
    tab = page.context.new_page()
    tab.goto(f"{server.url}/page?sid={sid}")
    element.button("Cancel").click()
    element.wait_for_message(said)
    assert element.said == said
    server.open(f"{gate}1")
    element.wait_for_value(100)
    page.reload()
    element.button("Cancel").click()
    element.wait_for_state("cancelled")


def test_a_retry_of_a_page_that_is_out_of_date_leaves_the_job_as_it_was(
    make_own, page, visit, gate
):
    server = make_own(csrf="X-CSRF-Token")
    sid = server.schedule("fail", gate)
    element = visit(server, sid, "failed")
    page.context.clear_cookies()
    tab = page.context.new_page()
    tab.goto(f"{server.url}/page?sid={sid}")
    element.button("Try again").click()
    element.wait_for_message("This page is out of date; reload it.")
    assert element.host.get_attribute("state") == "failed"
    assert element.button("Try again").count() == 1
    server.open(gate)
    page.reload()
    element.button("Try again").click()
    element.wait_for_state("succeeded")
