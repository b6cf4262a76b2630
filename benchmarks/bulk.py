"""Many jobs of one request, beside as many of requests of their own.

A request schedules a hundred jobs, and commits; or one. Another build can be
measured by turns with this one: ``--before`` is the folder of its source.
"""

import argparse
import contextlib
import json
import logging
import pathlib
import sqlite3
import statistics
import time
from functools import partial

import psycopg2
import turns
from machine import print_machine
from stack import Repeats, Runs, count, new_stack, schedule_calls
from storages import POSTGRES, why_not

STORAGES = ("filestorage", "zeo", "sqlite", "postgres")

#: How many requests are timed alone, before the others.
TIMED = 30

#: The longest wait for jobs, in seconds.
PATIENCE = 600

#: The figures: the unit, its digits, and how many of it are one.
UNITS = {
    "request": (" ms", 2, 1e3),
    "until its jobs have ended": (" ms", 1, 1e3),
    "jobs/s": ("", 0, 1),
    "bytes per job": ("", 0, 1),
    "requests repeated": ("", 0, 1),
    "runs repeated": ("", 0, 1),
}


def schedule_each(size, request):
    """Schedule the jobs of a request one by one."""
    for number in range(size):
        request.schedule(count, number)


def schedule_many(size, request):
    """Schedule them with one call, where the build has that."""
    schedule_calls(request, count, ((number,) for number in range(size)))


#: What a request does, by name, and for how many jobs.
WAYS = {
    "alone": (partial(schedule_each, 1), 1),
    "100 a request": (partial(schedule_each, 100), 100),
    "many": (partial(schedule_many, 100), 100),
}


class Sizes:
    """The bytes that a database takes on its disk.

    Args:
        storage: the kind of the storage.
        stack: the application that has it.
    """

    def __init__(self, storage, stack):
        self._storage = storage
        self._stack = stack

    def now(self):
        """Return them; those of PostgreSQL are tables with their indexes."""
        if self._storage == "postgres":
            return self._of_tables()
        if self._storage == "zeo":
            return (self._stack.folder / "Server.fs").stat().st_size
        if self._storage == "sqlite":
            return self._of_pages()
        return (self._stack.folder / "Data.fs").stat().st_size

    def _of_pages(self):
        # the file itself lags behind the log that is written first
        file = self._stack.folder / "sqlite" / "main.sqlite3"
        with contextlib.closing(sqlite3.connect(file)) as opened:
            pages, free, size = (
                opened.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size

    def _of_tables(self):
        name = self._stack.uri.partition("?")[0].rpartition("/")[2]
        opened = psycopg2.connect(f"postgresql://{POSTGRES}/{name}")
        with contextlib.closing(opened), opened.cursor() as cursor:
            cursor.execute(
                "SELECT sum(pg_total_relation_size(relid))"
                " FROM pg_stat_user_tables"
            )
            return int(cursor.fetchone()[0])


def wait(stack):
    """Wait until all jobs have ended.

    While they run, what the builds do to wait for them is no part of this.
    """
    if not Runs.over.wait(PATIENCE) or not stack.scheduler.wait(timeout=60):
        raise SystemExit("The jobs do not end.")


def timed(stack, work, size):
    """Return how long a request takes, and it with the runs of its jobs."""
    Runs.expect(size)
    start = time.perf_counter()
    stack.repeat(work)
    committed = time.perf_counter()
    wait(stack)
    return committed - start, time.perf_counter() - start


def measure(storage, way, jobs):
    """Return the figures of one way on a new database."""
    work, size = WAYS[way]
    repeats = Repeats()
    # those that succeed are told by another one, and cost nothing so
    log = logging.getLogger("pyramid_zodb_async.execution.judging")
    log.addHandler(repeats)
    log.setLevel(logging.INFO)
    with new_stack(storage) as stack:
        for _ in range(3):
            timed(stack, work, size)
        times = [timed(stack, work, size) for _ in range(TIMED)]
        sizes = Sizes(storage, stack)
        before, start = sizes.now(), time.perf_counter()
        Runs.expect(jobs // size * size)
        for _ in range(jobs // size):
            stack.repeat(work)
        wait(stack)
        seconds = time.perf_counter() - start
        requests, wholes = zip(*times, strict=True)
        return {
            "request": statistics.median(requests),
            "until its jobs have ended": statistics.median(wholes),
            "jobs/s": jobs / seconds,
            "bytes per job": (sizes.now() - before) / jobs,
            "requests repeated": stack.conflicts,
            "runs repeated": repeats.count,
        }


def main():
    """Measure each way on each storage."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    turns.add_options(parser)
    add = parser.add_argument
    add("--storage", action="append", choices=STORAGES)
    add("--way", action="append", choices=list(WAYS))
    add("--jobs", type=int, default=2000, help="of each way (%(default)s)")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    print_machine("ZEO", "RelStorage")
    for storage in options.storage or STORAGES:
        if reason := why_not(storage):
            print(f"{storage} missing: {reason}")
            continue
        jobs = options.jobs // 100 * 100
        for way in options.way or WAYS:
            found = turns.figures(
                pathlib.Path(__file__),
                options,
                storage=storage,
                way=way,
                jobs=jobs,
            )
            turns.print_figures(f"{storage}, {way}, {jobs} jobs", found, UNITS)


if __name__ == "__main__":
    main()
