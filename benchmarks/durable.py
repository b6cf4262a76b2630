"""Measure jobs in the database, beside the bare storage and beside peers.

README.rst beside this file tells how to run it and how to read it.
"""

import argparse
import contextlib
import gc
import logging
import signal
import statistics
import sys
import time

from loop_app import ALONE, HAS_BATCHES
from machine import print_machine
from peers import HUNDRED, PEERS, end_to_end, in_bulk, why_not_peer
from stack import Repeats, commit_rate, job_rate, new_stack, start_delays
from storages import STORAGES, why_not

PARTS = ("rates", "bytes", "delay", "conflicts", "peers", "bulk")


def usable(names):
    """Give the storages that answer; tell of the others."""
    for name in names:
        if reason := why_not(name):
            print(f"{name:>12} missing: {reason}")
        else:
            yield name


# --- jobs per second ---------------------------------------------------------


def measure_rates(storage, options):
    """Measure all of one storage by turns; give the medians by database."""
    with contextlib.ExitStack() as opened:
        stacks = {
            kept: opened.enter_context(new_stack(storage, kept=kept))
            for kept in options.kept
        }
        for stack in stacks.values():
            job_rate(stack, 0.3)
        rounds = {kept: [] for kept in stacks}
        for _ in range(options.rounds):
            for kept, stack in stacks.items():
                gc.collect()
                rounds[kept].append(measure_round(stack, options))
    return {
        kept: [statistics.median(column) for column in zip(*rows, strict=True)]
        for kept, rows in rounds.items()
    }


def measure_round(stack, options):
    """Give commits/s, jobs/s, and that without fetching, of one database."""
    seconds = options.seconds
    return (
        commit_rate(stack.db, seconds / 2),
        job_rate(stack, seconds, fetch=options.fetch)[1],
        job_rate(stack, seconds, fetch="no")[1],
    )


def print_rates(options):
    """Print jobs per second of all storages."""
    print(
        "Jobs/s, 2 threads that schedule and fetch and 2 workers, beside"
        " commits/s of a small\nobject by 4 threads in the same database:"
        " medians, by turns; ratio = jobs/s : (commits/s : 2);"
        f"\nfetched by {options.fetch}"
    )
    print(
        f"{'':>12} {'kept':>7} {'commits/s':>10} {'jobs/s':>7} ratio"
        f" {'not fetched':>12} ratio"
    )
    for storage in usable(options.storage):
        figures = measure_rates(storage, options)
        for kept, (commits, fetched, left) in figures.items():
            print(
                f"{storage:>12} {kept:>7} {commits:>10.0f}"
                f" {fetched:>7.0f} {2 * fetched / commits:>5.2f}"
                f" {left:>12.0f} {2 * left / commits:>5.2f}"
            )
        first, last = (figures[kept] for kept in (min(figures), max(figures)))
        times = [less / more for less, more in zip(first, last, strict=True)]
        print(
            f"{'':>12} {'growth':>7} {times[0]:>10.2f} {times[1]:>7.2f}"
            f" {'':>5} {times[2]:>12.2f}",
            flush=True,
        )
    print(
        "growth: of the time that one takes, from the least kept to the most;"
        " wanted at most 1.2.\nratio: wanted at least 0.5 on FileStorage\n"
    )


# --- bytes -------------------------------------------------------------------


def print_bytes(options):
    """Print what jobs leave in a FileStorage."""
    print("Bytes in a FileStorage per job's life, wanted at most 3000:")
    print(f"{'kept':>12} {'jobs':>6} {'bytes':>6}  transactions, and objects")
    for kept in options.kept:
        with new_stack("filestorage", kept=kept) as stack:
            job_rate(stack, 0.2)
            before = stack.db.storage.lastTransaction()
            size = stack.db.getSize()
            jobs, _ = job_rate(stack, options.seconds, fetch=options.fetch)
            size = stack.db.getSize() - size
            print(
                f"{kept:>12} {jobs:>6} {size / jobs:>6.0f}"
                f"  {_made_of(stack.db.storage, before, jobs)}"
            )
    print()


def _made_of(storage, after, jobs):
    """Tell the bytes of transactions and of classes, per job."""
    sizes, transactions = {}, 0
    for committed in storage.iterator(_next(after)):
        transactions += 1
        for record in committed:
            name = record.data[2:].split(b"\n")[1].decode()
            sizes[name] = sizes.get(name, 0) + len(record.data) + 42
    # a class is told by the start of its pickle: c<module>\n<name>\n
    listed = sorted(sizes.items(), key=lambda item: -item[1])
    return f"{transactions / jobs:.1f}; " + ", ".join(
        f"{name} {size / jobs:.0f}" for name, size in listed
    )


def _next(tid):
    return (int.from_bytes(tid) + 1).to_bytes(8)


# --- delay -------------------------------------------------------------------


def print_delays(options):
    """Print how long after its commit a job starts."""
    print("Milliseconds from the commit to the start of the job, idle:")
    print(f"{'':>12} {'p50':>7} {'p99':>7}   (wanted: p50 < 0.5, FileStorage)")
    for storage in usable(options.storage):
        with new_stack(storage) as stack:
            start_delays(stack, 20)
            delays = start_delays(stack, options.delays)
        cuts = statistics.quantiles(delays, n=100)
        print(f"{storage:>12} {1e3 * cuts[49]:>7.2f} {1e3 * cuts[98]:>7.2f}")
    print()


# --- conflicts ---------------------------------------------------------------


def print_conflicts(options):
    """Print how many transactions end in conflicts."""
    print("Conflicts per 1000 jobs, 4 threads that schedule, 4 workers:")
    print(f"{'':>12} {'jobs':>6} {'requests':>9} {'runs':>6} {'both':>6}")
    log = logging.getLogger("pyramid_zodb_async.execution.runner")
    for storage in usable(options.storage):
        repeats = Repeats()
        log.addHandler(repeats)
        log.setLevel(logging.INFO)
        try:
            with new_stack(storage, workers=4) as stack:
                jobs, _ = job_rate(stack, 2 * options.seconds, threads=4)
                counts = stack.conflicts, repeats.count
        finally:
            log.removeHandler(repeats)
            log.setLevel(logging.NOTSET)
        of_requests, of_runs = (1000 * count / jobs for count in counts)
        print(
            f"{storage:>12} {jobs:>6} {of_requests:>9.1f} {of_runs:>6.1f}"
            f" {of_requests + of_runs:>6.1f}"
        )
    print("wanted: less than 10\n")


# --- peers -------------------------------------------------------------------


def print_peers(options):
    """Print our rates and those of others, each measured beside the other."""
    print(
        f"Peers: {options.jobs} jobs that return 1, scheduled by 2 threads and"
        " run by 2 workers,\nuntil all results are there: jobs/s, those of"
        " ours by storage, and their ratio to theirs"
    )
    with stacks_beside_peers() as stacks:
        print_beside(stacks, end_to_end, options)


@contextlib.contextmanager
def stacks_beside_peers():
    """Give an application for each storage that peers are compared with."""
    with contextlib.ExitStack() as opened:
        yield {
            storage: opened.enter_context(new_stack(storage))
            for storage in usable(("filestorage", "postgres"))
        }


def print_beside(ours, rate, options):
    """Print a line for each peer.

    Args:
        ours: what is measured again beside each, by name.
        rate: gives the jobs per second of one of them.
        options: what the command line has said.
    """
    for own in ours.values():
        rate(own, HUNDRED)
    headings = "".join(f" {name:>20} ratio" for name in ours)
    print(f"{'':>21} {'theirs':>7}{headings}")
    for name in options.peer:
        if reason := why_not_peer(name):
            print(f"{name:>21} missing: {reason}")
        else:
            print_peer(name, ours, rate, options.jobs)
    print()


def print_peer(name, ours, rate, jobs):
    """Print a peer's rate, and ours."""
    with PEERS[name]() as peer:
        rate(peer, HUNDRED)
        theirs = rate(peer, jobs)
    print(f"{name:>21} {theirs:>7.0f}", end="")
    for kind, own in ours.items():
        # it is the slow one
        number = jobs // 4 if kind == "postgres" else jobs
        speed = rate(own, number)
        print(f" {speed:>20.0f} {speed / theirs:>5.2f}", end="")
    print(flush=True)


# --- bulk --------------------------------------------------------------------


class InBulk:
    """Our jobs as a peer is asked for them, a hundred in each request.

    Args:
        stack: the application.
        function: that of the jobs.
        fetch: how their outcomes are asked for, of ``stack.FETCHES``.
    """

    def __init__(self, stack, function, fetch):
        self._stack = stack
        self._function = function
        self._fetch = fetch

    def put_many(self, number):
        """Schedule as many jobs, and return their sids."""
        return self._stack.put_many(number, self._function)

    def get_many(self, sids):
        """Wait for their outcomes, and fetch them."""
        return self._stack.get_many(sids, self._fetch)


def print_bulk(options):
    """Print the rates of jobs that are scheduled together."""
    print(
        f"In bulk: {options.jobs} jobs that return 1, scheduled by 2 threads,"
        f" {HUNDRED} in a transaction or with a\npeer's call for many, else"
        " in a loop, and run by 2 workers, until all results are there or,\n"
        "of Procrastinate, all states: jobs/s, those of ours by storage,"
        f" fetched by {options.fetch}, and\ntheir ratio to theirs"
    )
    kinds = ALONE if HAS_BATCHES else {"plain": ALONE["plain"]}
    with stacks_beside_peers() as stacks:
        ours = {
            storage if kind == "plain" else f"{storage}, {kind}": InBulk(
                stack, function, options.fetch
            )
            for storage, stack in stacks.items()
            for kind, function in kinds.items()
        }
        print_beside(ours, in_bulk, options)


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--part", action="append", choices=PARTS)
    add("--storage", action="append", choices=list(STORAGES))
    add(
        "--fetch",
        choices=("get_result", "delete"),
        default="get_result",
        help="how outcomes are fetched and forgotten: by the one call, or by"
        " a look and a removal, as GET and DELETE do it (%(default)s)",
    )
    add("--kept", action="append", type=int, help="finished jobs present")
    add("--seconds", type=float, default=1.5, help="of each measurement")
    add("--rounds", type=int, default=3, help="of rates, by turns")
    add("--delays", type=int, default=300, help="jobs to take the delay of")
    add("--peer", action="append", choices=list(PEERS))
    add("--jobs", type=int, default=1000, help="of each peer")
    options = parser.parse_args()
    options.part = options.part or PARTS
    options.storage = options.storage or list(STORAGES)
    options.peer = options.peer or list(PEERS)
    options.kept = sorted(options.kept or [0, 100_000])
    return options


def main():
    """Print what is asked for."""
    options = parse_options()
    # so that what was started is stopped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    start = time.perf_counter()
    print_machine("ZEO", "RelStorage")
    for part, show in (
        ("rates", print_rates),
        ("bytes", print_bytes),
        ("delay", print_delays),
        ("conflicts", print_conflicts),
        ("peers", print_peers),
        ("bulk", print_bulk),
    ):
        if part in options.part:
            show(options)
    print(f"This took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
