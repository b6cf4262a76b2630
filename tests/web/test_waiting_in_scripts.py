"""`request.jobs.wait`: how a script waits for a job."""

import itertools
import threading
import time

import pytest
import shop
from pyramid.response import Response
from pyramid.scripting import prepare

from pyramid_zodb_async import IScheduler, UnknownJob
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def app(make_app, manager, gate):
    return make_app({"/start": shop.start}, **manager)


@pytest.fixture
def script(app):
    """Give the request of a script, in a process that runs jobs."""
    app.get("/jobs/unknown", status=404)
    with prepare(registry=app.app.registry) as env:
        yield env["request"]


def test_waiting_ends_with_the_job(script, gate):
    with script.tm:
        sid = script.schedule(shop.wait_at, "gate")
    assert not script.jobs.wait(sid, timeout=0)
    assert not script.jobs.wait(sid, timeout=0.05)
    gate.open()
    assert script.jobs.wait(sid)
    with script.tm:
        assert script.jobs.get(sid).result == "gate"
    assert script.jobs.wait(sid, timeout=0)


def test_waiting_inside_the_transaction_that_schedules_is_an_error(script):
    with script.tm:
        sid = script.schedule(shop.nothing)
        with pytest.raises(RuntimeError, match="after the block `with requ"):
            script.jobs.wait(sid)


def test_a_job_that_there_is_none_of_cannot_be_waited_for(script):
    with pytest.raises(UnknownJob, match="There is no job 'unknown'"):
        script.jobs.wait("unknown")


def test_a_job_that_fails_or_is_cancelled_has_ended(script, gate):
    with script.tm:
        failing = script.schedule(shop.fail)
        waiting = script.schedule(shop.wait_at, "gate")
    assert script.jobs.wait(failing, timeout=shop.PATIENCE)
    with script.tm:
        assert script.jobs.get(failing).failure.type == "ValueError"
        script.jobs.cancel(waiting)

    assert script.jobs.wait(waiting, timeout=shop.PATIENCE)


def test_a_job_that_is_forgotten_meanwhile_has_ended(
    script, app, gate, monkeypatch
):
    scheduler = app.app.registry.getUtility(IScheduler)
    entered, wait = threading.Event(), scheduler.wait

    def tell_and_wait(*args):
        entered.set()
        return wait(*args)

    monkeypatch.setattr(scheduler, "wait", tell_and_wait)
    with script.tm:
        sid = script.schedule(shop.wait_at, "gate")
    ended = []
    waiter = threading.Thread(
        target=lambda: ended.append(script.jobs.wait(sid, shop.PATIENCE))
    )
    waiter.start()
    gate.wait_for_job()
    assert entered.wait(shop.PATIENCE)
    with script.tm:
        script.jobs.remove(sid)
    waiter.join(shop.PATIENCE)

    assert ended == [True]


def test_a_job_that_is_forgotten_before_the_wait_begins_has_ended(
    script, app, monkeypatch
):
    """The call has seen that there is such a job."""
    scheduler = app.app.registry.getUtility(IScheduler)
    wait = scheduler.wait

    def forget_and_wait(sid, timeout):
        with script.tm:
            script.jobs.remove(sid)
        return wait(sid, timeout)

    with script.tm:
        sid = script.schedule(shop.nothing)
    assert script.jobs.wait(sid, shop.PATIENCE)
    monkeypatch.setattr(scheduler, "wait", forget_and_wait)

    assert script.jobs.wait(sid, shop.PATIENCE)
    with pytest.raises(UnknownJob):
        wait(sid, 0)


def test_the_job_of_another_user_is_none_for_a_script(make_app, gate):
    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.set_security_policy(
            shop.HeaderPolicy()
        ),
    )
    sid = app.post(
        "/start", {"function": "nothing"}, headers={"X-User": "ann"}
    ).json["sid"]
    with (
        prepare(registry=app.app.registry) as env,
        pytest.raises(UnknownJob),
    ):
        env["request"].jobs.wait(sid)


def test_a_view_and_a_job_are_refused(make_app, manager):
    def view(request):
        sid = request.schedule(shop.nothing)
        with pytest.raises(RuntimeError, match="is for scripts"):
            request.jobs.wait(sid)
        return Response(request.schedule(wait_for_other, sid))

    app = make_app({"/view": view}, **manager)
    sid = app.get("/view").text
    drain(app)

    assert app.get(f"/jobs/{sid}").json["error"]["type"] == "RuntimeError"


def wait_for_other(sid):
    shop.get_current_request().jobs.wait(sid)


@pytest.fixture
def elsewhere(make_app, app):
    """Give another process, as far as the database can tell."""
    return make_app({"/start": shop.start})


@pytest.mark.parametrize(("kept_in", "storage"), [("zodb", "zeo")])
def test_a_job_that_runs_elsewhere_is_looked_for_at_a_bounded_rate(
    elsewhere, script, app, gate
):
    path = shop.begin(elsewhere, "wait_at", "gate")
    gate.wait_for_job()
    scheduler = app.app.registry.getUtility(IScheduler)
    db, looks, held = scheduler.process.location.db, [], []
    read = scheduler.process.location.read

    def count(work, default):
        if "_has_ended" in work.__qualname__:
            looks.append(time.monotonic())
            held.append(shop.count_open(db))
            if len(looks) == 9:
                gate.open()
        return read(work, default)

    scheduler.process.location.read = count
    sid = path.rpartition("/")[2]
    assert script.jobs.wait(sid, timeout=shop.PATIENCE)
    pauses = [later - one for one, later in itertools.pairwise(looks)]

    # it looks more often in the first second
    assert sum(pauses[:4]) >= 0.7
    assert all(pause >= 0.45 for pause in pauses[4:])
    # the script's own, and the housekeeper's
    assert max(held) <= 2
