"""What a request can do with many calls at once."""

import datetime
import itertools
import time

import pytest
import shop
from pyramid.response import Response

from pyramid_zodb_async import (
    ArgumentNotTransferable,
    BulkTooLarge,
    IScheduler,
    TransactionRequired,
    job,
)
from pyramid_zodb_async.events import JobScheduled
from pyramid_zodb_async.jobs.bulk import Sids
from pyramid_zodb_async.testing import drain, run_next, scheduled, wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def run(make_app):
    """Run code in a request, and give the application."""

    def run(code, status=200, **settings):
        def view(request):
            code(request)
            return Response("done")

        settings.setdefault("zodb_async__engine", "manual")
        configure = settings.pop("configure", None)
        app = make_app({"/view": view}, configure=configure, **settings)
        app.post("/view", status=status)
        return app

    return run


def label(product, text, *, copies=1):
    return [product, text, copies]


def test_the_sids_are_in_the_order_of_the_calls(make_app):
    def start(request):
        calls = ((word,) for word in "abc")
        return request.schedule.many(shop.give, calls)

    def configure(config):
        config.add_route("/start", "/start")
        config.add_view(start, route_name="/start", renderer="json")

    app = make_app(configure=configure)
    sids = app.post("/start").json
    drain(app)

    assert [wait_for(app, sid).result for sid in sids] == ["a", "b", "c"]


def test_calls_have_positional_and_named_arguments(run):
    found = []

    def start(request):
        calls = [(1, "a"), ((2, "b"), {"copies": 3}), ((), {"text": "c"})]
        calls[2][1]["product"] = 3
        found.extend(request.schedule.many(label, calls))

    app = run(start)
    drain(app)

    assert [wait_for(app, sid).result for sid in found] == [
        [1, "a", 1],
        [2, "b", 3],
        [3, "c", 1],
    ]


def test_a_tuple_and_a_dict_as_arguments_are_written_in_a_pair(run):
    found = []

    def start(request):
        calls = [(((1, 2), {"x": 3}), {})]
        found.extend(request.schedule.many(label, calls))

    app = run(start)
    drain(app)

    assert wait_for(app, found[0]).result == [(1, 2), {"x": 3}, 1]


def test_what_the_calls_are_made_from_may_change(run):
    """Each call has its arguments as they were when it was made."""
    found = []

    def start(request):
        named = {}

        def calls():
            for number in range(3):
                named["value"] = number
                yield (), named

        found.extend(request.schedule.many(shop.give, calls()))

    app = run(start)
    drain(app)

    assert [wait_for(app, sid).result for sid in found] == [0, 1, 2]


@pytest.mark.parametrize(
    ("call", "kind"), [("word", "a str"), (7, "an int"), (None, "a NoneType")]
)
def test_what_is_no_call_is_refused_with_its_index(run, call, kind):
    def start(request):
        calls = [("a",), ("b",), ("c",), call]
        with pytest.raises(TypeError) as caught:
            request.schedule.many(shop.give, calls)
        assert str(caught.value) == f"call 3 is {kind}; write (value,)"

    assert scheduled(run(start)) == []


def test_a_bare_persistent_object_is_refused_as_a_call(run):
    def start(request):
        product = shop.root(request)["product"] = shop.Product("tea")
        with pytest.raises(TypeError, match=r"^call 0 is a Product; write"):
            request.schedule.many(shop.give, [product])

    assert scheduled(run(start)) == []


def test_arguments_that_do_not_fit_are_refused_with_the_index(run):
    def start(request):
        calls = [("a",)] * 17 + [("a", "b")]
        with pytest.raises(TypeError) as caught:
            request.schedule.many(shop.give, calls)
        assert str(caught.value).startswith("call 17: shop:give(value) cannot")
        assert type(caught.value) is TypeError

    assert scheduled(run(start)) == []


@pytest.mark.parametrize("named", [{1: 2}, {"other": 1}])
def test_names_that_do_not_fit_are_refused_with_the_index(run, named):
    def start(request):
        with pytest.raises(TypeError, match=r"^call 1: shop:give"):
            request.schedule.many(shop.give, [(1,), ((), named)])

    assert scheduled(run(start)) == []


def test_an_argument_that_cannot_travel_is_refused_with_the_index(run):
    def start(request):
        calls = [("a",), ("b",), (request,)]
        with pytest.raises(ArgumentNotTransferable) as caught:
            request.schedule.many(shop.give, calls)
        assert str(caught.value).startswith("call 2: Argument 1 of shop:give")
        assert "pass the values" in str(caught.value)

    assert scheduled(run(start)) == []


@pytest.mark.parametrize("calls", [[], [(1,)], [("no", "fit")]])
def test_a_function_that_can_be_no_job_is_refused_without_an_index(run, calls):
    def start(request):
        with pytest.raises(TypeError, match=r"^<function .*lambda or inner"):
            request.schedule.many(lambda value: value, calls)

    assert scheduled(run(start)) == []


@pytest.mark.parametrize("calls", [None, 7])
def test_what_is_no_iterable_of_calls_is_refused(run, calls):
    def start(request):
        with pytest.raises(TypeError, match="iterable of tuples"):
            request.schedule.many(shop.give, calls)

    assert scheduled(run(start)) == []


def test_no_calls_are_no_jobs(run):
    def start(request):
        sids = request.schedule.many(shop.give, [])
        assert len(sids) == 0
        assert sids == []

    assert scheduled(run(start)) == []


def test_an_error_of_a_generator_is_passed_on_as_it_is(run):
    def calls():
        yield ("a",)
        raise TypeError("my own")

    def start(request):
        with pytest.raises(TypeError) as caught:
            request.schedule.many(shop.give, calls())
        assert str(caught.value) == "my own"

    assert scheduled(run(start)) == []


def test_a_generator_of_calls_may_schedule_jobs_itself(run):
    def start(request):
        def calls():
            for word in "abc":
                request.schedule(shop.nothing)
                yield (word,)

        request.schedule.many(shop.give, calls())

    app = run(start)

    assert len(scheduled(app)) == 6
    drain(app)


# -- How many -----------------------------------------------------------------


def test_calls_without_an_end_are_refused_after_the_first_too_many(run):
    counted = itertools.count()

    def start(request):
        calls = ((number,) for number in counted)
        with pytest.raises(BulkTooLarge, match=r"zodb_async\.max_bulk"):
            request.schedule.many(shop.give, calls)

    app = run(start, zodb_async__max_bulk=10)

    assert scheduled(app) == []
    assert next(counted) == 11


def test_as_many_calls_as_max_bulk_may_come(run):
    def start(request):
        request.schedule.many(shop.give, [(1,)] * 10)
        request.schedule.many(shop.give, [(1,)] * 10)

    assert len(scheduled(run(start, zodb_async__max_bulk=10))) == 20


# -- Spread -------------------------------------------------------------------


def pauses(app):
    """Give when the jobs are due, in seconds after the first."""
    dues = [view.due for view in scheduled(app)]
    return [(due - dues[1]).total_seconds() for due in dues[1:]]


@pytest.mark.parametrize("spread", [40, 40.0, datetime.timedelta(seconds=40)])
def test_beginnings_are_spread_evenly_and_the_first_is_at_once(run, spread):
    def start(request):
        request.schedule.many(shop.give, [(1,)] * 4, spread=spread)

    before = time.time()
    app = run(start)
    first, second, *_ = scheduled(app)

    assert first.due is None
    assert 10 <= second.due.timestamp() - before < 10 + shop.PATIENCE
    assert pauses(app) == [pytest.approx(10 * n, abs=1e-3) for n in range(3)]


@pytest.mark.parametrize("spread", [None, 0, 0.0, datetime.timedelta()])
def test_without_a_spread_all_begin_at_once(run, spread):
    def start(request):
        request.schedule.many(shop.give, [(1,)] * 3, spread=spread)

    assert {view.due for view in scheduled(run(start))} == {None}


@job(delay=100)
def remind():
    """Remind somebody."""


@pytest.mark.parametrize("own", [False, True])
def test_a_spread_begins_after_the_delay(run, own):
    def start(request):
        schedule, function = request.schedule, remind
        if not own:
            schedule, function = schedule.with_options(delay=100), shop.nothing
        schedule.many(function, [()] * 4, spread=40)

    before = time.time()
    app = run(start)
    first, *_ = scheduled(app)

    assert 100 <= first.due.timestamp() - before < 100 + shop.PATIENCE
    assert pauses(app) == [pytest.approx(10 * n, abs=1e-3) for n in range(3)]


def test_a_spread_begins_at_the_given_moment(run):
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)

    def start(request):
        later = request.schedule.with_options(at=moment)
        later.many(shop.nothing, [()] * 4, spread=40)

    step = datetime.timedelta(seconds=10)
    assert [view.due for view in scheduled(run(start))] == [
        moment + n * step for n in range(4)
    ]


@pytest.mark.parametrize("name", ["delay", "at"])
def test_the_longest_waits_end_at_moments_that_are_shown(run, name):
    years = datetime.timedelta(days=365_000)
    now = datetime.datetime.now(datetime.UTC)
    wait = {"delay": years, "at": now + years}[name]

    def start(request):
        later = request.schedule.with_options(**{name: wait})
        later.many(shop.nothing, [()] * 2, spread=years)

    dues = [view.due for view in scheduled(run(start))]

    a_minute = datetime.timedelta(minutes=1)
    assert abs(dues[0] - now - years) < a_minute
    assert abs(dues[1] - now - 3 * years / 2) < a_minute


@pytest.mark.parametrize(
    ("spread", "error"),
    [
        (-1, ValueError),
        (float("nan"), ValueError),
        (float("inf"), ValueError),
        (1e300, ValueError),
        (datetime.timedelta.max, ValueError),
        (datetime.timedelta(seconds=-1), ValueError),
        (True, TypeError),
        ("40", TypeError),
    ],
)
def test_a_wrong_spread_is_refused_before_the_calls_are_asked_for(
    run, spread, error
):
    asked = []

    def calls():
        asked.append(1)
        yield (1,)

    def start(request):
        with pytest.raises(error, match="'spread' takes seconds"):
            request.schedule.many(shop.give, calls(), spread=spread)

    assert scheduled(run(start)) == []
    assert asked == []


def test_a_job_of_a_spread_runs_at_its_time(make_app):
    def start(request):
        calls = ((number,) for number in range(3))
        request.schedule.many(shop.add, calls, spread=0.3)
        return Response("done")

    app = make_app({"/start": start})
    app.post("/start")
    drain(app)

    assert sorted(shop.effects(app)) == [0, 1, 2]


# -- What else belongs to a job -----------------------------------------------


def test_the_jobs_have_the_options_the_owner_and_the_urls(make_app):
    def start(request):
        urgent = request.schedule.with_options(priority=7, title="Now")
        return Response(json=list(urgent.many(shop.give, [(1,), (2,)])))

    def configure(config):
        config.set_security_policy(Somebody())

    app = make_app({"/start": start}, configure=configure)
    for sid in app.post("/start").json:
        view = wait_for(app, sid)
        assert view.options.priority == 7
        assert view.title == "Now"
        assert view.owner == "ann"


class Somebody:
    """A security policy that knows one user."""

    def authenticated_userid(self, request):
        return "ann"

    def permits(self, request, context, permission):
        return True


def test_subscribers_are_told_of_each_job(run):
    found, sids = [], []

    def start(request):
        sids.extend(request.schedule.many(shop.give, [(1,), (2,), (3,)]))
        assert found == []

    def configure(config):
        config.add_subscriber(
            lambda event: found.append(event.job.sid), JobScheduled
        )

    run(start, configure=configure)

    assert found == sids


def test_a_job_of_the_transaction_is_found_and_cancelled(run):
    def start(request):
        sids = request.schedule.many(shop.add, [("a",), ("b",), ("c",)])
        assert request.jobs.get(sids[1]).function == "shop:add"
        assert request.jobs.cancel(sids[1])

    app = run(start)
    drain(app)

    assert shop.effects(app) == ["a", "c"]


def test_one_job_of_many_is_accepted_and_many_are_none(run):
    def start(request):
        sids = request.schedule.many(shop.give, [(1,), (2,)])
        assert request.accepted(sids[0]).json["sid"] == sids[0]
        assert type(sids) is Sids
        with pytest.raises(TypeError, match="sids of many jobs"):
            request.accepted(sids)

    drain(run(start))


def describe(sids):
    return type(sids).__name__, sids


def test_sids_are_tuples_in_arguments_and_results_of_other_jobs(run):
    found = []

    def start(request):
        sids = request.schedule.many(shop.give, [(1,), (2,)])
        found.extend([sids, request.schedule(describe, sids)])

    app = run(start)
    drain(app)

    kind, result = wait_for(app, found[1]).result
    assert kind == "tuple"
    assert type(result) is tuple
    assert result == found[0]


def test_many_calls_need_a_transaction_before_they_are_asked_for(make_app):
    def view(request):
        request.tm.abort()
        with pytest.raises(TransactionRequired):
            request.schedule.many(shop.give, None)
        request.tm.begin()
        return Response("done")

    explicit = {"tm.manager_hook": "pyramid_tm.explicit_manager"}
    make_app({"/view": view}, **explicit).get("/view")


def test_jobs_run_in_the_order_of_the_calls(run):
    def start(request):
        request.schedule.many(shop.add, ((word,) for word in "abcdefgh"))

    app = run(start)
    while scheduled(app):
        run_next(app)

    assert "".join(shop.effects(app)) == "abcdefgh"


def test_nothing_of_the_jobs_is_left_to_do_when_they_have_run(make_app):
    def start(request):
        calls = ((number,) for number in range(100))
        request.schedule.many(shop.give, calls)
        return Response("done")

    app = make_app({"/start": start}, zodb_async__workers=4)
    for _ in range(3):
        app.post("/start")
    drain(app)

    assert app.app.registry.getUtility(IScheduler).backlog() == 0
