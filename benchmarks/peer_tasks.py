"""The same job for each peer, as both its clients and its workers see it.

A module of its own for the workers that import it by name. Where the services
are comes by the environment. Each name exists if its package is installed.
"""

import contextlib
import functools
import os
import time

import ZODB

REDIS = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/15")
SQLITE = os.environ.get("BENCH_SQLITE_FILE", ":memory:")
SQLITE_SYNCED = "BENCH_SQLITE_SYNCED" in os.environ
POSTGRES = os.environ.get("BENCH_POSTGRES_URL", "postgresql://")


def one():
    """Be a job with a result."""
    return 1


def moment():
    """Tell when it runs."""
    return time.time()


with contextlib.suppress(ImportError):
    from huey import RedisHuey, SqliteHuey

    redis_huey = RedisHuey("bench", url=REDIS)
    redis_huey_one = redis_huey.task(name="one")(one)
    sqlite_huey = SqliteHuey("bench", filename=SQLITE, fsync=SQLITE_SYNCED)
    sqlite_huey_one = sqlite_huey.task(name="one")(one)


@functools.cache
def zodb():
    """Open the ZODB, in the process that asks."""
    import zodburi  # noqa: PLC0415 - a package of few of them

    factory, options = zodburi.resolve_uri(os.environ["BENCH_ZODB_URI"])
    return ZODB.DB(factory(), **options)


def place_order(number):
    """Change an object, as a request would."""
    with zodb().transaction() as connection:
        connection.root()["orders"][number].placed += 1


def ship_order(number):
    """Change the object, as a job."""
    with zodb().transaction() as connection:
        connection.root()["orders"][number].shipped += 1
    return 1


with contextlib.suppress(ImportError):
    import celery

    celery_app = celery.Celery("bench", broker=REDIS, backend=REDIS)
    celery_one = celery_app.task(name="one")(one)
    celery_moment = celery_app.task(name="moment")(moment)
    celery_ship_order = celery_app.task(name="ship_order")(ship_order)

with contextlib.suppress(ImportError):
    import dramatiq
    from dramatiq.brokers.redis import RedisBroker
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    dramatiq_broker = RedisBroker(url=REDIS)
    dramatiq_results = RedisBackend(url=REDIS)
    dramatiq_broker.add_middleware(Results(backend=dramatiq_results))
    dramatiq_one = dramatiq.actor(
        one, broker=dramatiq_broker, store_results=True
    )

with contextlib.suppress(ImportError):
    import procrastinate

    procrastinate_app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=POSTGRES)
    )
    procrastinate_one = procrastinate_app.task(name="one")(one)
