"""What a request can do with jobs."""

import datetime

import pytest
import shop
import transaction
from pyramid.response import Response

from pyramid_zodb_async import TransactionRequired, UnknownJob
from pyramid_zodb_async.testing import drain, wait_for
from pyramid_zodb_async.web.request_schedule import has_transaction

pytestmark = pytest.mark.kept_in("memory", "zodb")


def schedule(request):
    return request.accepted(request.schedule(shop.add, "word"))


def test_an_accepted_job_answers_with_its_place_and_its_status(make_app):
    answer = make_app({"/view": schedule}).get("/view", status=202)

    sid = answer.json["sid"]
    assert answer.headers["Location"] == f"/jobs/{sid}"
    assert answer.headers["Retry-After"] == "1"
    assert answer.content_type == "application/json"
    assert answer.json["state"] == "pending"
    assert answer.json["attempt"] == 0
    assert answer.json["started"] is None


def test_only_a_known_job_can_be_accepted(make_app):
    def view(request):
        with pytest.raises(UnknownJob, match="no job 'unknown'"):
            request.accepted("unknown")
        return Response("refused")

    make_app({"/view": view}).get("/view")


def test_a_finished_job_can_be_accepted(make_app):
    def again(request):
        return request.accepted(request.params["sid"])

    app = make_app({"/view": schedule, "/again": again})
    sid = app.get("/view").json["sid"]
    drain(app)

    assert app.get("/again", {"sid": sid}, status=202).json["result"] == 1


@pytest.mark.parametrize("sid", [None, 7, b"sid"])
def test_a_sid_that_is_no_string_has_no_job_and_no_url(make_app, sid):
    def view(request):
        jobs = request.jobs
        found = [jobs.get(sid), jobs.cancel(sid), jobs.retry(sid)]
        for refuse in (request.job_url, request.job_progress):
            with pytest.raises(TypeError, match="sid of a job is a string"):
                refuse(sid)
        with pytest.raises(UnknownJob):
            request.accepted(sid)
        return Response(json=found)

    app = make_app({"/view": view})

    assert app.get("/view").json == [None, False, False]


def tell_urls():
    """Tell what the job's own request thinks of where it is."""
    request = shop.get_current_request()
    return request.application_url, request.job_url("sid")


def test_a_job_makes_the_same_urls_as_the_request_that_scheduled(make_app):
    def view(request):
        return request.accepted(request.schedule(tell_urls))

    app = make_app({"/view": view})
    mounted = {"SCRIPT_NAME": "/shop", "HTTP_HOST": "shop.example:8443"}
    mounted["wsgi.url_scheme"] = "https"
    sid = app.get("/view", extra_environ=mounted).json["sid"]

    assert wait_for(app, sid).result == (
        "https://shop.example:8443/shop",
        "https://shop.example:8443/shop/jobs/sid",
    )


def test_a_job_has_the_url_that_its_request_has_at_that_time(make_app):
    def view(request):
        first = request.schedule(tell_urls)
        request.environ["HTTP_HOST"] = "shop.example"
        second = request.schedule(tell_urls)
        request.script_name = "/caf\u00e9"
        third = request.schedule(tell_urls)
        return Response(json=[first, second, third])

    app = make_app({"/view": view})
    sids = app.get("/view").json
    drain(app)

    assert [wait_for(app, sid).result[0] for sid in sids] == [
        "http://localhost",
        "http://shop.example",
        "http://shop.example/caf%C3%A9",
    ]


def tell_host():
    """Tell of what host the job's own request is."""
    return shop.get_current_request().environ["HTTP_HOST"]


@pytest.mark.parametrize("name", ["application_url", "host_url"])
def test_an_application_may_make_the_urls_of_its_requests(make_app, name):
    hosts = iter(["first.example", "second.example"])

    def view(request):
        sids = [request.schedule(tell_host) for _ in range(2)]
        return Response(json=sids)

    app = make_app(
        {"/view": view},
        configure=lambda config: config.add_request_method(
            lambda _request: f"https://{next(hosts)}", name, property=True
        ),
    )
    sids = app.get("/view").json

    assert [wait_for(app, sid).result for sid in sids] == [
        "first.example:443",
        "second.example:443",
    ]


def test_a_request_with_a_bad_host_may_schedule(make_app, caplog):
    def view(request):
        return request.accepted(request.schedule(tell_urls))

    app = make_app({"/view": view})
    bad = {"HTTP_HOST": "shop[.example"}
    sid = app.get("/view", extra_environ=bad).json["sid"]
    drain(app)

    assert wait_for(app, sid).result[0] == "http://localhost"
    assert "shop[.example" in caplog.text


def test_all_arguments_of_the_function_are_free(make_app):
    def view(request):
        sid = request.schedule(
            dict, self=1, function=2, f=3, owner=4, args=5, kw=6
        )
        return request.accepted(sid)

    app = make_app({"/view": view})
    sid = app.get("/view").json["sid"]

    assert wait_for(app, sid).result == {
        "self": 1,
        "function": 2,
        "f": 3,
        "owner": 4,
        "args": 5,
        "kw": 6,
    }


def test_options_go_on_top_of_each_other(make_app):
    def start(request):
        patient = request.schedule.with_options(attempts=7, delay=60)
        urgent = patient.with_options(delay=None, title="Now")
        return request.accepted(urgent(shop.nothing))

    app = make_app({"/start": start})
    view = wait_for(app, app.post("/start").json["sid"])

    assert view.options.attempts == 7
    assert view.title == "Now"


def test_a_wrong_option_is_refused_before_anything_is_scheduled(make_app):
    def start(request):
        request.schedule.with_options(atempts=7)

    app = make_app({"/start": start})
    with pytest.raises(TypeError, match="did you mean 'attempts'"):
        app.post("/start")


def test_a_moment_may_follow_a_delay(make_app):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)

    def start(request):
        later = request.schedule.with_options(delay=60).with_options(at=moment)
        sid = later(shop.nothing)
        assert request.jobs.get(sid).due == moment
        return request.accepted(sid)

    make_app({"/start": start}).post("/start")


# -- Without a transaction ----------------------------------------------------


@pytest.mark.kept_in("memory")
def test_scheduling_needs_pyramid_tm(make_app):
    def view(request):
        with pytest.raises(TransactionRequired) as caught:
            request.schedule(shop.nothing)
        return Response(str(caught.value))

    app = make_app({"/view": view}, includes=["pyramid_zodb_async"])
    assert "config.include('pyramid_tm')" in app.get("/view").text


@pytest.mark.parametrize(
    "make_manager",
    [
        transaction.TransactionManager,
        lambda: transaction.TransactionManager(explicit=True),
        transaction.ThreadTransactionManager,
    ],
)
@pytest.mark.kept_in("memory")
def test_a_manager_is_asked_for_its_transaction_without_beginning_one(
    make_manager,
):
    manager = make_manager()
    assert not has_transaction(manager)
    assert not has_transaction(manager)
    current = manager.begin()
    assert has_transaction(manager)
    assert manager.get() is current
    manager.commit()
    assert not has_transaction(manager)
    manager.begin()
    manager.abort()

    assert not has_transaction(manager)
    assert not manager.registeredSynchs()


@pytest.fixture
def script_request(make_app, manager):
    """Give the request of a script, made by Pyramid's `prepare`."""
    from pyramid.request import Request
    from pyramid.scripting import prepare

    app = make_app(**manager, zodb_async__engine="inline")
    request = Request.blank("/")
    with prepare(request=request, registry=app.app.registry):
        request.test_app = app
        yield request


def test_scheduling_outside_a_transaction_is_refused(script_request):
    with pytest.raises(TransactionRequired, match=r"with request\.tm:"):
        script_request.schedule(shop.nothing)


@pytest.mark.kept_in("memory")
def test_a_script_schedules_inside_a_transaction(script_request):
    with script_request.tm:
        sid = script_request.schedule(shop.add, "by a script")

    assert wait_for(script_request, sid).result == 1
    assert shop.effects(script_request.test_app) == ["by a script"]


def test_scheduling_after_an_abort_needs_a_new_explicit_transaction(make_app):
    def view(request):
        request.tm.abort()
        with pytest.raises(TransactionRequired, match="was ended before"):
            request.schedule(shop.add, "never")
        request.tm.begin()
        request.schedule(shop.add, "job")
        return Response("done")

    explicit = {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    app = make_app({"/view": view}, **explicit)
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["job"]


def test_scheduling_after_an_abort_works_with_an_implicit_one(make_app):
    def view(request):
        request.tm.abort()
        request.schedule(shop.add, "job")
        return Response("done")

    app = make_app({"/view": view})
    app.get("/view")
    drain(app)

    assert shop.effects(app) == ["job"]


def test_scheduling_in_an_after_commit_hook_is_refused(make_app, manager):
    errors = []

    def view(request):
        def hook(committed):
            with pytest.raises(TransactionRequired) as caught:
                request.schedule(shop.add, "too late")
            errors.append(str(caught.value))

        request.tm.get().addAfterCommitHook(hook)
        return Response("done")

    app = make_app({"/view": view}, **manager)
    app.get("/view")
    drain(app)

    assert len(errors) == 1
    assert shop.effects(app) == []
