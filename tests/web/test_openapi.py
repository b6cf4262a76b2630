"""The OpenAPI description is one, is served, and is true."""

import itertools

import pytest
import shop
from described import DESCRIPTION, FILE, METHODS, check, conforms
from openapi_spec_validator import OpenAPIV31SpecValidator, validate
from shop import begin, start

from pyramid_zodb_async.testing import wait_for


def test_it_is_valid_openapi_of_the_version_that_it_names():
    validate(DESCRIPTION, cls=OpenAPIV31SpecValidator)

    assert DESCRIPTION["openapi"].startswith("3.1.")


def test_it_is_served_beside_the_client(make_app):
    answer = make_app().get("/jobs/static/openapi.json")

    assert answer.content_type == "application/json"
    assert answer.json == DESCRIPTION


def test_it_has_every_route_but_those_of_files(make_app):
    routes = make_app().app.registry.introspector.get_category("routes")
    patterns = {route["introspectable"]["pattern"] for route in routes}

    assert DESCRIPTION["paths"].keys() == {
        pattern for pattern in patterns if "/static/" not in pattern
    }


def test_a_login_is_up_to_the_application_and_may_be_needed():
    schemes = DESCRIPTION["components"]["securitySchemes"]

    assert DESCRIPTION["security"] == [{}, *({name: []} for name in schemes)]
    for operations in DESCRIPTION["paths"].values():
        for method in METHODS & operations.keys():
            assert "security" not in operations[method]


@pytest.mark.parametrize("path", list(DESCRIPTION["paths"]))
def test_its_paths_are_those_that_answer(make_app, path):
    app = make_app()
    answer = app.options(path.format(sid="unknown"))
    described = METHODS & DESCRIPTION["paths"][path].keys()

    assert set(answer.headers["Allow"].split(", ")) == {
        method.upper() for method in described
    }


def pointers(part, pointer=""):
    """List the JSON pointers of a document, each with what is there."""
    yield pointer, part
    items = part.items() if isinstance(part, dict) else ()
    if isinstance(part, list):
        items = enumerate(part)
    for key, value in items:
        name = str(key).replace("~", "~0").replace("/", "~1")
        yield from pointers(value, f"{pointer}/{name}")


def examples():
    """List the examples of what is sent or answered, with their schemas."""
    for pointer, part in pointers(DESCRIPTION):
        if isinstance(part, dict) and "schema" in part:
            if "example" in part:
                yield pointer, part["example"]
            for example in part.get("examples", {}).values():
                while "$ref" in example:
                    *_, section, name = example["$ref"].split("/")
                    example = DESCRIPTION["components"][section][name]  # noqa: PLW2901
                yield pointer, example["value"]


@pytest.mark.parametrize(
    ("pointer", "value"),
    [pytest.param(*example, id=example[0]) for example in examples()],
)
def test_its_examples_are_what_it_says(pointer, value):
    check(f"{pointer}/schema", value)


def test_each_component_is_used_or_is_for_applications():
    text = FILE.read_text()
    sections = dict(DESCRIPTION["components"])
    del sections["securitySchemes"]  # these are used by their names
    for section, components in sections.items():
        for name in components:
            is_used = f'"#/components/{section}/{name}"' in text
            assert is_used or f"`{name}`" in DESCRIPTION["info"]["description"]


# -- Jobs in every state ------------------------------------------------------


STATES = [
    "unknown",
    "pending",
    "running",
    "succeeded",
    "failed",
    "cancelled",
]

#: What the header of a condition says; `None` stands for no header.
TAGS = [None, "*", "current", '"none"', 'W/"0.done", "', "\xff"]

#: By method, the header that makes it depend on what the client knows.
CONDITIONS = {"GET": "If-None-Match", "HEAD": "If-None-Match"}

UNKNOWN = "AAAAAAAAAAAAAAAAAAAAAA"


class Stock:
    """Jobs in every state, one for each tag."""

    def __init__(self, app):
        self.app = app
        self.sids = {
            "unknown": [UNKNOWN] * len(TAGS),
            "succeeded": self._start("give", "result"),
            "failed": self._start("explain"),
        }
        for sids in self.sids.values():
            for sid in set(sids) - {UNKNOWN}:
                wait_for(app, sid)
        # from here on all workers are busy
        self.sids["running"] = self._start("hold")
        for sid in self.sids["running"]:
            shop.wait_until(lambda: self._state(sid) == "running")  # noqa: B023
        self.sids["pending"] = self._start("hold")
        self.sids["cancelled"] = self._start("hold")
        for sid in self.sids["cancelled"]:
            app.delete(f"/jobs/{sid}", status=202)

    def _start(self, function, *arguments):
        paths = [begin(self.app, function, *arguments) for _ in TAGS]
        return [path.rpartition("/")[2] for path in paths]

    def _state(self, sid):
        return self.app.get(f"/jobs/{sid}").json["state"]

    def ask(self, path, method, sids, tag, **headers):
        """Send a request, and check the answer; give its status."""
        if path == "/jobs":
            url = "/jobs?" + "&".join(f"sid={sid}" for sid in sids)
        else:
            url = path.format(sid=sids[0])
        if tag == "current":
            known = self.app.head(url.removesuffix("/retry"), status="*")
            tag = known.headers.get("ETag", '"none"')
        if tag:
            headers[CONDITIONS.get(method, "If-Match")] = tag
        answer = self.app.request(
            url, method=method, headers=headers, status="*"
        )
        conforms(answer, path, method)
        return answer.status_int


@pytest.fixture
def stock(make_app):
    """Give jobs in every state, and an application that has them."""
    settings = {"zodb_async__workers": len(TAGS), "zodb_async__max_wait": 0.02}
    shop.over.clear()
    yield Stock(make_app({"/start": start}, **settings))
    shop.over.set()


#: What is answered to those who may do all, without a race.
ANSWERS = {
    ("/jobs", "GET"): {200, 304, 400},
    ("/jobs", "HEAD"): {200, 304, 400},
    ("/jobs", "OPTIONS"): {204},
    ("/jobs/{sid}", "GET"): {200, 304, 404},
    ("/jobs/{sid}", "HEAD"): {200, 304, 404},
    ("/jobs/{sid}", "DELETE"): {202, 204, 404, 412},
    ("/jobs/{sid}", "OPTIONS"): {204},
    ("/jobs/{sid}/retry", "POST"): {202, 404, 409, 412},
    ("/jobs/{sid}/retry", "OPTIONS"): {204},
}

each_method = pytest.mark.parametrize(
    "method", sorted(method.upper() for method in METHODS)
)
with_each_scheduler = pytest.mark.kept_in("memory", "zodb")


@with_each_scheduler
@each_method
@pytest.mark.parametrize("path", ["/jobs/{sid}", "/jobs/{sid}/retry"])
def test_a_job_in_any_state_is_answered_as_described(stock, path, method):
    seen = {
        stock.ask(path, method, [stock.sids[state][number]], tag)
        for state, (number, tag) in itertools.product(STATES, enumerate(TAGS))
    }

    assert seen == ANSWERS.get((path, method), {405})


@with_each_scheduler
@each_method
def test_jobs_in_all_states_are_answered_as_described(stock, method):
    alone = [[state] for state in STATES]
    wholes = [STATES, STATES[::-1] * 16, [*STATES, *STATES]]
    wrong = [[], ["unknown"] * 101]
    seen = set()
    for states, tag in itertools.product(alone + wholes + wrong, TAGS):
        sids = [stock.sids[state][0] for state in states]
        seen.add(stock.ask("/jobs", method, sids, tag))

    assert seen == ANSWERS.get(("/jobs", method), {405})


@with_each_scheduler
def test_a_request_that_would_wait_is_answered_as_described(stock):
    for state, tag in itertools.product(STATES, TAGS):
        sid = stock.sids[state][0]
        for path in ("/jobs", "/jobs/{sid}"):
            stock.ask(
                path,
                "GET",
                [sid, UNKNOWN],
                tag,
                Prefer="respond-async, wait=5",
            )
