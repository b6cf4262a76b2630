"""The status document, and how results are shown in it."""

import datetime as dt
import json
import re

import pytest
import shop
from pyramid.renderers import JSON
from ZODB.POSException import ReadConflictError

from pyramid_zodb_async import current_job
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def fetch(make_app):
    """Run a job to its end; give the answer to a poll."""

    def fetch(function, *args, configure=None):
        def view(request):
            return request.accepted(request.schedule(function, *args))

        app = make_app({"/view": view}, configure=configure)
        sid = app.get("/view").json["sid"]
        drain(app)
        return app.get(f"/jobs/{sid}")

    return fetch


def test_a_document_has_these_fields_and_no_others(fetch):
    document = fetch(shop.give, "outcome").json

    assert list(document) == [
        "sid",
        "state",
        "done",
        "progress",
        "attempt",
        "version",
        "scheduled",
        "started",
        "finished",
        "expires",
        "result",
    ]


def test_times_are_in_utc_as_rfc_3339_has_them(fetch):
    document = fetch(shop.nothing).json
    times = [
        document[name]
        for name in ("scheduled", "started", "finished", "expires")
    ]

    for time in times:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", time)
    assert times == sorted(times)
    finished, expires = map(dt.datetime.fromisoformat, times[2:])
    assert expires - finished == dt.timedelta(hours=1)
    now = dt.datetime.now(dt.UTC)
    assert abs(now - finished) < dt.timedelta(minutes=1)


def test_an_unfinished_job_tells_when_to_ask_again(make_app, gate):
    def view(request):
        return request.accepted(request.schedule(tell_and_wait, "gate"))

    app = make_app({"/view": view})
    sid = app.get("/view").json["sid"]
    gate.wait_for_job()
    answer = app.get(f"/jobs/{sid}")

    assert answer.headers["Retry-After"] == "1"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.json["state"] == "running"
    assert answer.json["done"] is False
    assert answer.json["progress"] == {
        "done": 1,
        "total": 2,
        "message": "half",
    }
    assert "result" not in answer.json
    assert "error" not in answer.json


def tell_and_wait(gate):
    """Report progress, and wait."""
    current_job().progress(1, 2, "half")
    shop.wait_at(gate)


def test_a_result_of_none_is_shown(fetch):
    assert fetch(shop.nothing).json["result"] is None


def test_a_failed_job_is_read_with_success(fetch):
    answer = fetch(shop.explain, "There is no such file.")

    assert answer.status_code == 200
    assert answer.json["state"] == "failed"
    assert answer.json["done"] is True
    assert answer.json["error"] == {
        "type": "JobError",
        "title": "The job failed",
        "detail": "There is no such file.",
    }
    assert "result" not in answer.json


class Point:
    """Something that JSON does not know."""

    def __init__(self, x):
        self.x = x


class Self:
    """Something that can tell itself as JSON."""

    def __json__(self, request):
        return {"self": request.application_url}


class Broken:
    """Something that fails to tell itself as JSON."""

    def __json__(self, request):
        raise ZeroDivisionError


def make(kind, *args):
    """Return something that is no plain value."""
    return [{"deep": (kind(*args),)}]


def add_adapter(config):
    renderer = JSON()
    renderer.add_adapter(Point, lambda point, request: {"x": point.x})
    config.add_renderer("json", renderer)


def test_adapters_of_the_application_are_used(fetch):
    answer = fetch(make, Point, 3, configure=add_adapter)

    assert answer.json["result"] == [{"deep": [{"x": 3}]}]


def test_results_may_tell_themselves_as_json(fetch):
    assert fetch(make, Self).json["result"] == [
        {"deep": [{"self": "http://localhost"}]}
    ]


@pytest.mark.parametrize(
    ("function", "args", "kind"),
    [
        (make, (Point, 3), "Point"),
        (make, (Broken,), "Broken"),
        (make, (complex,), "complex"),
        (make, (float, "nan"), "float"),
        (make, (float, "-inf"), "float"),
        (shop.give, ({(1, 2): 3},), "dict"),
        (shop.give, ({1, 2},), "set"),
        (shop.give, (b"bytes",), "bytes"),
    ],
)
def test_a_result_that_is_not_json_is_an_error_that_names_its_type(
    fetch, caplog, function, args, kind
):
    answer = fetch(function, *args)

    assert answer.status_code == 200
    assert answer.json["state"] == "succeeded"
    assert "result" not in answer.json
    assert answer.json["error"] == {
        "type": "ResultNotRenderable",
        "title": "The result cannot be shown",
        "detail": (
            f"The result holds an object of the type {kind}, which the"
            " application's JSON renderer cannot render"
        ),
    }
    assert "cannot be shown" in caplog.text


def test_a_text_may_speak_of_numbers_that_are_not_json(fetch):
    text = "NaN is not a number, Infinity is not finite"

    assert fetch(shop.give, text).json["result"] == text


def test_any_text_can_be_shown(fetch):
    text = "ünïcödé \u2028 \ud800 </script> \0"

    assert fetch(shop.give, text).json["result"] == text


def use_renderer(**options):
    """Give the application a JSON renderer of its own."""

    def configure(config):
        config.add_renderer("json", JSON(**options))

    return configure


def test_a_text_that_is_no_utf_8_can_be_shown_unescaped(fetch):
    text = "ünïcödé \ud800"
    configure = use_renderer(ensure_ascii=False)

    assert fetch(shop.give, text, configure=configure).json["result"] == text


def as_bytes(value, **options):
    """Serialize as the fast JSON libraries do."""
    return json.dumps(value, **options).encode()


def test_a_renderer_may_give_bytes(make_app):
    def view(request):
        return request.accepted(request.schedule(shop.give, "outcome"))

    app = make_app(
        {"/view": view}, configure=use_renderer(serializer=as_bytes)
    )
    sid = app.get("/view", status=202).json["sid"]
    drain(app)

    assert app.get(f"/jobs/{sid}").json["result"] == "outcome"


def make_circle():
    """Return something that holds itself."""
    circle = []
    circle.append({"round": circle})
    return circle


def test_a_result_that_holds_itself_is_an_error(fetch):
    error = fetch(make_circle).json["error"]

    assert error["type"] == "ResultNotRenderable"


class LoadsNot:
    """Something that can be pickled, but not loaded again."""

    def __reduce__(self):
        return int, ("no number",)


@pytest.mark.kept_in("memory")
def test_a_result_that_cannot_be_loaded_is_an_error(fetch, caplog):
    answer = fetch(LoadsNot)

    assert answer.json["error"] == {
        "type": "JobNotLoadable",
        "title": "The result cannot be shown",
        "detail": "The result cannot be loaded (ValueError)",
    }
    assert "no number" not in answer.text
    assert "no number" in caplog.text


@pytest.mark.parametrize("place", ["load", "render", "search"])
def test_a_conflict_while_a_result_is_read_is_tried_again(fetch, place):
    conflicts = [ReadConflictError()]
    adapted = []

    def adapt(product, request):
        adapted.append(product)
        if conflicts and len(adapted) == (2 if place == "search" else 1):
            raise conflicts.pop()
        if conflicts:
            raise ZeroDivisionError
        return product.name

    def configure(config):
        renderer = JSON()
        renderer.add_adapter(shop.Product, adapt)
        config.add_renderer("json", renderer)

    if place == "load":
        Conflicting.raises = conflicts
        result = fetch(Conflicting, configure=configure).json["result"]
    else:
        (result,) = fetch(keep_product, configure=configure).json["result"]

    assert result == "book"
    assert not conflicts


class Conflicting(str):
    """A text whose loading meets a conflict."""

    __slots__ = ()
    raises = ()

    def __reduce__(self):
        return _load_conflicting, ()


def _load_conflicting():
    if Conflicting.raises:
        raise Conflicting.raises.pop()
    return "book"


def keep_product():
    """Return something persistent."""
    shop.root()["product"] = product = shop.Product("book")
    return [product]
