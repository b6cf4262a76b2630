"""A job that nothing would commit is refused, wherever it is scheduled."""

import threading

import pytest
import shop
import transaction
from pyramid.response import Response
from pyramid.scripting import prepare
from transaction.interfaces import TransactionFailedError

from pyramid_zodb_async import TransactionRequired
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("memory", "zodb")


def change(request):
    """Begin an implicit transaction, as code does that does not think of it.

    An explicit manager refuses that.
    """
    if not request.tm.explicit:
        root = shop.root(request)
        root["changed"] = root.get("changed", 0) + 1


def schedule(request):
    """Return what comes of scheduling."""
    try:
        request.schedule(shop.add, "job")
    except TransactionRequired as error:
        return str(error)
    return "scheduled"


class Attempts:
    """Schedules in a request, after a change or not, and notes what comes."""

    def __init__(self, how):
        self.how = how
        self.came = []

    def __call__(self, request, _response=None):
        if self.how == "changed":
            change(request)
        if self.how == "begun":
            with request.tm:
                self.came.append(schedule(request))
        else:
            self.came.append(schedule(request))


@pytest.mark.parametrize("how", ["changed", "unchanged", "begun"])
@pytest.mark.parametrize("where", ["response", "finished"])
@pytest.mark.parametrize("loads", [True, False])
def test_a_callback_after_the_commit_needs_its_own_transaction(
    make_app, manager, how, where, loads
):
    attempts = Attempts(how)

    def view(request):
        # before pyramid_zodbconn adds the one that closes the connection
        getattr(request, f"add_{where}_callback")(attempts)
        if loads:
            shop.history(request).append("view")
        return Response()

    app = make_app({"/view": view}, **manager)
    for _ in range(2):
        app.get("/view")
    drain(app)

    if how == "begun":
        assert attempts.came == ["scheduled"] * 2
        assert shop.effects(app).count("job") == 2
    else:
        assert "outside a transaction" in attempts.came[0]
        assert attempts.came[1] == attempts.came[0]
        assert "job" not in shop.effects(app)


def own_manager(request):
    """Make a manager of the request's own, which is not explicit."""
    return transaction.TransactionManager()


@pytest.mark.parametrize("how", ["changed", "unchanged", "begun"])
@pytest.mark.parametrize("where", ["response", "finished"])
def test_so_it_is_with_a_manager_of_the_requests_own(make_app, how, where):
    attempts = Attempts(how)

    def view(request):
        getattr(request, f"add_{where}_callback")(attempts)
        shop.history(request).append("view")
        return Response()

    app = make_app({"/view": view}, tm__manager_hook=f"{__name__}.own_manager")
    app.get("/view")
    drain(app)

    is_scheduled = how == "begun"
    assert (attempts.came == ["scheduled"]) is is_scheduled
    assert shop.effects(app) == ["view"] + ["job"] * is_scheduled


@pytest.mark.parametrize("how", ["changed", "unchanged", "begun"])
def test_a_view_without_pyramid_tm_needs_its_own_transaction(
    make_app, manager, how
):
    attempts = Attempts(how)

    def view(request):
        attempts(request)
        return Response()

    app = make_app(
        {"/view": view}, **manager, tm__activate_hook=f"{__name__}.never"
    )
    app.get("/view")
    drain(app)

    is_scheduled = how == "begun"
    assert (attempts.came == ["scheduled"]) is is_scheduled
    assert shop.effects(app) == ["job"] * is_scheduled


def never(request):
    """Have pyramid_tm do nothing."""
    return False


def test_a_tween_above_pyramid_tm_may_have_a_transaction(make_app, manager):
    came = []

    def factory(handler, registry):
        def tween(request):
            with request.tm:
                came.append(schedule(request))
            response = handler(request)
            with request.tm:
                came.append(schedule(request))
            change(request)
            came.append(schedule(request))
            return response

        return tween

    globals()["factory"] = factory
    app = make_app(
        {"/view": lambda request: Response()},
        configure=lambda config: config.add_tween(
            f"{__name__}.factory", over="pyramid_tm.tm_tween_factory"
        ),
        **manager,
    )
    app.get("/view")
    drain(app)

    assert came[:2] == ["scheduled"] * 2
    assert "outside a transaction" in came[2]
    assert shop.effects(app) == ["job"] * 2


def test_hooks_before_the_commit_are_in_time(make_app, manager):
    came = []

    def view(request):
        request.tm.get().addBeforeCommitHook(
            lambda: came.append(schedule(request))
        )
        return Response()

    app = make_app({"/view": view}, **manager)
    app.get("/view")
    drain(app)

    assert came == ["scheduled"]
    assert shop.effects(app) == ["job"]


@pytest.mark.parametrize("delay", [None, 5000])
def test_an_after_commit_hook_of_a_script_is_too_late(
    make_app, manager, delay
):
    """Also in a process that leaves the job to others."""
    app = make_app(**manager)
    came = []

    def hook(_committed):
        with pytest.raises(TransactionRequired) as refusal:
            env["request"].schedule.with_options(delay=delay)(shop.nothing)
        came.append(str(refusal.value))

    with prepare(registry=app.app.registry) as env, env["request"].tm as now:
        now.addAfterCommitHook(hook)
    assert len(came) == 1


class Refusing:
    """A data manager that votes against the commit."""

    transaction_manager = None

    def sortKey(self):
        return ""

    def tpc_vote(self, _transaction):
        raise ZeroDivisionError

    def abort(self, _transaction):
        """Do nothing."""

    tpc_begin = commit = tpc_finish = tpc_abort = abort


def test_an_exception_view_after_a_failed_commit_is_too_late(
    make_app, manager
):
    came = []

    def view(request):
        request.tm.get().join(Refusing())
        return Response()

    def show(error, request):
        with pytest.raises((TransactionRequired, TransactionFailedError)):
            request.schedule(shop.add, "job")
        came.append(error)
        return Response("sorry")

    app = make_app(
        {"/view": view},
        configure=lambda config: config.add_exception_view(
            show, context=ZeroDivisionError
        ),
        **manager,
    )
    app.get("/view")
    drain(app)

    assert len(came) == 1
    assert shop.effects(app) == []


def add_callback(how):
    """Schedule when the job is over."""
    request = shop.get_current_request()
    request.add_finished_callback(attempts_of_jobs[how])
    return shop.add("ran")


attempts_of_jobs = {}


@pytest.mark.parametrize("how", ["changed", "unchanged", "begun"])
def test_a_finished_callback_of_a_job_needs_its_own_transaction(
    make_app, manager, how, kept_in
):
    attempts = attempts_of_jobs[how] = Attempts(how)
    app = make_app(
        {
            "/view": lambda request: request.accepted(
                request.schedule(add_callback, how)
            )
        },
        **manager,
    )
    app.get("/view")
    drain(app)
    drain(app)

    # in the database the connection of the job is needed, which is closed
    is_scheduled = how == "begun" and kept_in == "memory"
    assert (attempts.came == ["scheduled"]) is is_scheduled
    assert ("job" in shop.effects(app)) is is_scheduled


def test_a_script_may_leave_the_begin_to_the_manager(make_app):
    app = make_app()
    with prepare(registry=app.app.registry) as env:
        request = env["request"]
        shop.root(request)["changed"] = 1
        assert schedule(request) == "scheduled"
        transaction.commit()
    app.get("/jobs/unknown", status=404)  # which starts the scheduler
    drain(app)

    assert shop.effects(app) == ["job"]


def test_a_script_on_the_thread_of_a_request_may_do_so_too(make_app):
    app = make_app(
        {"/view": lambda request: Response()}, zodb_async__engine="inline"
    )
    app.get("/view")
    with prepare(registry=app.app.registry) as env:
        request = env["request"]
        shop.root(request)["changed"] = 1
        assert schedule(request) == "scheduled"
        transaction.commit()

    assert shop.effects(app) == ["job"]


@pytest.mark.kept_in("memory")  # pyramid_zodbconn closes before that commit
def test_code_around_the_application_may_have_begun(make_app):
    came = []

    def view(request):
        came.append(schedule(request))
        return Response()

    app = make_app({"/view": view}, tm__activate_hook=f"{__name__}.never")

    def serve():
        for _ in range(2):  # the first request of a thread, and a later one
            with transaction.manager:
                app.get("/view")

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join(shop.PATIENCE)
    drain(app)

    assert came == ["scheduled"] * 2
    assert shop.effects(app) == ["job"] * 2
