"""Runs jobs of an application."""

import pytest
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async.execution import rules
from pyramid_zodb_async.testing import drain, wait_for


@pytest.fixture
def refuse(monkeypatch):
    """Let the storage raise these, the last first, when it stores effects."""
    vote = FileStorage.tpc_vote
    to_raise = []

    def tpc_vote(self, transaction):
        if b", attempt " in transaction.description and to_raise:
            raise to_raise.pop()
        return vote(self, transaction)

    monkeypatch.setattr(FileStorage, "tpc_vote", tpc_vote)
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.01)
    return to_raise


@pytest.fixture
def run(make_app, manager, engine):
    """Run a job to its end; tell what is known of it."""

    def run(function, *args, root=None, configure=None, **settings):
        def view(request):
            return request.accepted(request.schedule(function, *args))

        app = make_app(
            {"/view": view},
            root=root,
            configure=configure,
            **manager,
            **engine,
            **settings,
        )
        run.app = app
        # the root factories of these tests are not made for requests
        sid = app.get("/view", headers={"X-Kind": "visit"}).json["sid"]
        drain(app)
        return wait_for(app, sid)

    return run
