"""The same job for each peer, as both its clients and its workers see it.

A module of its own for the workers that import it by name. Where the services
are comes by the environment. Each name exists if its package is installed.
"""

import contextlib
import os

REDIS = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/15")
SQLITE = os.environ.get("BENCH_SQLITE_FILE", ":memory:")
POSTGRES = os.environ.get("BENCH_POSTGRES_URL", "postgresql://")


def one():
    """Be a job with a result."""
    return 1


with contextlib.suppress(ImportError):
    from huey import RedisHuey, SqliteHuey

    redis_huey = RedisHuey("bench", url=REDIS)
    redis_huey_one = redis_huey.task(name="one")(one)
    sqlite_huey = SqliteHuey("bench", filename=SQLITE)
    sqlite_huey_one = sqlite_huey.task(name="one")(one)

with contextlib.suppress(ImportError):
    import celery

    celery_app = celery.Celery("bench", broker=REDIS, backend=REDIS)
    celery_one = celery_app.task(name="one")(one)

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
