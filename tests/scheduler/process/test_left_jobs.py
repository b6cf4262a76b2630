"""What a process without a scheduler that runs says of its jobs."""

import pytest
import shop
from pyramid.scripting import prepare

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("zodb")


def fail():
    raise ValueError("broken")


def left(caplog):
    """Give what the log has said of such jobs."""
    return [
        record
        for record in caplog.records
        if getattr(record, "action", None) == "jobs_left"
    ]


@pytest.fixture(autouse=True)
def _all_is_logged(caplog):
    caplog.set_level("INFO")


@pytest.fixture
def request_of_script(make_app):
    """Give the request of a script in an application."""
    with prepare(registry=make_app().app.registry) as env:
        yield env["request"]


def test_it_tells_once_that_nothing_runs_them(request_of_script, caplog):
    request = request_of_script
    with request.tm:
        sid = request.schedule(shop.nothing)
        request.schedule(shop.nothing)
        assert left(caplog) == []
    (record,) = left(caplog)
    assert record.levelname == "WARNING"
    assert record.sid == sid
    assert record.function == "shop:nothing"
    assert f"no other process can open this FileStorage now: {sid}" in (
        record.getMessage()
    )
    with request.tm:
        request.schedule(shop.nothing)

    assert len(left(caplog)) == 1


def test_it_tells_of_many_jobs_in_one_line(request_of_script, caplog):
    request = request_of_script
    with request.tm:
        sids = request.schedule.many(shop.nothing, [()] * 5)

    (record,) = left(caplog)
    assert record.sid == sids[0]


@pytest.mark.parametrize("storage", ["sqlite"])
def test_it_tells_that_others_run_them(request_of_script, caplog):
    request = request_of_script
    with request.tm:
        request.schedule(shop.nothing)

    (record,) = left(caplog)
    assert record.levelname == "INFO"
    assert "a process that does will run" in record.getMessage()


@pytest.mark.parametrize("change", ["cancel", "abort"])
def test_it_tells_nothing_of_a_job_that_is_not_to_run(
    request_of_script, caplog, change
):
    request = request_of_script
    request.tm.begin()
    sid = request.schedule(shop.nothing)
    if change == "cancel":
        request.jobs.cancel(sid)
        request.tm.commit()
    else:
        request.tm.abort()

    assert left(caplog) == []


def test_a_job_that_is_retried_is_left_like_a_new_one(make_app, caplog):
    app = make_app({"/fail": lambda r: r.accepted(r.schedule(fail))})
    sid = app.get("/fail").json["sid"]
    assert wait_for(app, sid).failure
    app.app.registry.getUtility(IScheduler).stop()
    assert left(caplog) == []
    with prepare(registry=app.app.registry) as env, env["request"].tm:
        assert env["request"].jobs.retry(sid)

    (record,) = left(caplog)
    assert record.sid == sid
