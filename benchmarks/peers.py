"""Other job queues, with a worker of each, and the way there and back."""

import contextlib
import importlib
import os
import pathlib
import shutil
import sys
import tempfile
import time
import types
from functools import partial

import redis
from processes import free_port, process, program, wait_for_port
from stack import in_threads
from storages import POSTGRES, postgres_database, why_not

#: How long to wait for the result of a job, in seconds.
PATIENCE = 30

REDIS = os.environ.get("BENCH_REDIS", "redis://127.0.0.1:6379")

#: The end of the names of those whose broker has a job on the disk before it
#: says so, as a commit of ours is.
FSYNC = " fsync"

#: How many jobs are scheduled at once.
HUNDRED = 100


class Peer:
    """A queue: *put* schedules a job, *get* waits for what it gave.

    Args:
        put: schedules a job, and returns a handle.
        get: waits for the result of a handle.
        put_many: schedules so many jobs, and returns their handles; if the
            queue has no call for that, they are put one by one.
    """

    def __init__(self, put, get, put_many=None):
        self.put = put
        self.get = get
        self.put_many = put_many or (
            lambda number: [put() for _ in range(number)]
        )

    def get_many(self, handles):
        """Wait for the results of many."""
        return [self.get(handle) for handle in handles]


def end_to_end(peer, jobs):
    """Give jobs per second, until all results are there."""
    return rate_of(lambda _: peer.put(), peer.get, jobs)


def in_bulk(peer, jobs):
    """Give jobs per second that are scheduled a hundred at a time."""

    def get_same(handles):
        (result,) = set(peer.get_many(handles))
        return result

    return HUNDRED * rate_of(
        lambda _: peer.put_many(HUNDRED), get_same, max(jobs // HUNDRED, 1)
    )


def rate_of(put, get, jobs):
    """Give jobs per second of two threads; *put* gets each job's number."""
    start = time.perf_counter()
    numbers = iter(range(jobs))
    given = in_threads(2, lambda: [put(number) for number in numbers])
    handles = [handle for of_thread in given for handle in of_thread]
    results = [get(handle) for handle in handles]
    rate = len(handles) / (time.perf_counter() - start)
    if any(result not in {1, (1, None)} for result in results):
        raise AssertionError("not all jobs gave their result")
    return rate


@contextlib.contextmanager
def tasks(*worker, **environ):
    """Start a worker, and give the module of tasks as made for it."""
    with tempfile.TemporaryDirectory() as folder:
        environ.setdefault("BENCH_SQLITE_FILE", f"{folder}/huey.db")
        before = {name: os.environ.get(name) for name in environ}
        os.environ.update(environ)
        sys.modules.pop("peer_tasks", None)
        log = pathlib.Path(folder) / "worker.log"
        try:
            module = importlib.import_module("peer_tasks")
            with process(*worker, log=log):
                yield module
        except BaseException:
            if log.exists():
                print(log.read_text()[-2000:])
            raise
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


@contextlib.contextmanager
def redis_url():
    """Give the URL of an empty database of Redis, emptied afterwards."""
    for number in range(15, -1, -1):
        client = redis.Redis.from_url(f"{REDIS}/{number}")
        if not client.dbsize():
            break
    else:
        raise RuntimeError("Redis has no empty database")
    try:
        yield f"{REDIS}/{number}"
    finally:
        client.flushdb()
        client.close()


@contextlib.contextmanager
def synced_redis_url():
    """Give the URL of a Redis that syncs each command to the disk."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": folder,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
        }
        words = (
            word
            for name, value in options.items()
            for word in (f"--{name}", str(value))
        )
        log = pathlib.Path(folder) / "redis.log"
        with program("redis-server", *words, log=log):
            wait_for_port(port)
            yield f"redis://127.0.0.1:{port}/0"


@contextlib.contextmanager
def redis_tasks(*worker, synced=False, **environ):
    """Start a worker that uses Redis, and give the module of tasks."""
    with (
        synced_redis_url() if synced else redis_url() as url,
        tasks(
            *(word.format(url=url) for word in worker),
            BENCH_REDIS_URL=url,
            **environ,
        ) as module,
    ):
        yield module


HUEY = ("huey.bin.huey_consumer", "-w", "2", "-k", "thread", "-q")


def _huey(task):
    return Peer(
        task, lambda result: result.get(blocking=True, timeout=PATIENCE)
    )


@contextlib.contextmanager
def huey_sqlite(*, synced=False):
    """Huey on SQLite, which is synced to the disk, or never."""
    environ = {"BENCH_SQLITE_SYNCED": "yes"} if synced else {}
    with tasks(*HUEY, "peer_tasks.sqlite_huey", **environ) as module:
        yield _huey(module.sqlite_huey_one)


@contextlib.contextmanager
def huey_redis(*, synced=False):
    """Huey on Redis."""
    with redis_tasks(*HUEY, "peer_tasks.redis_huey", synced=synced) as module:
        yield _huey(module.redis_huey_one)


@contextlib.contextmanager
def celery(zodb_uri="", *, synced=False):
    """Celery with two processes, on Redis; its tasks may use a ZODB."""
    arguments = (
        "celery -A peer_tasks:celery_app worker -c 2 -P prefork -l ERROR"
    )
    with redis_tasks(
        *arguments.split(), synced=synced, BENCH_ZODB_URI=zodb_uri
    ) as module:

        def put_order(number):
            module.place_order(number)
            return module.celery_ship_order.delay(number)

        peer = Peer(
            module.celery_one.delay, lambda sent: sent.get(timeout=PATIENCE)
        )
        peer.put_moment = module.celery_moment.delay
        peer.put_order = put_order
        try:
            yield peer
        finally:
            if zodb_uri:
                module.zodb().close()


@contextlib.contextmanager
def dramatiq(*, synced=False):
    """Dramatiq with two threads, on Redis."""
    arguments = "dramatiq peer_tasks:dramatiq_broker --processes 1 --threads 2"
    with redis_tasks(*arguments.split(), synced=synced) as module:
        yield Peer(
            module.dramatiq_one.send,
            lambda sent: sent.get_result(
                backend=module.dramatiq_results,
                block=True,
                timeout=1000 * PATIENCE,
            ),
        )


@contextlib.contextmanager
def rq(*, synced=False):
    """RQ with two workers that do not fork for each job."""
    from rq import Queue  # noqa: PLC0415 - it may be missing

    arguments = (
        "rq.cli worker-pool bench -n 2 -q --url {url}"
        " --worker-class rq.worker.SimpleWorker"
    )
    with redis_tasks(*arguments.split(), synced=synced) as module:
        queue = Queue("bench", connection=redis.Redis.from_url(module.REDIS))
        call = Queue.prepare_data("peer_tasks.one")
        yield Peer(
            lambda: queue.enqueue("peer_tasks.one"),
            lambda job: job.latest_result(timeout=PATIENCE).return_value,
            lambda number: queue.enqueue_many([call] * number),
        )


@contextlib.contextmanager
def procrastinate():
    """Procrastinate with two jobs at a time; it keeps states, no results."""
    with postgres_database() as name:
        url = f"postgresql://{POSTGRES}/{name}"
        _make_schema(url)
        arguments = (
            "procrastinate --app=peer_tasks.procrastinate_app"
            " worker --concurrency=2"
        )
        with tasks(*arguments.split(), BENCH_POSTGRES_URL=url) as module:
            app = module.procrastinate_app
            with app.open():
                one = module.procrastinate_one
                yield Peer(
                    one.defer,
                    lambda number: _wait_for(app.job_manager, number),
                    lambda number: one.batch_defer(*[{}] * number),
                )


def _make_schema(url):
    from procrastinate import App, PsycopgConnector  # noqa: PLC0415

    with App(connector=PsycopgConnector(conninfo=url)).open() as app:
        app.schema_manager.apply_schema()


def _wait_for(manager, number):
    end = time.monotonic() + PATIENCE
    while manager.get_job_status(number).value != "succeeded":
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.0005)
    return 1


#: Those that can be had with a broker that syncs, and without.
BROKERS = {
    "Huey, Redis": huey_redis,
    "Huey, SQLite": huey_sqlite,
    "Celery, Redis": celery,
    "Dramatiq, Redis": dramatiq,
    "RQ, Redis": rq,
}

PEERS = types.MappingProxyType(
    {
        **BROKERS,
        **{
            name + FSYNC: partial(peer, synced=True)
            for name, peer in BROKERS.items()
        },
        "Procrastinate": procrastinate,
    }
)


def why_not_peer(name):
    """Tell why a peer cannot be measured here, or ``None``."""
    package = name.split(",")[0].lower()
    try:
        importlib.import_module(package)
    except ImportError as error:
        return str(error)
    if name.endswith("Redis"):
        try:
            redis.Redis.from_url(REDIS).ping()
        except redis.RedisError as error:
            return f"Redis does not answer: {error}"
    if name.endswith(f"Redis{FSYNC}") and not shutil.which("redis-server"):
        return "there is no redis-server: apt-get install redis-server"
    return why_not("postgres") if name == "Procrastinate" else None
