"""The properties of the element, which frameworks set."""

import pytest
from client_server import ClientServer
from shown_element import Element, listen

ADD = """(properties) => {
  const element = document.createElement("job-progress");
  Object.assign(element, properties);
  document.querySelector("main").append(element);
}"""

SET = "Object.assign(document.querySelector('job-progress'), {0})"


def set_on(page, properties):
    page.evaluate(
        f"(it) => {SET.format('it')}",
        properties,
    )


def get_from(page, name):
    return page.evaluate(
        "(name) => document.querySelector('job-progress')[name]", name
    )


@pytest.fixture
def empty(show):
    """Open a page with the script, and no element."""
    return show()


@pytest.fixture
def tokens(tmp_path):
    """Serve an application whose users have tokens."""
    server = ClientServer(tmp_path, login="token")
    server.start()
    yield server
    server.kill()


def test_to_set_src_follows_the_job(empty, page, server, gate):
    page.evaluate(ADD, {"label": "Stock"})
    empty.host.wait_for(state="hidden")
    server.open(f"{gate}1")
    sid = server.schedule("walk", gate, 2)
    set_on(page, {"src": f"/jobs/{sid}"})
    empty.wait_for_value(50)
    assert empty.host.get_attribute("src") == f"/jobs/{sid}"
    assert empty.part("label").inner_text() == "Stock"
    page.evaluate(
        f"(path) => {SET.format('{ src: new URL(path, location) }')}",
        f"/jobs/{server.schedule('add', 1)}",
    )
    empty.wait_for_state("succeeded")
    server.open(f"{gate}2", f"{gate}end")


@pytest.mark.parametrize("nothing", ["null", "undefined"])
def test_to_set_nothing_takes_the_attribute_away(empty, page, server, nothing):
    src = f"/jobs/{server.schedule('add', 1)}"
    page.evaluate(
        ADD, {"src": src, "label": "A", "next": "", "readonly": False}
    )
    empty.wait_for_state("succeeded")
    names = ["src", "label", "next", "readonly"]
    assert [get_from(page, name) for name in names] == [src, "A", "", False]
    for name in names:
        page.evaluate(SET.format(f"{{ {name}: {nothing} }}"))
        assert empty.host.get_attribute(name) is None
        assert get_from(page, name) in {"", False}
    empty.host.wait_for(state="hidden")


def test_an_empty_src_shows_nothing(empty, page):
    page.evaluate(ADD, {"src": "", "label": "Stock"})
    empty.host.wait_for(state="hidden")


def test_attributes_are_seen_in_the_properties(show, page, server):
    sid = server.schedule("add", 1)
    show(sid, label="Stock", readonly="").wait_for_state("succeeded")
    assert get_from(page, "src") == f"/jobs/{sid}"
    assert get_from(page, "label") == "Stock"
    assert get_from(page, "readonly") is True


def test_readonly_takes_the_buttons_away_and_gives_them_back(
    show, page, server, gate
):
    element = show(server.schedule("walk", gate, 0))
    element.button("Cancel").wait_for()
    set_on(page, {"readonly": True})
    assert element.button("Cancel").count() == 0
    assert element.host.get_attribute("readonly") == ""
    set_on(page, {"readonly": False})
    element.button("Cancel").click()
    element.wait_for_state("cancelled")


def test_the_page_goes_on_to_what_next_was_set_to(show, page, server, gate):
    element = show(server.schedule("walk", gate, 0))
    element.wait_for_state("running")
    set_on(page, {"next": "/page?label=next"})
    server.open(f"{gate}end")
    page.wait_for_url("**/page?label=next")


def test_what_was_set_before_the_script_came_counts(show, page, server):
    src = f"/jobs/{server.schedule('add', 1)}"
    element = show(bare="")
    page.evaluate(ADD, {"src": src, "label": "Stock", "readonly": True})
    page.evaluate(SET.format("{ headers: { 'X-Early': 'yes' } }"))
    with page.expect_request(f"**{src}") as asked:
        page.evaluate("() => import('/jobs/static/job-progress.js')")
        element.wait_for_state("succeeded")
    assert asked.value.headers["x-early"] == "yes"
    assert element.part("label").inner_text() == "Stock"
    assert element.host.get_attribute("readonly") == ""
    set_on(page, {"label": "Other"})
    assert element.part("label").inner_text() == "Other"


def start_with_token(page, server, token, kind, *arguments):
    answer = page.request.post(
        f"{server.url}/start/{kind}",
        data=list(arguments),
        headers={"Authorization": f"Bearer {token}"},
    )
    return answer.json()["sid"]


#: Give the element a token, which a function looks up each time.
LOG_IN = """(token) => {
  window.token = token;
  const headers = async () => ({ Authorization: `Bearer ${window.token}` });
  Object.assign(document.querySelector("job-progress"), { headers });
}"""


def test_a_token_goes_with_all_that_the_element_asks(tokens, page, gate):
    sid = start_with_token(page, tokens, f"ann-{gate}", "walk", gate, 0)
    page.goto(f"{tokens.url}/page?sid={sid}")
    element = Element(page)
    element.wait_for_state("unknown")
    page.evaluate(LOG_IN, f"ann-{gate}")
    element.wait_for_state("running")
    page.evaluate("token => { window.token = token }", f"ann-{gate}b")
    tokens.open(f"ann-{gate}")  # that token has ended
    element.button("Cancel").click()
    element.wait_for_state("cancelled")


def test_a_token_that_has_ended_is_told_and_another_goes_on(
    tokens, page, gate
):
    sid = start_with_token(page, tokens, f"ann-{gate}", "walk", gate, 1)
    page.goto(f"{tokens.url}/page")
    page.evaluate(ADD, {"src": f"/jobs/{sid}"})
    page.evaluate(LOG_IN, f"ann-{gate}")
    element = Element(page)
    element.wait_for_state("running")
    tokens.open(f"ann-{gate}", f"{gate}1")
    element.wait_for_state("login-ended")
    assert element.message == "Your login has ended."
    page.evaluate(LOG_IN, f"ann-{gate}b")
    element.wait_for_state("running")
    tokens.open(f"{gate}end")
    element.wait_for_state("succeeded")


def test_another_way_to_ask_keeps_what_is_shown(show, page, server, gate):
    server.open(f"{gate}1")
    element = show(server.schedule("walk", gate, 2))
    element.wait_for_value(50)
    listen(page)
    page.evaluate(
        """() => {
          const element = document.querySelector("job-progress");
          const bar = element.shadowRoot.querySelector("[role=progressbar]");
          window.values = [];
          new MutationObserver(() => values.push(bar.ariaValueNow))
            .observe(bar, { attributes: true });
          window.asked = [];
          element.credentials = "include";
          element.fetch = (request) => {
            asked.push(request.credentials);
            return fetch(request);
          };
        }"""
    )
    page.wait_for_function("() => asked.length > 1")
    assert set(page.evaluate("asked")) == {"include"}
    server.open(f"{gate}2", f"{gate}end")
    element.wait_for_state("succeeded")
    assert set(page.evaluate("values")) == {"50", "100"}
    # a framework that draws anew at each event would set it for ever
    news = page.evaluate("told.map(({ version }) => version)")
    assert len(news) == len(set(news))


def test_equal_headers_do_not_ask_again(show, page, server, gate):
    element = show(server.schedule("walk", gate, 0))
    element.wait_for_state("running")
    with page.expect_request(
        lambda it: {"prefer", "x-shop"} <= it.headers.keys()
    ):
        set_on(page, {"headers": {"X-Shop": "1"}})
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    for _ in range(3):
        set_on(page, {"headers": {"x-shop": "1"}})
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")
    assert requests == [], "the one that was held has told it"


def test_another_token_while_cancel_is_under_way_lets_it_end(
    show, page, server, gate
):
    element = show(server.schedule("walk", gate, 0))
    element.wait_for_state("running")
    page.evaluate(
        """() => {
          const element = document.querySelector("job-progress");
          element.shadowRoot.querySelector("[part=cancel]").click();
          element.headers = { "X-Shop": "2" };
        }"""
    )
    element.wait_for_state("cancelled")


def test_headers_that_are_none_are_told(show, page, server, gate):
    element = show(server.schedule("walk", gate, 0))
    element.wait_for_state("running")
    set_on(page, {"headers": {"not a name": "1"}})
    element.wait_for_state("error")
    set_on(page, {"headers": None})
    element.wait_for_state("running")
    assert get_from(page, "headers") is None
    server.open(f"{gate}end")
    element.wait_for_state("succeeded")
