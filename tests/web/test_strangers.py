"""What users find out about the jobs of others."""

import pytest
import shop
from shop import PATIENCE, sid_of
from users import as_user as by

from pyramid_zodb_async import IJobAccess
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")

#: For how long a request waits in vain, in seconds. What ends its wait sooner
#: must have happened before that is over.
WAIT = 3


@pytest.fixture
def app(make_app):
    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    return make_app(
        {"/start": shop.start},
        configure=configure,
        zodb_async__max_wait=PATIENCE,
        zodb_async__workers=4,
    )


def begin(app, owner, *call):
    return shop.begin(app, *call, headers=by(owner))


@pytest.fixture
def gates(gate):
    """Give the gates of the jobs of eve and bob."""
    shop.gates["eve"], shop.gates["bob"] = shop.Gate(), shop.Gate()
    yield shop.gates["eve"], shop.gates["bob"]
    shop.gates["eve"].open()
    shop.gates["bob"].open()


@pytest.fixture
def sids(app, gates):
    """Have eve and bob have a running job each, and give their sids."""
    paths = [begin(app, each, "wait_at", each) for each in ("eve", "bob")]
    for gate in gates:
        gate.wait_for_job()
    return [sid_of(path) for path in paths]


def ask_as_eve(app, sids, seconds):
    """Ask for jobs, and come back when the request waits."""
    waiters = shop.scheduler_of(app).waiters
    query = "&".join(f"sid={sid}" for sid in sids)
    etag = app.get(f"/jobs?{query}", headers=by("eve")).headers["ETag"]
    headers = {"Prefer": f"wait={seconds}", "If-None-Match": etag}
    answer = shop.Answer(
        app.get, f"/jobs?{query}", headers=by("eve") | headers
    )
    shop.wait_until(lambda: shop.waiting(waiters))
    return answer


def test_only_jobs_that_the_asker_sees_are_watched(app, sids, gates):
    own, others = sids
    answer = ask_as_eve(app, [own, others, "unknown"], PATIENCE)
    assert shop.scheduler_of(app).waiters.sids() == [own]
    gates[0].open()

    jobs = answer.get().json["jobs"]
    assert jobs[0]["done"]
    assert jobs[1:] == [
        {"sid": others, "status": 404},
        {"sid": "unknown", "status": 404},
    ]


@pytest.mark.parametrize("how", ["ends", "is cancelled"])
def test_a_change_of_a_strangers_job_ends_no_wait(app, sids, gates, how):
    answer = ask_as_eve(app, sids, WAIT)
    if how == "ends":
        gates[1].open()
    else:
        app.delete(f"/jobs/{sids[1]}", headers=by("bob"), status=202)
    shop.wait_until(lambda: app_says(app, sids[1])["done"])

    assert answer.get().status_int == 304
    assert answer.seconds >= 0.9 * WAIT


def app_says(app, sid):
    return app.get(f"/jobs/{sid}", headers=by("bob")).json


def test_progress_of_a_strangers_job_ends_no_wait(app, sids, gates):
    told = begin(app, "bob", "report_at", "gate", "the secret")
    answer = ask_as_eve(app, [sids[0], sid_of(told)], WAIT)
    shop.wait_until(lambda: app_says(app, sid_of(told))["progress"])

    assert answer.get().status_int == 304
    assert answer.seconds >= 0.9 * WAIT


def test_a_change_while_the_jobs_are_read_ends_the_wait_of_its_owner_only(
    app, sids, gates, monkeypatch
):
    """Both are watched until it is known whose they are."""
    scheduler = shop.scheduler_of(app)
    watch = scheduler.watch

    def watch_and_see_a_change(sids_watched):
        waiter = watch(sids_watched)
        scheduler.waiters.wake(changing)
        return waiter

    monkeypatch.setattr(scheduler, "watch", watch_and_see_a_change)
    changing = sids[1]
    answer = ask_as_eve(app, sids, WAIT)
    assert answer.get().status_int == 304
    assert answer.seconds >= 0.9 * WAIT

    changing = sids[0]
    query = "&".join(f"sid={sid}" for sid in sids)
    etag = answer.get().headers["ETag"]
    headers = {"Prefer": f"wait={PATIENCE}", "If-None-Match": etag}
    again = shop.Answer(app.get, f"/jobs?{query}", headers=by("eve") | headers)
    again.get()
    assert again.seconds < PATIENCE / 2


def test_who_may_see_a_job_of_another_waits_for_it(make_app, gates):
    class Everybody:
        def may(self, request, job, action):
            return True

    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())
        config.registry.registerUtility(Everybody(), IJobAccess)

    app = make_app(
        {"/start": shop.start},
        configure=configure,
        zodb_async__max_wait=PATIENCE,
        zodb_async__workers=4,
    )
    sids = [
        sid_of(begin(app, each, "wait_at", each)) for each in ("eve", "bob")
    ]
    for gate in gates:
        gate.wait_for_job()
    answer = ask_as_eve(app, sids, PATIENCE)
    gates[1].open()

    assert [job["done"] for job in answer.get().json["jobs"]] == [False, True]


def test_nothing_is_done_for_a_stranger_with_a_job_in_memory(app, sids):
    """Not even the look at the database that its owner's poll asks for."""
    scheduler = shop.scheduler_of(app)
    looked = []
    if hasattr(scheduler, "process"):
        scheduler.process.check_soon = looked.append
    app.get(f"/jobs/{sids[1]}", headers=by("eve"), status=404)
    assert looked == []
    app.get(f"/jobs/{sids[1]}", headers=by("bob"), status=200)

    assert looked == [sids[1]] * hasattr(scheduler, "process")


class CountingPolicy(shop.HeaderPolicy):
    """Counts how often it is asked who the user is."""

    asked = 0

    def authenticated_userid(self, request):
        self.asked += 1
        return super().authenticated_userid(request)


@pytest.mark.parametrize("method", ["get", "delete", "post"])
def test_the_user_is_asked_for_as_often_whether_or_not_there_is_a_job(
    make_app, gates, method
):
    policy = CountingPolicy()
    app = make_app(
        {"/start": shop.start},
        configure=lambda config: config.set_security_policy(policy),
    )
    ended = begin(app, "bob", "give", "result")
    drain(app)
    running = begin(app, "bob", "wait_at", "bob")
    gates[1].wait_for_job()
    counts = []
    for path in (ended, running, f"{ended[:-4]}AAAA", "/jobs/unknown"):
        policy.asked = 0
        full = f"{path}/retry" if method == "post" else path
        getattr(app, method)(full, headers=by("eve"), status=404)
        counts.append(policy.asked)

    assert counts == [counts[0]] * len(counts)
    assert counts[0] > 0


@pytest.mark.parametrize("number", ["0", "79c40", "fffff"])
def test_a_sid_of_an_hour_without_jobs_is_unknown_too(app, number):
    sid = f"{number}-{'A' * 22}"
    app.get(f"/jobs/{sid}", status=404)
    ended = begin(app, "bob", "give", "result")
    drain(app)

    stranger = app.get(ended, headers=by("eve"), status=404)
    assert app.get(f"/jobs/{sid}", status=404).body == stranger.body
