"""A database that was put back to an older state has the jobs of then."""

import shutil

import pytest
import shop

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("zodb")


def start(request):
    return request.accepted(request.schedule(shop.add, "sold"))


def cancel(request):
    """Cancel what has not ended, as a script does."""
    scheduler = request.registry.getUtility(IScheduler)
    return {
        "cancelled": [
            request.jobs.cancel(sid) for sid in scheduler.unfinished()
        ]
    }


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_what_has_run_since_the_backup_runs_again_unless_it_is_cancelled(
    make_app, tmp_path, is_cancelled
):
    file, backup = tmp_path / "Shop.fs", tmp_path / "backup.fs"
    uri = f"file://{file}?connection_pool_size=20"
    by_hand = {"zodbconn__uri": uri, "zodb_async__engine": "manual"}
    app = make_app({"/start": start}, **by_hand)
    sid = app.get("/start").json["sid"]
    shutil.copy(file, backup)
    drain(app)
    later = app.get("/start").json["sid"]
    drain(app)
    assert shop.effects(app) == ["sold", "sold"]
    shop.shut_down(app.app.registry)
    shutil.copy(backup, file)

    def configure(config):
        config.add_route("/cancel", "/cancel")
        config.add_view(cancel, route_name="/cancel", renderer="json")

    app = make_app(configure=configure, **by_hand)
    if is_cancelled:
        assert app.get("/cancel").json == {"cancelled": [True]}
    drain(app)

    assert shop.effects(app) == ([] if is_cancelled else ["sold"])
    state = "cancelled" if is_cancelled else "succeeded"
    assert app.get(f"/jobs/{sid}").json["state"] == state
    app.get(f"/jobs/{later}", status=404)
