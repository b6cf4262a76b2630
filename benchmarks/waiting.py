"""What jobs cost while they wait: memory, looks, takeovers and starts.

Very many jobs wait in a process whose engine does not run them. Another build
can be measured by turns with this one: ``--before`` is the folder of its
source.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import logging
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc

import turns
from machine import print_machine
from stack import Stack, rest

from pyramid_zodb_async import IEngine
from pyramid_zodb_async.scheduler.maintenance.takeover import Takeover

#: How many jobs one request schedules.
AT_A_TIME = 100

#: When far-due jobs are due, in seconds from now.
FAR = 60 * 86400

#: How long a process does hardly anything until it counts as quiet, in
#: seconds, and what is hardly anything.
QUIET, LITTLE = 0.6, 0.03

#: The longest wait for a takeover, in seconds.
PATIENCE = 600

#: The figures: the unit, its digits, and how many of it are one.
UNITS = {
    "memory of a waiting job": (" bytes", 0, 1),
    "memory, traced": (" bytes", 0, 1),
    "memory when taken over": (" bytes", 0, 1),
    "scheduling a job": (" µs", 1, 1e6),
    "a look": (" ms", 2, 1e3),
    "takeover of a job": (" µs", 1, 1e6),
    "takeover of a job, CPU": (" µs", 1, 1e6),
    "start, CPU": (" s", 2, 1),
    "start until it is quiet": (" s", 2, 1),
}


def opened(folder, scheduler="zodb", *, starts=True, **settings):
    """Return an application that holds very many jobs.

    Its housekeeper rests, unless the settings say so.
    """
    return Stack(
        f"file://{folder}/Data.fs",
        1,
        folder,
        starts=starts,
        **{
            "zodb_async.scheduler": scheduler,
            "zodb_async.max_pending": 10_000_000,
            "zodb_async.lease": 100_000,
            **settings,
        },
    )


def put(stack, jobs, **options):
    """Schedule jobs; return their sids and the seconds that it took."""
    sids, start = [], time.perf_counter()

    def schedule(request):
        schedule = request.schedule.with_options(**options)
        return [schedule(rest, number) for number in range(AT_A_TIME)]

    for _ in range(jobs // AT_A_TIME):
        sids += stack.repeat(schedule)
    return sids, time.perf_counter() - start


def hold_back(stack):
    """Have jobs wait in the queue of the engine, which runs no more of them.

    A run would keep its connection open, and the database what others write
    meanwhile.
    """
    stack.registry.getUtility(IEngine).stop(0)


def memory(stack):
    """Return the bytes of memory of this process, without caches."""
    # connections that nobody has used note what others have written
    opened = [stack.db.open() for _ in range(stack.db.getPoolSize() - 1)]
    for connection in opened:
        connection.close()
    stack.db.cacheMinimize()
    gc.collect()
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)  # of glibc
    pages = pathlib.Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def hold(scheduler, jobs):
    """Measure memory and looks of a process in which jobs wait."""
    with tempfile.TemporaryDirectory() as folder:
        stack = opened(folder, scheduler)
        hold_back(stack)
        put(stack, 1000)
        before = memory(stack)
        _, seconds = put(stack, jobs)
        found = {
            "memory of a waiting job": (memory(stack) - before) / jobs,
            "scheduling a job": seconds / jobs,
        }
        if scheduler == "zodb":
            found["a look"] = look(stack.scheduler)
        return end(found)


def trace(scheduler, jobs):
    """Count the bytes of the Python objects of waiting jobs."""
    with tempfile.TemporaryDirectory() as folder:
        stack = opened(folder, scheduler)
        hold_back(stack)
        put(stack, 1000)
        memory(stack)
        tracemalloc.start()
        put(stack, jobs)
        memory(stack)
        traced, _ = tracemalloc.get_traced_memory()
        return end({"memory, traced": traced / jobs})


def look(scheduler):
    """Return how long a process looks after the jobs of its store."""
    takeover, times = Takeover(scheduler.process), []
    for _ in range(8):
        start = time.perf_counter()
        takeover.take_over_lost()
        times.append(time.perf_counter() - start)
    # the first look gets to know the store
    return statistics.median(times[1:])


class Takeovers(logging.Handler):
    """Tells when so many jobs were taken over."""

    def __init__(self, jobs):
        super().__init__()
        self._left = jobs
        self.done = threading.Event()

    def emit(self, record):
        """Count them, if it tells of a takeover."""
        if getattr(record, "action", "") == "jobs_taken_over":
            self._left -= record.args[0]
            if self._left <= 0:
                self.done.set()


def take_over(jobs):
    """Measure the takeover of the jobs of a process that has died."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(folder, "dead", jobs)
        takeovers = Takeovers(jobs)
        log = logging.getLogger("pyramid_zodb_async")
        log.addHandler(takeovers)
        log.setLevel(logging.INFO)
        # the storage makes its index first
        stack = opened(folder, starts=False)
        busy, start = time.process_time(), time.perf_counter()
        stack.scheduler.start()
        if not takeovers.done.wait(PATIENCE):
            raise SystemExit("Not all is taken over.")
        wall = time.perf_counter() - start
        busy = time.process_time() - busy
        small = opened_alone()
        return end(
            {
                "takeover of a job": wall / jobs,
                "takeover of a job, CPU": busy / jobs,
                "memory when taken over": (memory(stack) - small) / jobs,
            }
        )


def opened_alone():
    """Return what an application without jobs has of memory."""
    return int(_ask({"part": "bare"})["bytes"])


def bare():
    """Measure an application that has nothing to do."""
    with tempfile.TemporaryDirectory() as folder:
        stack = opened(folder)
        put(stack, 1000)
        return end({"bytes": memory(stack)})


def start(kind, jobs):
    """Measure the start of a process beside jobs of a kind."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(folder, kind, jobs)
        stack = opened(folder, starts=False, **{"zodb_async.lease": 30})
        busy, begin = time.process_time(), time.perf_counter()
        stack.scheduler.start()
        last, since = time.process_time(), time.perf_counter()
        while time.perf_counter() - since < QUIET:
            time.sleep(0.05)
            now = time.process_time()
            if now - last > LITTLE:
                last, since = now, time.perf_counter()
        return end(
            {
                "start, CPU": last - busy,
                "start until it is quiet": since - begin,
            }
        )


def _fill(folder, kind, jobs):
    """Have another process leave jobs in a database."""
    _ask({"part": "fill", "folder": folder, "kind": kind, "jobs": jobs})


def fill(folder, kind, jobs):
    """Leave jobs of a kind in a database, and end the process.

    Those of the dead are of a process that does not stop in order.
    """
    stack = opened(folder)
    hold_back(stack)
    sids, _ = put(stack, jobs, **({"delay": FAR} if kind == "far" else {}))
    if kind == "kept":
        for first in range(0, len(sids), AT_A_TIME):
            some = sids[first : first + AT_A_TIME]
            stack.repeat(
                lambda request, some=some: [
                    request.jobs.cancel(sid) for sid in some
                ]
            )
    if kind != "dead":
        stack.scheduler.stop(0)
    return end({})


def end(found):
    """Print figures, and end the process, though a worker rests."""
    print(json.dumps(found), flush=True)
    os._exit(0)


def _ask(measured):
    """Return what another process of this build finds."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", json.dumps(measured)],
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


MEASURED = {
    "hold": hold,
    "trace": trace,
    "take_over": take_over,
    "bare": bare,
    "start": start,
    "fill": fill,
}


def main():
    """Measure each part."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    turns.add_options(parser)
    add = parser.add_argument
    add("--jobs", type=int, default=100_000, help="%(default)s")
    add("--part", action="append", choices=["memory", "takeover", "start"])
    options = parser.parse_args()
    if options.measure:
        measured = json.loads(options.measure)
        MEASURED[measured.pop("part")](**measured)
    print_machine()
    few = options.jobs // 5
    for part, title, measured in (
        ("memory", "in the database", ("hold", "zodb", options.jobs)),
        ("memory", "in the database", ("trace", "zodb", few)),
        ("memory", "in memory", ("hold", "memory", options.jobs)),
        ("memory", "in memory", ("trace", "memory", few)),
    ):
        if part in (options.part or [part]):
            name, scheduler, jobs = measured
            show(options, title, part=name, scheduler=scheduler, jobs=jobs)
    if "takeover" in (options.part or ["takeover"]):
        show(options, "of a dead process", part="take_over", jobs=options.jobs)
    if "start" in (options.part or ["start"]):
        for kind in ("kept", "far", "waiting"):
            show(options, kind, part="start", kind=kind, jobs=few)


def show(options, title, **measured):
    """Print the figures of a part."""
    found = turns.figures(pathlib.Path(__file__), options, **measured)
    turns.print_figures(f"{measured['jobs']} jobs, {title}", found, UNITS)


if __name__ == "__main__":
    main()
