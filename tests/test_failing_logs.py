"""Logging that raises, by a fault of the application, harms no job."""

import contextlib
import io
import logging

import pytest
import shop
import transaction

from pyramid_zodb_async.testing import wait_for


class RaisingFilter(logging.Filter):
    """Asks each record for something that only some records have."""

    def filter(self, record):
        record.user = record.request.user
        return True


class RaisingHandler(logging.Handler):
    """Does not catch what its work raises."""

    def emit(self, record):
        raise LookupError("this handler has no receiver")


@contextlib.contextmanager
def handler_of_the_root(handler):
    root = logging.getLogger()
    # before those of pytest, as that of an application is
    root.handlers.insert(0, handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


@contextlib.contextmanager
def filtered():
    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(RaisingFilter())
    with handler_of_the_root(handler):
        yield


@contextlib.contextmanager
def handled():
    with handler_of_the_root(RaisingHandler()):
        yield


@contextlib.contextmanager
def exiting():
    class Exiting(logging.Filter):
        def filter(self, record):
            raise SystemExit("a filter that ends its thread")

    handler = logging.StreamHandler(io.StringIO())
    handler.addFilter(Exiting())
    with handler_of_the_root(handler):
        yield


@contextlib.contextmanager
def made():
    """Make records that have an attribute of ours already."""
    make = logging.getLogRecordFactory()

    def with_sid(*args, **named_args):
        record = make(*args, **named_args)
        record.sid = "the session's"
        return record

    logging.setLogRecordFactory(with_sid)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)


@pytest.fixture(params=[filtered, handled, made, exiting])
def broken_log(request):
    """Have each line of the log raise, in one way or another."""
    ours = logging.getLogger("pyramid_zodb_async")
    level = ours.level
    ours.setLevel(logging.DEBUG)
    with request.param():
        yield
    ours.setLevel(level)


pytestmark = [
    pytest.mark.kept_in("memory", "zodb"),
    pytest.mark.usefixtures("broken_log"),
]


def state_of(app, function, *arguments):
    sid = shop.sid_of(shop.begin(app, function, *arguments))
    return wait_for(app, sid).state


def test_jobs_end_as_they_would_with_a_log_that_works(make_app):
    app = make_app({"start": shop.start}, zodb_async__workers="1")

    assert state_of(app, "fail") == "failed"
    assert state_of(app, "explain") == "failed"
    assert state_of(app, "nothing") == "succeeded"


class Shapeless(Exception):
    """Raises when it is asked for its class, and another one of itself."""

    @property
    def __class__(self):
        raise Shapeless

    def __str__(self):
        raise Shapeless


def raise_shapeless():
    raise Shapeless


def empty(then=None):
    shop.add("half done")
    del transaction.get()._resources[:]
    if then:
        raise ValueError(then)


def break_transaction(then=None):
    shop.add("half done")
    transaction.get()._resources = None
    if then:
        raise ValueError(then)


def test_x(make_app):
    import sys

    shop.raise_shapeless = raise_shapeless
    shop.empty = empty
    shop.break_transaction = break_transaction
    for f in (raise_shapeless, empty, break_transaction):
        f.__module__ = "shop"
    app = make_app(
        {"start": shop.start}, zodb_async__workers="1", zodb_async__lease="1"
    )
    out = []
    for args in (
        ("raise_shapeless",),
        ("empty", "x"),
        ("break_transaction", "x"),
        ("empty",),
        ("break_transaction",),
        ("nothing",),
    ):
        sid = shop.sid_of(shop.begin(app, *args))
        try:
            v = wait_for(app, sid, 6)
            out.append((args, v.state, v.failure))
        except TimeoutError as e:
            out.append((args, str(e)))
    out.append(shop.effects(app) if hasattr(shop, "effects") else None)
    sys.stdout.write("\n".join(map(str, out)))
    assert 0
