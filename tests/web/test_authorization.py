"""Who may do what with a job."""

import time

import pytest
import shop
from users import Root
from users import as_user as by
from zope.interface import implementer

from pyramid_zodb_async import IJobAccess
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


@implementer(IJobAccess)
class Members:
    """Lets the members of ann's project see, and some do more."""

    def __init__(self):
        self.asked = []

    def may(self, request, job, action):
        self.asked.append((job.owner, action))
        user = request.authenticated_userid
        if user == "broken":
            raise ZeroDivisionError
        return (user, action) in {
            ("bob", "view"),
            ("eve", "view"),
            ("eve", "cancel"),
            ("eve", "retry"),
            ("eve", "forget"),
            ("blind", "cancel"),
        }


def act(request):
    action = getattr(request.jobs, request.params["action"])
    return repr(action(request.params["sid"]))


VIEWS = {"/start": shop.start}


def begin(app, function, *arguments, owner="ann"):
    return shop.begin(app, function, *arguments, headers=by(owner))


@pytest.fixture
def members():
    return Members()


@pytest.fixture
def app(make_app, manager, members):
    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())
        config.registry.registerUtility(members, IJobAccess)
        config.add_route("/act", "/act")
        config.add_view(act, route_name="/act", renderer="string")

    return make_app(
        VIEWS,
        configure=configure,
        root=Root,
        **manager,
        zodb_async__permission="see jobs",
    )


def test_the_application_lets_others_see_a_job(app, members):
    path = begin(app, "give", "result")
    drain(app)
    assert app.get(path, headers=by("bob")).json["result"] == "result"
    app.get(path, headers=by("mallory"), status=404)

    assert members.asked == [("ann", "view"), ("ann", "view")]


def test_owners_and_operators_are_not_asked_for(app, members):
    path = begin(app, "give", "result")
    drain(app)
    app.get(path, headers=by("ann"), status=200)
    app.get(path, headers=by("operator"), status=200)
    app.delete(path, headers=by("operator"), status=204)

    assert members.asked == []


def test_who_may_only_see_a_job_cannot_change_it(app, gate):
    running = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    failed = begin(app, "explain")
    answers = [
        app.delete(running, headers=by("bob"), status=403),
        app.post(f"{running}/retry", headers=by("bob"), status=403),
    ]
    gate.open()
    drain(app)
    answers.append(app.delete(failed, headers=by("bob"), status=403))

    for answer in answers:
        assert answer.content_type == "application/problem+json"
        assert answer.json["title"] == "Forbidden"
    assert app.get(running, headers=by("ann")).json["state"] == "succeeded"


def test_who_may_do_more_does_it(app, gate):
    running = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    app.delete(running, headers=by("eve"), status=202)
    gate.open()
    failed = begin(app, "explain")
    drain(app)

    app.post(f"{failed}/retry", headers=by("eve"), status=202)
    drain(app)
    app.delete(failed, headers=by("eve"), status=204)


def test_who_cannot_see_a_job_does_not_learn_of_it_by_changing_it(app, gate):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    app.delete(path, headers=by("blind"), status=404)

    assert app.get(path, headers=by("ann")).json["state"] == "running"


def test_views_ask_the_application_as_well(app, gate):
    sid = begin(app, "wait_at", "gate").rpartition("/")[2]
    gate.wait_for_job()

    def ask(action, user):
        params = {"action": action, "sid": sid}
        return app.get("/act", params, headers=by(user)).text

    assert ask("completed", "bob") == "False"
    assert ask("cancel", "bob") == "False"
    assert ask("cancel", "eve") == "True"
    gate.open()
    assert ask("get_result", "bob") == "None"
    assert ask("completed", "mallory") == "None"
    assert ask("remove", "bob") == "None"
    assert ask("completed", "bob") == "True"
    assert "JobCancelled" in ask("get_result", "eve")
    assert ask("completed", "ann") == "None"


def test_an_application_that_cannot_tell_lets_nobody(app, caplog):
    path = begin(app, "give", "result")
    drain(app)
    answer = app.get(path, headers=by("broken"), status=404)
    unknown = app.get("/jobs/unknown", headers=by("broken"), status=404)

    assert answer.body == unknown.body
    assert answer.headers == unknown.headers
    assert "who may see the jobs" in caplog.text


# -- What others learn --------------------------------------------------------

ASKED = [
    ("GET", "", {}),
    ("HEAD", "", {}),
    ("GET", "", {"If-None-Match": '"0"'}),
    ("GET", "", {"If-None-Match": "*"}),
    ("GET", "", {"Prefer": "wait=10"}),
    ("DELETE", "", {}),
    ("DELETE", "", {"If-Match": '"4294967296"'}),
    ("POST", "/retry", {}),
    ("POST", "/retry", {"If-Match": '"4294967296"'}),
    ("PUT", "", {}),
    ("OPTIONS", "", {}),
]


@pytest.mark.parametrize(("method", "below", "headers"), ASKED)
def test_jobs_of_others_expired_and_unknown_ones_answer_alike(
    app, gate, kept_in, method, below, headers
):
    paths = {
        "running": begin(app, "wait_at", "gate"),
        "failed": begin(app, "explain"),
        "succeeded": begin(app, "give", "result"),
    }
    gate.wait_for_job()
    shop.wait_until(
        lambda: app.get(paths["succeeded"], headers=by("ann")).json["done"]
    )
    forgotten = begin(app, "give", "result", owner="mallory")
    shop.wait_until(
        lambda: app.get(forgotten, headers=by("mallory")).json["done"]
    )
    app.delete(forgotten, headers=by("mallory"), status=204)
    some_key = "A" * 22
    paths |= {
        "forgotten": forgotten,
        "unknown": f"/jobs/79c56-{some_key}",
        "of another hour": f"/jobs/1-{some_key}",
        "too short": "/jobs/79c56-AAAA",
        "no sid": "/jobs/%F0%9F%A6%86",
        "no text": "/jobs/%ff",
    }
    answers = {
        kind: app.request(
            path + below,
            method=method,
            headers=by("mallory") | headers,
            status="*",
        )
        for kind, path in paths.items()
    }
    if method in {"PUT", "OPTIONS"}:
        del answers["no text"]  # has no route
    seen = {
        (answer.status, answer.body, tuple(sorted(answer.headers.items())))
        for answer in answers.values()
    }

    assert len(seen) == 1, answers
    assert app.get(paths["running"], headers=by("ann")).json["state"] == (
        "running"
    )


def test_an_expired_job_answers_as_an_unknown_one(make_app):
    def configure(config):
        config.set_security_policy(shop.HeaderPolicy())

    app = make_app(VIEWS, configure=configure, zodb_async__result_timeout="0")
    path = begin(app, "give", "result")
    drain(app)
    expired = app.get(path, headers=by("ann"), status=404)
    unknown = app.get("/jobs/unknown", headers=by("ann"), status=404)

    assert expired.body == unknown.body
    assert expired.headers == unknown.headers


def test_for_an_unknown_job_as_much_is_asked_as_for_that_of_others(app):
    path = begin(app, "give", "result")
    drain(app)
    made = []
    for asked in (path, "/jobs/unknown"):
        Root.made = 0
        app.get(asked, headers=by("mallory"), status=404)
        made.append(Root.made)

    assert made == [1, 1]


def test_who_asks_for_many_jobs_of_others_makes_one_root(app):
    Root.made = 0
    query = "&".join(f"sid=unknown{number}" for number in range(100))
    app.get(f"/jobs?{query}", headers=by("mallory"))

    assert Root.made == 1


def test_a_request_for_the_job_of_another_leaves_no_trace_in_the_log(
    app, caplog, gate
):
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()
    caplog.clear()
    caplog.set_level("INFO")
    for method, below, headers in ASKED[:9]:
        app.request(
            path + below,
            method=method,
            headers=by("mallory") | headers,
            status=404,
        )

    assert caplog.records == []


def test_the_time_does_not_tell_a_job_of_others_from_an_unknown_one(app, gate):
    """Far from exact: it would show a database that only one of them asks."""
    path = begin(app, "wait_at", "gate")
    gate.wait_for_job()

    def are_alike():
        spent = {path: [], "/jobs/unknown": []}
        for _ in range(100):
            for asked, times in spent.items():
                begin_of_question = time.perf_counter()
                app.get(asked, headers=by("mallory"), status=404)
                times.append(time.perf_counter() - begin_of_question)
        fastest = sorted(sorted(times)[10] for times in spent.values())
        return fastest[1] < 2 * fastest[0]

    shop.at_last(are_alike)
