"""What a process costs that has nothing to do, beside far-due jobs.

Each slice has one job that is due in sixty days, as an application makes them
that reminds somebody now and then. A process opens the store, and is watched
while it does nothing.
"""

import argparse
import contextlib
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import transaction
import ZEO
from machine import print_machine
from ZODB.DB import DB
from zodburi import resolve_uri

from pyramid_zodb_async.database.connections import JarConnections
from pyramid_zodb_async.engine.inline import InlineEngine
from pyramid_zodb_async.scheduler.store.location import RootLocation
from pyramid_zodb_async.scheduler.zodb import ZODBScheduler

#: When the jobs are due, in seconds from the time at which they are scheduled.
FAR = 60 * 86400

POSTGRES = "postgres://postgres@127.0.0.1:5432/{name}?driver=psycopg2"


@contextlib.contextmanager
def opened(uri, cache_size):
    """Open a database with connections of some size."""
    factory, options = resolve_uri(uri)
    options.pop("connection_cache_size", None)
    db = DB(factory(), cache_size=cache_size, pool_size=20)
    try:
        yield db
    finally:
        db.close()


def scheduler_on(db, lease):
    """Return a scheduler of the database, which does not run yet."""
    scheduler = ZODBScheduler(RootLocation(lambda: db), lease=lease)
    scheduler.use(InlineEngine(lambda _: None))
    return scheduler


def fill(uri, slices):
    """Schedule one job in each of some hours that lie in the past."""
    with opened(uri, 400) as db:
        scheduler = scheduler_on(db, 30)
        begin = time.time() - 3600 * slices

        def open_slice(store, hour):
            _, newest = store.newest()
            store.open_slice(begin + 3600 * hour, newest.longest_timeout)

        def make(store):
            # the first slice is that of now; all are to be older than that
            del store.slices[store.slices.maxKey()]
            store.open_slice(begin, 3600.0)

        scheduler.process.location.write(make, note="the store")
        for hour in range(1, slices + 1):
            transaction.begin()
            connection = db.open()
            # as a view does, in a transaction of its own
            schedule(scheduler, connection)
            transaction.commit()
            connection.close()
            scheduler.process.location.write(
                lambda store, hour=hour: open_slice(store, hour),
                note="a slice",
            )


def schedule(scheduler, connection):
    """Schedule a job that is due much later."""
    scheduler.schedule_call(
        print, (), {}, JarConnections(connection), options={"delay": FAR}
    )


def watch(uri, lease, cache_size, seconds):
    """Print the costs of a process that has nothing to do."""

    def memory():
        pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
        return int(pages) * resource.getpagesize() / 1e6

    def busy():
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime

    with opened(uri, cache_size) as db:
        scheduler = scheduler_on(db, lease)
        db.open().close()
        memory_before, busy_before = memory(), busy()
        scheduler.start()
        # the start looks through all slices, also after the first beat
        last, now = -1.0, busy()
        while now - last > 0.1:
            last = now
            time.sleep(max(5, lease / 3 + 1))
            now = busy()
        begun = now - busy_before
        busy_before, since = busy(), time.monotonic()
        time.sleep(seconds)
        share = (busy() - busy_before) / (time.monotonic() - since)
        print(
            f"start {begun:6.2f} s of a core, then {100 * share:6.2f} % of"
            f" one; {memory() - memory_before:6.1f} MB more than before,"
            f" {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:6.1f}"
            " MB at most in all",
            flush=True,
        )
        scheduler.stop(0)


@contextlib.contextmanager
def storage(kind, folder):
    """Give the URI of a new storage."""
    if kind == "file":
        yield f"file://{folder}/Data.fs"
    elif kind == "zeo":
        (host, port), stop = ZEO.server(f"{folder}/Data.fs")
        try:
            yield f"zeo://{host}:{port}"
        finally:
            stop()
    else:
        name = f"idle_{time.time_ns()}"
        run = ["psql", "-h", "127.0.0.1", "-U", "postgres", "-qc"]
        subprocess.run([*run, f"CREATE DATABASE {name}"], check=True)
        try:
            yield POSTGRES.format(name=name)
        finally:
            subprocess.run([*run, f"DROP DATABASE {name}"], check=True)


def main():
    """Measure each storage with few slices and with many."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--slices", type=int, nargs="*", default=[1, 100, 1000]
    )
    parser.add_argument(
        "--storages", nargs="*", default=["file", "zeo", "postgres"]
    )
    parser.add_argument("--lease", type=float, default=30)
    parser.add_argument("--cache", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--watch", help="the URI of the storage to be watched")
    given = parser.parse_args()
    if given.watch:
        watch(given.watch, given.lease, given.cache, given.seconds)
        return
    print_machine("ZEO", "RelStorage")
    for kind in given.storages:
        for slices in given.slices:
            with (
                tempfile.TemporaryDirectory() as folder,
                storage(kind, folder) as uri,
            ):
                fill(uri, slices)
                print(f"{kind:>9} {slices:5} slices: ", end="", flush=True)
                options = [
                    *("--lease", str(given.lease)),
                    *("--cache", str(given.cache)),
                    *("--seconds", str(given.seconds)),
                ]
                subprocess.run(
                    [sys.executable, __file__, "--watch", uri, *options],
                    check=True,
                )


if __name__ == "__main__":
    main()
