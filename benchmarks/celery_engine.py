"""Our engine for Celery beside plain Celery, with Redis and two processes.

Run as ``python benchmarks/celery_engine.py [JOBS [ROUNDS]]``.
"""

import contextlib
import pathlib
import statistics
import sys
import tempfile
import time
from typing import NamedTuple

from machine import print_machine
from peers import PATIENCE, celery, rate_of, redis_url
from persistent import Persistent
from processes import process
from pyramid.config import Configurator
from pyramid.paster import get_app
from pyramid.scripting import prepare
from pyramid_zodbconn import get_connection
from storages import postgres, sqlite, zeo

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.database.application import databases_of

INI = """
[app:main]
use = call:celery_engine:main
zodbconn.uri = {uri}
zodb_async.engine = celery
zodb_async.celery_broker = {broker}
"""

WORKER = ("-c", "2", "-P", "prefork", "-l", "ERROR")

#: How many jobs are sent one at a time, to see how soon they start.
SINGLE = 50


class Order(Persistent):
    """An object that requests and jobs change."""

    placed = shipped = 0


def one():
    """Be a job with a result."""
    return 1


def moment():
    """Tell when it runs."""
    return time.time()


def ship(order):
    """Change an object, as a job."""
    order.shipped += 1
    return 1


def main(global_config, **settings):  # noqa: ARG001 - Paste gives it
    """Make the application, of the workers as well."""
    with Configurator(settings=settings) as config:
        for package in ("tm", "zodbconn", "zodb_async"):
            config.include(f"pyramid_{package}")
        return config.make_wsgi_app()


class Ours:
    """Jobs of an application, as a request schedules and fetches them."""

    def __init__(self, ini):
        self._registry = get_app(str(ini)).registry
        self._scheduler = self._registry.getUtility(IScheduler)
        self._scheduler.start()

    def put(self, function=one):
        """Schedule a job."""
        with self._request() as request, request.tm:
            return request.schedule(function)

    def make_orders(self, number):
        """Put objects into the database, which are shipped by jobs."""
        with self._scheduler.process.location.db.transaction() as connection:
            connection.root()["orders"] = tuple(Order() for _ in range(number))

    def put_order(self, number):
        """Change an object, and schedule a job that changes it again."""
        with self._request() as request, request.tm:
            order = get_connection(request).root()["orders"][number]
            order.placed += 1
            return request.schedule(ship, order)

    def check_orders(self, rounds):
        """See that each was placed and shipped as often as it was asked."""
        with self._scheduler.process.location.db.transaction() as connection:
            for order in connection.root()["orders"]:
                if (order.placed, order.shipped) != (rounds, rounds):
                    raise AssertionError("an effect is missing")

    def get(self, sid):
        """Wait for its end, and give what it returned."""
        end = time.monotonic() + PATIENCE
        pause = 0.005
        while True:
            with self._request() as request, request.tm:
                view = request.jobs.get(sid)
                if view.done:
                    return view.result
            if time.monotonic() > end:
                raise TimeoutError
            time.sleep(pause)
            # to ask takes time from those who work
            pause = min(2 * pause, 0.1)

    @contextlib.contextmanager
    def _request(self):
        env = prepare(registry=self._registry)
        try:
            yield env["request"]
        finally:
            env["closer"]()

    def commits(self, number):
        """Give the commits of a small object per second, of one thread."""
        db = self._scheduler.process.location.db
        start = time.perf_counter()
        for count in range(number):
            with db.transaction() as connection:
                connection.root()["count"] = count
        return number / (time.perf_counter() - start)

    def close(self):
        """Let go of all."""
        self._scheduler.stop()
        for db in databases_of(self._registry).values():
            db.close()


@contextlib.contextmanager
def ours(uri):
    """Start two processes of a worker, and an application beside them."""
    with tempfile.TemporaryDirectory() as name, redis_url() as broker:
        ini = pathlib.Path(name) / "bench.ini"
        ini.write_text(INI.format(uri=uri, broker=broker))
        app = Ours(ini)
        worker = "celery -A pyramid_zodb_async.engine.celery:app worker"
        log = pathlib.Path(name) / "worker.log"
        try:
            with process(
                *worker.split(),
                *WORKER,
                log=log,
                environ={"PYRAMID_INI": str(ini)},
            ):
                app.get(app.put())
                yield app
        except BaseException:
            print(log.read_text()[-2000:])
            raise
        finally:
            app.close()


STORAGES = {"ZEO": zeo, "SQLite": sqlite, "PostgreSQL": postgres}


def latencies(put, get):
    """Give the milliseconds from before a job's scheduling to its start."""
    found = []
    for _ in range(SINGLE):
        before = time.time()
        found.append(1000 * (get(put()) - before))
    return found


class Figures(NamedTuple):
    """What is measured of one of the two, in one round."""

    no_op: float
    orders: float
    starts: list[float]


def measure_ours(uri, jobs):
    """Measure our engine, and the commits of the database before."""
    with ours(uri) as app:
        app.make_orders(jobs)
        commits = app.commits(300)
        figures = Figures(
            rate_of(lambda _: app.put(), app.get, jobs),
            rate_of(app.put_order, app.get, jobs),
            latencies(lambda: app.put(moment), app.get),
        )
        app.check_orders(1)
    return commits, figures


def measure_plain(uri, jobs):
    """Measure plain Celery, on a database that ours has used."""
    with celery(uri) as peer:
        peer.get(peer.put())
        return Figures(
            rate_of(lambda _: peer.put(), peer.get, jobs),
            rate_of(peer.put_order, peer.get, jobs),
            latencies(peer.put_moment, peer.get),
        )


def measure(storage, jobs, rounds):
    """Give the figures of both, by turns."""
    commits, mine, theirs = [], [], []
    for _ in range(rounds):
        with (
            tempfile.TemporaryDirectory() as name,
            STORAGES[storage](pathlib.Path(name)) as uri,
        ):
            rate, figures = measure_ours(uri, jobs)
            commits.append(rate)
            mine.append(figures)
            theirs.append(measure_plain(uri, jobs))
    return statistics.median(commits), mine, theirs


def print_rates(what, mine, theirs):
    """Print jobs per second, and the ratio, the median of the rounds."""
    ours_, plain = (
        [getattr(figures, what) for figures in of] for of in (mine, theirs)
    )
    ratio = statistics.median(
        one / other for one, other in zip(ours_, plain, strict=True)
    )
    print(
        f" {statistics.median(ours_):>5.0f} {statistics.median(plain):>7.0f}"
        f" {ratio:>6.2f}",
        end="",
    )


def summary(figures):
    """Tell the median start, and what 99 of a hundred stay below."""
    times = [time for one in figures for time in one.starts]
    last = statistics.quantiles(times, n=100)[-1]
    return f"{statistics.median(times):.1f} / {last:.1f}"


def run(jobs, rounds):
    """Print a table."""
    print_machine("celery", "kombu", "redis")
    print(
        f"Jobs per second, {jobs} at a time, with results, two processes of a"
        f" worker; median of {rounds} rounds.\nOrders: a request changes an"
        " object of the database, and its job changes it again.\nStart: ms"
        " from before the scheduling, one job at a time, median and 99 %"
    )
    print(
        f"{'':>10} {'':>7} {'orders':>20} {'no-op':>20}\n"
        f"{'':>10} {'commits':>7} {'ours':>5} {'Celery':>7} {'ratio':>6}"
        f" {'ours':>5} {'Celery':>7} {'ratio':>6}"
        f" {'start, ours':>14} {'Celery':>14}"
    )
    for storage in STORAGES:
        commits, mine, theirs = measure(storage, jobs, rounds)
        print(f"{storage:>10} {commits:>7.0f}", end="")
        print_rates("orders", mine, theirs)
        print_rates("no_op", mine, theirs)
        print(f" {summary(mine):>14} {summary(theirs):>14}", flush=True)


if __name__ == "__main__":
    # the workers import it by its name
    import celery_engine

    given = [int(argument) for argument in sys.argv[1:]]
    celery_engine.run(*given, *(1000, 3)[len(given) :])
