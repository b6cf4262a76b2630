"""Promise 10: what was undone stays undone."""

import pytest
import shop
import transaction
from storages import on_undoing_storages

from pyramid_zodb_async import IScheduler, JobState
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.testing import wait_for


def start(request):
    function = getattr(shop, request.params["function"])
    arguments = request.params.getall("argument")
    return request.accepted(request.schedule(function, *arguments))


@pytest.fixture
def app(make_app):
    return make_app({"/start": start}, zodb_async__lease=1)


def begin(app, function, *arguments):
    params = [("function", function)]
    params += [("argument", argument) for argument in arguments]
    return app.post("/start", params).json["sid"]


def undo(app, *notes):
    """Undo the transactions that have these notes, the last ones first."""
    db = databases_of(app.app.registry)[""]
    ids = [
        entry["id"]
        for entry in db.undoLog(0, 100)
        if any(note in entry["description"] for note in notes)
    ]
    assert ids, [entry["description"] for entry in db.undoLog(0, 100)]
    manager = transaction.TransactionManager(explicit=True)
    with manager as current:
        db.undoMultiple(ids, current)


@on_undoing_storages
def test_what_a_job_did_and_was_undone_stays_undone(app):
    sid = begin(app, "add", "once")
    seen = wait_for(app, sid)
    assert shop.effects(app) == ["once"]
    undo(app, f"job {sid}")
    view = wait_for(app, sid)

    assert view.state is JobState.CANCELLED
    assert view.version > seen.version
    assert shop.effects(app) == []
