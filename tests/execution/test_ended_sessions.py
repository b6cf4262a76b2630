"""A database server that ends the session of a job while it computes."""

import pytest
import shop
import storages
from shop import wait_until

from pyramid_zodb_async.execution import rules
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.parametrize(
    ("kept_in", "storage"), [("memory", "postgres"), ("zodb", "postgres")]
)

#: The name of the database, and how often its server is to end a session.
SERVER = {}


def sessions_in_transactions():
    """List the sessions that wait for their clients in a transaction."""
    with storages.admin() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s"
            " AND state LIKE 'idle in transaction%%'",
            (SERVER["database"],),
        )
        return [pid for (pid,) in cursor.fetchall()]


def compute():
    """Load something, and compute until the session is ended."""
    shop.attempts.append(None)
    product = shop.root()["product"]
    product._p_jar.cacheMinimize()
    if len(shop.attempts) <= SERVER["times"]:
        before = set(sessions_in_transactions())
        assert before
        wait_until(lambda: not before.intersection(sessions_in_transactions()))
    # loaded from the server
    return shop.add(product.name)


def stock(request):
    shop.root(request)["product"] = shop.Product("word")
    return request.response


def start(request):
    return request.accepted(request.schedule(compute))


@pytest.fixture
def app(make_app, storage_uri, monkeypatch):
    """An application whose server ends what waits in a transaction."""
    monkeypatch.setattr(rules, "GREATEST_DELAY", 0.01)
    shop.attempts.clear()
    SERVER["database"] = storage_uri(0).partition("?")[0].rpartition("/")[2]
    # what is in the caches of RelStorage is not loaded from the server
    uri = f"{storage_uri(0)}&cache_local_mb=0"
    app = make_app({"/start": start, "/stock": stock}, zodbconn__uri=uri)
    # the tables are made without the limit
    SERVER["times"] = 0
    app.post("/stock")
    app.post("/start")
    drain(app)
    shop.attempts.clear()
    with storages.admin() as cursor:
        cursor.execute(
            f"ALTER DATABASE {SERVER['database']}"
            " SET idle_in_transaction_session_timeout = '500ms'"
        )
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s",
            (SERVER["database"],),
        )
    return app


def test_a_job_whose_session_is_ended_each_time_fails_with_the_reason(
    app, caplog
):
    SERVER["times"] = 100
    job = app.post("/start").json
    drain(app)
    view = shop.scheduler_of(app)
    failure = shop.in_thread(lambda: view.get(job["sid"])).failure

    assert len(shop.attempts) == 3
    assert "Error" in failure.type
    assert shop.effects(app) == ["word"]
    refused = [
        record
        for record in caplog.records
        if getattr(record, "action", None) == "job_refused"
    ]
    assert [record.levelname for record in refused] == ["WARNING"] * 3
    assert failure.message.partition("\n")[0] in caplog.text


def test_a_job_whose_session_is_ended_once_is_repeated(app):
    SERVER["times"] = 1
    app.post("/start")
    drain(app)

    assert len(shop.attempts) == 2
    assert shop.effects(app) == ["word", "word"]
