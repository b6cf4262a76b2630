"""What a process answers that was forked with its database open.

``tests/concurrency/test_forks.py`` forks; here another process is said to have
made the application.
"""

import os

import pytest
import shop
from described import DESCRIPTION, METHODS, conforms
from pyramid.response import Response

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def make_in_parent(make_app, monkeypatch):
    """Make applications as the parent of this process has them."""

    def make(*args, **settings):
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", os.getppid)
            return make_app(*args, **settings)

    return make


def test_every_request_is_answered_at_once_and_the_cure_is_logged_once(
    make_in_parent, caplog
):
    app = make_in_parent({"/view": lambda request: Response("done")})
    for path in ("/view", "/jobs/unknown", "/no/such/page"):
        answer = app.get(path, status=503)
        assert answer.content_type == "application/problem+json"
        assert answer.json["status"] == 503
    (record,) = caplog.records

    assert record.levelname == "CRITICAL"
    assert record.action == "database_forked"
    said = record.getMessage()
    assert f"{os.getpid()}, was forked from {os.getppid()}" in said
    assert "FileStorage" in said
    assert "gunicorn without --preload, uWSGI with lazy-apps = true" in said


@pytest.mark.parametrize("path", list(DESCRIPTION["paths"]))
def test_so_it_is_described(make_in_parent, path):
    app = make_in_parent()
    for method in METHODS & DESCRIPTION["paths"][path].keys():
        url = path.format(sid="unknown")
        answer = app.request(url, method=method.upper(), status=503)
        conforms(answer, path, method.upper())


def test_any_database_of_the_application_is_reason_enough(
    make_in_parent, caplog, tmp_path
):
    app = make_in_parent(
        {"/view": lambda request: Response("done")},
        zodbconn__uri="memory://",
        **{"zodbconn.uri.beside": f"file://{tmp_path}/Beside.fs"},
    )
    app.get("/view", status=503)

    assert "FileStorage" in caplog.text


def test_where_a_child_can_read_requests_are_answered(make_in_parent, caplog):
    app = make_in_parent(
        {"/view": lambda request: Response("done")},
        zodbconn__uri="memory://",
    )

    assert app.get("/view").text == "done"
    assert app.get("/view").text == "done"
    assert "database_forked" not in [
        record.action for record in caplog.records
    ]


@pytest.mark.kept_in("zodb")
def test_what_needs_the_jobs_there_is_refused_and_the_cure_is_logged(
    make_in_parent, caplog
):
    app = make_in_parent(
        {
            "/view": lambda request: request.accepted(
                request.schedule(shop.give, 1)
            )
        },
        zodbconn__uri="memory://",
    )
    sid = "79c40-Bg3z5cjuNAlXE3cCiF001Q"
    for ask, path, headers in [
        (app.get, "/view", {}),
        (app.get, f"/jobs/{sid}", {}),
        (app.get, f"/jobs/{sid}", {"Prefer": "wait=10"}),
        (app.get, f"/jobs?sid={sid}", {}),
        (app.delete, f"/jobs/{sid}", {}),
        (app.post, f"/jobs/{sid}/retry", {}),
    ]:
        caplog.clear()
        answer = ask(path, headers=headers, status=503)
        assert answer.content_type == "application/problem+json"
        record = caplog.records[-1]
        assert record.action == "database_forked"
        assert "uWSGI with lazy-apps = true" in record.getMessage()
