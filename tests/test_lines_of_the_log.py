"""What the log tells of failures and cancels, and how loud."""

import enum
import sys
import types

import pytest
import shop
import transaction
from persistent import Persistent
from pyramid.threadlocal import get_current_request
from pyramid_zodbconn import get_connection

from pyramid_zodb_async import JobError, JobTimeout, QueueFull
from pyramid_zodb_async.testing import drain, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


def lines(caplog, *actions):
    """Give the records of the log with these actions."""
    return [
        record
        for record in caplog.records
        if getattr(record, "action", None) in actions
    ]


class SoldOut(JobError):
    """There is none left."""


class Unexpected(JobError):
    """Only for developers."""

    public = False


class Slow(JobTimeout):
    """An error of the application, of a kind that tells of a fault."""


def raise_error(name):
    shop.add("half done")
    raise {
        "plain": JobError("The book is sold out"),
        "own": SoldOut(),
        "hidden": Unexpected("for developers"),
        "timeout": Slow("too slow"),
        "full": QueueFull("full"),
        "value": ValueError("broken"),
    }[name]


def start(request):
    schedule = request.schedule
    return request.accepted(schedule(raise_error, request.params["name"]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plain", "JobError: The book is sold out"),
        ("own", "SoldOut: There is none left."),
    ],
)
def test_a_message_for_people_is_no_alarm(make_app, caplog, name, text):
    caplog.set_level("INFO")
    app = make_app({"start": start})
    sid = app.post("/start", {"name": name}).json["sid"]
    assert wait_for(app, sid).failure.public

    assert lines(caplog, "job_failed") == []
    (line,) = lines(caplog, "job_declined")
    assert line.levelname == "INFO"
    assert line.exc_info is None
    assert line.sid == sid
    assert line.getMessage().endswith(text)
    assert shop.effects(app) == []


@pytest.mark.parametrize("name", ["hidden", "timeout", "full", "value"])
def test_any_other_failure_is_an_alarm(make_app, caplog, name):
    app = make_app(
        {"start": start}, zodb_async__public_errors="builtins.ValueError"
    )
    wait_for(app, app.post("/start", {"name": name}).json["sid"])

    (line,) = lines(caplog, "job_failed", "job_declined")
    assert (line.action, line.levelname) == ("job_failed", "ERROR")
    assert line.exc_info is not None


def test_a_cancel_of_a_waiting_job_is_logged(make_app, caplog, gate):
    caplog.set_level("INFO")
    app = make_app({"start": shop.start}, zodb_async__workers="1")
    running = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    waiting = shop.begin(app, "nothing")
    assert app.delete(waiting).json["state"] == "cancelled"

    (line,) = lines(caplog, "job_cancelled")
    assert line.levelname == "INFO"
    assert line.sid == shop.sid_of(waiting)
    assert line.getMessage() == (
        f"Job {line.sid} was cancelled: shop:nothing."
    )
    app.delete(running)
    gate.open()
    drain(app)
    assert [line.action for line in lines_of(caplog, running)] == [
        "job_cancelled",
        "job_given_up",
    ]


def lines_of(caplog, path):
    return [
        record
        for record in caplog.records
        if getattr(record, "sid", None) == shop.sid_of(path)
    ]


def cancel_and_abort(request):
    request.jobs.cancel(request.params["sid"])
    request.tm.doom()
    return request.response


def cancel_what_is_not_committed(request):
    sid = request.schedule(shop.nothing)
    request.jobs.cancel(sid)
    return request.response


@pytest.mark.parametrize("kept_in", ["memory"])
def test_a_cancel_of_what_was_never_there_is_not_logged(
    make_app, caplog, kept_in
):
    caplog.set_level("INFO")
    app = make_app({"cancel": cancel_what_is_not_committed})
    app.get("/cancel")

    assert lines(caplog, "job_cancelled", "job_removed") == []


@pytest.mark.parametrize("kept_in", ["zodb"])
def test_a_cancel_that_is_not_committed_is_not_logged(
    make_app, caplog, gate, kept_in
):
    caplog.set_level("INFO")
    app = make_app({"start": shop.start, "cancel": cancel_and_abort})
    path = shop.begin(app, "wait_at", "gate")
    gate.wait_for_job()
    app.get("/cancel", {"sid": shop.sid_of(path)})
    gate.open()
    assert wait_for(app, shop.sid_of(path)).state == "succeeded"

    assert lines(caplog, "job_cancelled") == []


def cancel_myself():
    request = get_current_request()
    request.jobs.cancel(request.path.rpartition("/")[2])


def test_a_job_that_cancels_itself_is_logged_once(make_app, caplog):
    caplog.set_level("INFO")

    def start(request):
        return request.accepted(request.schedule(cancel_myself))

    app = make_app({"start": start})
    sid = app.post("/start").json["sid"]
    assert wait_for(app, sid).state == "cancelled"
    drain(app)

    assert sorted(line.action for line in lines_of(caplog, sid)) == [
        "job_cancelled",
        "job_given_up",
    ]


class Holder(Persistent):
    """Has something whose class changes."""


@pytest.fixture
def colours():
    """Give a module with an enumeration, and a way to rename its member."""
    module = sys.modules["colours"] = types.ModuleType("colours")

    def define(member):
        module.Colour = enum.Enum("Colour", {member: member}, module="colours")
        return module.Colour[member]

    yield define
    del sys.modules["colours"]


def tell_colour(holder):
    return str(holder.colour)


def test_a_state_that_cannot_be_loaded_tells_why(make_app, colours):
    def hold(request):
        holder = get_connection(request).root()["holder"] = Holder()
        holder.colour = colours("red")
        return request.response

    def start(request):
        holder = get_connection(request).root()["holder"]
        return request.accepted(request.schedule(tell_colour, holder))

    app = make_app({"hold": hold, "start": start})
    app.get("/hold")
    colours("crimson")
    app.app.registry._zodb_databases[""].cacheMinimize()
    view = wait_for(app, app.post("/start").json["sid"])

    assert view.failure.type == "StateLoadError"
    assert view.failure.message == ("ValueError: 'red' is not a valid Colour")
    assert not view.failure.public
    transaction.begin()
    _, error = shop.scheduler_of(app).get_result(view.sid)
    assert type(error).__name__ == "StateLoadError"
    assert error.__notes__ == ["caused by " + view.failure.message]
