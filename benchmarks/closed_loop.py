"""The whole way of a job as a client goes it, beside a skeleton of it.

POST schedules a job, GET asks until it has succeeded, DELETE forgets it; and
POST schedules a hundred jobs. All of it goes through the router of Pyramid and
its tweens, but through no server. Another build can be measured by turns with
this one: ``--before`` is the folder of its source.
"""

import argparse
import contextlib
import gc
import json
import pathlib
import statistics
import time
from functools import partial

import turns
from bulk import Sizes, wait
from loop_app import HAS_BATCHES, HUNDRED, Client, add_views, new_skeleton
from machine import print_machine
from stack import Runs, commit_rate, loop_rate, new_stack
from storages import STORAGES, why_not

#: The figures that others are compared with.
COMMITS, RUNS = "commits", "bare runs"
TWO, THREE = "skeleton of 2 commits", "skeleton of 3 commits"

#: The end of the names of what only a build with batches has.
BATCHED = ", batched"

#: What goes round, by what is posted to.
LOOPS = {
    "loop": "/schedule/plain",
    f"loop{BATCHED}": "/schedule/batched",
    "loop, short answer": "/schedule_shortly/plain",
}

#: What schedules a hundred jobs, in the same way.
BULKS = {
    f"{HUNDRED} {title}{end}": f"/{view}/{kind}"
    for kind, end in (("plain", ""), ("batched", BATCHED))
    for title, view in (("one by one", "one_by_one"), ("by many()", "many"))
}

#: What is measured if nobody says anything else.
USUAL = (*list(LOOPS)[:2], *BULKS)


def clients_of(router, ways):
    """Return the clients of those ways that this build has, by name."""
    paths = LOOPS | BULKS
    return {
        name: Client(router, paths[name])
        for name in ways
        if HAS_BATCHES or not name.endswith(BATCHED)
    }


# --- in the process that measures --------------------------------------------


def measure(storage, ways, seconds, jobs):
    """Return the figures of a new database."""
    with (
        new_stack(storage, configure=add_views) as stack,
        new_skeleton(stack.db, 2) as two,
        new_skeleton(stack.db, 3) as three,
    ):
        steps = [
            partial(rate_of_commits, stack, seconds / 4),
            partial(rate_of_runs, two, seconds / 4),
        ]
        clients = clients_of(stack.router, ways)
        loops = {name: clients[name] for name in clients if name in LOOPS}
        if loops:
            steps += steps_of_skeletons(two, three, seconds / 2)
        steps += steps_of_loops(storage, stack, loops, seconds / 2)
        figures = there_and_back(steps)
        for name, client in clients.items():
            if name in BULKS:
                figures |= bulk(storage, stack, name, client, jobs)
        return figures


def there_and_back(steps):
    """Do all, and once more in the opposite order; return the means.

    So a machine that slows down is no one's loss.
    """
    found = {}
    for step in (*steps, *reversed(steps)):
        gc.collect()
        for name, figure in step().items():
            found.setdefault(name, []).append(figure)
    return {name: statistics.mean(each) for name, each in found.items()}


def rate_of_commits(stack, seconds):
    """Return the rate of bare commits of a small object."""
    return {COMMITS: commit_rate(stack.db, seconds)}


def rate_of_runs(skeleton, seconds):
    """Return the rate of runs that have nothing of this package."""
    return {RUNS: skeleton.run_rate(seconds)}


def steps_of_skeletons(two, three, seconds):
    """Return what measures the skeletons, after a first try of each."""
    clients = {
        TWO: Client(two.router, "/things"),
        THREE: Client(three.router, "/things"),
    }
    for client in clients.values():
        go_round(client, 0.2)
    return [
        partial(rate_of_skeleton, name, client, seconds)
        for name, client in clients.items()
    ]


def steps_of_loops(storage, stack, clients, seconds):
    """Return what measures the loops of jobs, after a first try of each."""
    for client in clients.values():
        go_round(client, 0.2)
    return [
        partial(rate_of_loop, storage, stack, name, client, seconds)
        for name, client in clients.items()
    ]


def rate_of_skeleton(name, client, seconds):
    """Return the rate of a skeleton."""
    return {name: go_round(client, seconds)[1]}


def rate_of_loop(storage, stack, name, client, seconds):
    """Return the figures of a loop of jobs."""
    sizes = Sizes(storage, stack)
    client.early, before = 0, sizes.now()
    tid = stack.db.storage.lastTransaction()
    jobs, rate = go_round(client, seconds)
    figures = {
        name: rate,
        f"{name}: bytes a job": (sizes.now() - before) / jobs,
        f"{name}: GET too early, a job": client.early / jobs,
    }
    if storage == "filestorage":
        made = transactions_since(stack.db.storage, tid)
        figures[f"{name}: commits a job"] = made / jobs
    return figures


def go_round(client, seconds):
    """Give jobs, and jobs per second, of two threads that post and follow."""
    return loop_rate(client.post, client.follow, seconds)


def transactions_since(storage, tid):
    """Give how many transactions a FileStorage has got after *tid*."""
    first = (int.from_bytes(tid) + 1).to_bytes(8)
    with contextlib.closing(storage.iterator(first)) as iterator:
        return sum(1 for _ in iterator)


def bulk(storage, stack, name, client, jobs):
    """Return the figures of requests for a hundred jobs each."""
    schedule(client, HUNDRED)
    wait(stack)
    sizes = Sizes(storage, stack)
    gc.collect()
    before, start = sizes.now(), time.perf_counter()
    schedule(client, jobs)
    wait(stack)
    seconds = time.perf_counter() - start
    return {
        name: jobs / seconds,
        f"{name}: bytes a job": (sizes.now() - before) / jobs,
    }


def schedule(client, jobs):
    """Schedule as many, a hundred at a time."""
    Runs.expect(jobs)
    for _ in range(jobs // HUNDRED):
        client.post_alone()


# --- what is printed ---------------------------------------------------------


def print_table(found):
    """Print the medians of each build, and what is compared with what."""
    print(f"{'':>34} {'before':>8} {'now':>8}  now : before")
    for name in found:
        digits = 1 if "commits a" in name or "early" in name else 0
        if ": " in name:
            print_row(f": {name.partition(': ')[2]}", found, name, digits)
            continue
        print_row(f"{name}/s", found, name, digits)
        if name in LOOPS:
            print_shares(found, name, (TWO, THREE))
        if name in BULKS:
            print_shares(found, name, (RUNS,))


def print_shares(found, name, others):
    """Print the ratios of a rate to half the bare commits and to others."""
    for other, factor, title in (
        (COMMITS, 2, "half the commits"),
        *((other, 1, other) for other in others),
    ):
        base = medians(found[other])
        shares = {
            build: factor * median / base[build]
            for build, median in medians(found[name]).items()
        }
        print(f"{f': {title}':>34} {cells(shares, 2)}")


def print_row(title, found, name, digits):
    """Print a figure of each build, and their ratio.

    Jobs in batches are compared with the jobs of a build without them.
    """
    row = medians(found[name])
    # those may not be measured this time
    base = medians(found.get(name.replace(BATCHED, ""), found[name]))
    if turns.BEFORE in base:
        row.setdefault(turns.BEFORE, base[turns.BEFORE])
    line = f"{title:>34} {cells(row, digits)}"
    if row.get(turns.BEFORE):
        line += f" {row[turns.NOW] / row[turns.BEFORE]:>13.2f}"
    print(line)


def medians(found):
    """Return the medians of the builds that have a figure."""
    return {
        build: statistics.median(values)
        for build, values in found.items()
        if values
    }


def cells(row, digits):
    """Return the figures of both builds, as far as there are any."""
    return " ".join(
        f"{row[build]:>8.{digits}f}" if build in row else " " * 8
        for build in (turns.BEFORE, turns.NOW)
    )


def parse_options():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    turns.add_options(parser)
    add = parser.add_argument
    add("--storage", action="append", choices=list(STORAGES))
    add("--way", action="append", choices=list(LOOPS | BULKS))
    add(
        "--seconds",
        type=float,
        default=1.5,
        help="of each loop and each skeleton, in each turn (%(default)s)",
    )
    add(
        "--jobs",
        type=int,
        default=1000,
        help="of each way to schedule a hundred (%(default)s)",
    )
    return parser.parse_args()


def main():
    """Measure all on each storage."""
    options = parse_options()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    start = time.perf_counter()
    print_machine("ZEO", "RelStorage")
    for storage in options.storage or STORAGES:
        if reason := why_not(storage):
            print(f"{storage} missing: {reason}")
            continue
        found = turns.figures(
            pathlib.Path(__file__),
            options,
            storage=storage,
            ways=options.way or USUAL,
            seconds=options.seconds,
            jobs=max(options.jobs // HUNDRED, 1) * HUNDRED,
        )
        print(f"\n{storage}, medians of {options.rounds} turns")
        print_table(found)
    print(f"\nThis took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
