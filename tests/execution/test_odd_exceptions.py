"""Whatever a job raises, it ends, and its worker goes on."""

import pytest
import shop
import transaction

from pyramid_zodb_async.testing import wait_for

pytestmark = pytest.mark.kept_in("memory", "zodb")


@pytest.fixture
def engine():
    """Threads, one of which must not be lost."""
    return {
        "zodb_async.engine": "threads",
        "zodb_async.workers": "1",
        "zodb_async.lease": "1",
    }


@pytest.fixture
def manager():
    """The transaction manager of the thread."""
    return {}


class Shapeless(Exception):
    """Raises another one of its kind when it is asked for its class."""

    @property
    def __class__(self):
        raise Shapeless

    def __str__(self):
        raise Shapeless


class NamelessKind(type):
    """A class of exceptions that raises one when it is asked for its name."""

    def __getattribute__(cls, name):
        if name == "__qualname__":
            raise cls
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=NamelessKind):
    """Cannot be told by its class."""


def raise_shapeless():
    shop.add("half done")
    raise Shapeless


def raise_shapeless_group():
    shop.add("half done")
    raise ExceptionGroup("several", [Shapeless(), ValueError("and another")])


def raise_nameless():
    shop.add("half done")
    raise Nameless


def raise_in_code_without_a_module():
    shop.add("half done")
    exec("raise ValueError('from nowhere')", {"__name__": None})


#: The connections of jobs that have taken them out of their transaction.
lost = []


def close_lost():
    """Close them, on the thread that has opened them."""
    while lost:
        connection = lost.pop()
        connection.abort(None)
        connection.close()


def empty_the_transaction():
    shop.add("half done")
    lost.append(shop.root()._p_jar)
    del transaction.get()._resources[:]
    raise ValueError("nothing takes part any more")


def empty_the_transaction_and_return():
    shop.add("half done")
    lost.append(shop.root()._p_jar)
    del transaction.get()._resources[:]


def break_the_transaction():
    shop.add("half done")
    lost.append(shop.root()._p_jar)
    transaction.get()._resources = None


def start_another(request):
    return request.accepted(request.schedule(close_lost))


def configure(config):
    config.add_route("another", "another")
    config.add_view(start_another, route_name="another")


def goes_on(app):
    """Tell whether the worker runs another job."""
    sid = app.post("/another").json["sid"]
    return wait_for(app, sid).state == "succeeded"


@pytest.mark.parametrize(
    ("function", "kind", "text"),
    [
        (raise_shapeless, "Shapeless", "(the text of this Shapeless raises)"),
        (
            raise_shapeless_group,
            "ExceptionGroup",
            (
                "several (2 sub-exceptions): Shapeless: (the text of this"
                " Shapeless raises); ValueError: and another"
            ),
        ),
        (raise_in_code_without_a_module, "ValueError", "from nowhere"),
        (empty_the_transaction, "ValueError", "nothing takes part any more"),
        (break_the_transaction, "TypeError", None),
    ],
)
def test_a_job_fails_with_what_it_has_raised(run, function, kind, text):
    view = run(function, configure=configure)

    assert view.state == "failed"
    assert view.failure.type == kind
    assert text is None or view.failure.message == text
    assert not view.failure.public
    assert goes_on(run.app)
    assert shop.effects(run.app) == []


@pytest.mark.parametrize("kept_in", ["zodb"])
def test_a_job_fails_that_cannot_commit_its_success(run, kept_in):
    view = run(empty_the_transaction_and_return, configure=configure)

    assert view.state == "failed"
    assert view.failure.type == "TransactionRequired"
    assert "out of its transaction" in view.failure.message
    assert goes_on(run.app)
    assert shop.effects(run.app) == []


def test_a_job_fails_whose_exception_cannot_even_be_named(run, caplog):
    view = run(raise_nameless, configure=configure)

    assert view.state == "failed"
    assert "cannot be told" in view.failure.message
    assert "job_failed" in [record.action for record in caplog.records]
    assert goes_on(run.app)
    assert shop.effects(run.app) == []
