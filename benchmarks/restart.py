"""Measure what a restart costs the jobs that wait for it.

README.rst beside this file tells how to run it and how to read it.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from machine import print_machine
from storages import STORAGES, why_not

#: What happens to the process that has scheduled the jobs.
WAYS = ("no stop", "stop", "kill")


class Over:
    """Whether the jobs may end that keep all workers busy."""

    event = threading.Event()


class Begun:
    """When the first of the measured jobs has begun, on the wall clock."""

    first = 0.0


def hold():
    """Keep a worker busy."""
    Over.event.wait()


def work(seconds):
    """Take some time."""
    Begun.first = Begun.first or time.time()
    time.sleep(seconds)


def opened(options, **how):
    """Give the application of a process."""
    # imported by the children only, to which these functions have to be
    # known by the name of a module
    from stack import Stack  # noqa: PLC0415 - see above

    return Stack(
        options.uri,
        options.workers,
        **how,
        **{"zodb_async.lease": options.lease, "zodb_async.grace": 30},
    )


def fill(options, stack):
    """Have all workers busy, and jobs wait."""
    import restart  # noqa: PLC0415 - a job cannot be in __main__

    for _ in range(options.workers):
        stack.put(restart.hold)
    jobs = stack.scheduler.process.assigned_jobs
    while len(jobs.running()) < options.workers:
        time.sleep(0.01)

    def put_all(request):
        for _ in range(options.jobs):
            request.schedule(restart.work, options.seconds)

    stack.repeat(put_all)
    return restart


def measure(stack, since, begun):
    """Wait until all jobs have ended; give the seconds until then.

    And those until the first one has begun.
    """
    jobs = stack.scheduler.process.assigned_jobs
    while not begun.first or len(jobs):
        time.sleep(0.002)
    return begun.first - since, time.time() - since


def run_child(options):
    """Be one of the processes, and tell what it has measured."""
    import restart  # noqa: PLC0415 - a job cannot be in __main__

    if options.child == "next":
        restart.Over.event.set()
        stack = opened(options, starts=False)
        since = time.time()
        stack.scheduler.start()
        figures = measure(stack, since, restart.Begun)
    else:
        stack = opened(options)
        fill(options, stack)
        if options.child == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        since = time.time()
        if options.child == "stop":
            # when the engine begins no more jobs
            threading.Timer(0.3, restart.Over.event.set).start()
            stack.close()
            figures = 0.0, time.time() - since
        else:
            restart.Over.event.set()
            figures = measure(stack, since, restart.Begun)
            stack.close()
    print(json.dumps(figures), flush=True)
    # what was measured is over; nothing is to be waited for
    os._exit(0)


def child(way, uri, options):
    """Run a process; give what it has measured, if it lived."""
    given = subprocess.run(
        [
            *(sys.executable, __file__, "--child", way, "--uri", uri),
            *("--jobs", str(options.jobs)),
            *("--seconds", str(options.seconds)),
            *("--workers", str(options.workers)),
            *("--lease", str(options.lease)),
        ],
        stdout=subprocess.PIPE,
        check=way != "kill",
    )
    return json.loads(given.stdout) if given.stdout else None


def measure_way(way, storage, options):
    """Give the seconds to the first beginning and to the last end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        STORAGES[storage](pathlib.Path(folder)) as uri,
    ):
        figures = child(way, uri, options)
        return figures if way == "no stop" else child("next", uri, options)


def print_storage(storage, options):
    """Print the figures of a storage, by turns."""
    rounds = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, figures in rounds.items():
            figures.append(measure_way(way, storage, options))
    medians = {
        way: [
            statistics.median(column) for column in zip(*figures, strict=True)
        ]
        for way, figures in rounds.items()
    }
    _, fresh = medians["no stop"]
    print(f"{storage:>12} {fresh:>8.2f}", end="")
    for way in WAYS[1:]:
        first, last = medians[way]
        print(
            f" {first:>7.2f} {last:>7.2f} {last / fresh:>6.2f}"
            f" {(last - first) / fresh:>6.2f}",
            end="",
        )
    print(flush=True)


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--storage", action="append", choices=list(STORAGES))
    add("--jobs", type=int, default=1000)
    add("--seconds", type=float, default=0.02, help="that a job takes")
    add("--workers", type=int, default=4)
    add("--lease", type=float, default=3)
    add("--rounds", type=int, default=3, help="by turns")
    add("--child", choices=[*WAYS, "next"], help=argparse.SUPPRESS)
    add("--uri", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    """Print the figures of all storages that answer."""
    options = parse_options()
    if options.child:
        run_child(options)
    print_machine("ZEO", "RelStorage")
    print(
        f"Seconds for {options.jobs} jobs of {1e3 * options.seconds:g} ms on"
        f" {options.workers} workers, which wait for them to be free, and"
        " after a\nrestart: until the first begins, until the last has ended,"
        " and the ratio of that to\nno stop, with and without the time until"
        f" the first begins. The lease is {options.lease:g} s"
    )
    heading = f" {'first':>7} {'last':>7} {'ratio':>6} {'after':>6}"
    print(f"{'':>12} {'':>8} {'stop':^29} {'kill':^29}")
    print(f"{'':>12} {'no stop':>8}{2 * heading}")
    for storage in options.storage or STORAGES:
        if reason := why_not(storage):
            print(f"{storage:>12} missing: {reason}")
        else:
            print_storage(storage, options)
    print("wanted: a ratio of at most 1.1 after a stop")


if __name__ == "__main__":
    main()
