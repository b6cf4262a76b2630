"""The instructions of a job's steps, beside those of a bare commit.

A time depends on what else the machine does; the instructions that the
processor carries out for a step hardly do. Valgrind's tool callgrind counts
them: all of the thread that does the step, those of Python, of C and of other
packages, but none of the kernel.

Where things happen to be in memory makes a difference of up to two per cent:
it decides what collides in the caches of the interpreter. So some processes,
each with other hashes and a new FileStorage, take the median of some lives,
and each figure is the mean of theirs.

Another build can be measured by turns with this one: ``--before`` is the
folder of its source.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import functools
import gc
import importlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

import lone
import transaction
from persistent import Persistent

import pyramid_zodb_async

#: The bare commit.
BARE = "a bare commit"

#: A request that schedules many jobs, and all of their runs.
SCHEDULE_MANY, RUN_MANY = "many scheduled in one commit", "their runs"

#: A request that looks at an outcome and removes the job, as GET and DELETE.
REMOVE = "view + remove + commit"

#: The runs of as many jobs, which wait together.
BATCH = 10
RUN_BATCH = "ten runs, in a batch if there are batches"

#: What is called a job in the sums.
JOB = (lone.SCHEDULE, lone.RUN, lone.FETCH)

#: The C function of Python behind the operator ``@``. Callgrind counts only
#: while it runs. So nothing is to be compiled, and no other code uses it here.
OPERATOR = "PyNumber_MatrixMultiply"

VALGRIND = (
    "--tool=callgrind",
    "--collect-atstart=no",
    f"--toggle-collect={OPERATOR}",
    f"--dump-after={OPERATOR}",
    "--dump-line=no",
)


#: Seconds of the package that would be over too soon: under valgrind all else
#: takes fifty times as long. Removals that are written once for a hundred jobs
#: would be written for each, and the tenth job would be too late for a batch.
TIMES = (
    ("pyramid_zodb_async.scheduler.maintenance.chores", "REMOVALS_INTERVAL"),
    ("pyramid_zodb_async.execution.batches", "LONGEST"),
)


class Meter:
    """Has callgrind count what it is multiplied by."""

    def __init__(self):
        self.names = []

    def __matmul__(self, step):
        return step()

    def do(self, name, function, *arguments):
        """Do a step that counts."""
        self.names.append(name)
        return self @ functools.partial(function, *arguments)


class Small(Persistent):
    """The small object of the bare commits."""

    count = 0


def be_counted(warm_up, repetitions, many):
    """Live under callgrind, and print the names of what was counted."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder, _application(folder) as app:
        for do, times in ((lone.do, warm_up), (meter.do, repetitions)):
            for _ in range(times):
                lone.live(app, do)
                _live_shortly(app, do)
            _commit(app.db, do, times)
            if many:
                _live_together(app, do, many)
            # the collector would come at any moment
            gc.collect()
            gc.disable()
    print(json.dumps(meter.names))


def _live_shortly(app, do):
    """Have a job be removed in place of a fetch, and others run together."""
    sid = app.put(lone.one)
    app.engine.run_next()
    do(REMOVE, app.remove, sid)

    for _ in range(BATCH):
        app.put(lone.one_batched)
    do(RUN_BATCH, app.engine.run_together, BATCH)


def _live_together(app, do, many):
    """Have jobs of one request be scheduled, and run."""

    def schedule():
        with app.request() as request:
            return [request.schedule(lone.one) for _ in range(many)]

    def run():
        for _ in range(many):
            app.engine.run_next()

    do(SCHEDULE_MANY, schedule)
    do(RUN_MANY, run)


def _application(folder):
    """Return an application whose housekeeper rests."""
    for module, name in TIMES:
        # not every build has them
        with contextlib.suppress(ImportError):
            setattr(importlib.import_module(module), name, 100_000)
    return lone.application(
        **{
            "zodbconn.uri": f"file://{folder}/Data.fs",
            "zodb_async.lease": 100_000,
        }
    )


def _commit(db, do, times):
    """Change a small object in transactions of their own."""
    manager = transaction.TransactionManager(explicit=True)
    connection = db.open(transaction_manager=manager)
    with manager:
        small = Small()
        connection.add(small)

    def commit():
        with manager:
            small.count += 1

    for _ in range(times):
        do(BARE, commit)
    connection.close()


def count(valgrind, processes, lives, script=__file__, builds=(None,)):
    """Return the instructions of each build, by what was done.

    Args:
        valgrind: the program.
        processes: in how many processes to do all of it.
        lives: the options that tell how often each is to do it.
        script: what does it with the option ``--counted``, and prints the
            names of what it has done.
        builds: the folders of their sources; ``None`` is the one that this
            runs with.
    """
    turns = [(seed, build) for seed in range(processes) for build in builds]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor:
        done = executor.map(
            functools.partial(_count_in_process, valgrind, lives, script),
            *zip(*turns, strict=True),
        )
        of_processes = list(zip(turns, done, strict=True))
    return [
        _means([counts for (_, of), counts in of_processes if of == build])
        for build in builds
    ]


def _means(of_processes):
    """Return the means of what processes have counted."""
    return {
        name: statistics.mean(counts[name] for counts in of_processes)
        for name in of_processes[0]
    }


def _count_in_process(valgrind, lives, script, seed, build):
    """Return the medians that one process sees, by what was done."""
    with tempfile.TemporaryDirectory() as folder:
        counted = subprocess.run(
            [
                *(valgrind, *VALGRIND, f"--log-file={folder}/log"),
                f"--callgrind-out-file={folder}/counts",
                *(sys.executable, script, "--counted", *lives),
            ],
            env=_environment(seed, build),
            stdout=subprocess.PIPE,
            check=False,
        )
        if counted.returncode:
            raise SystemExit(pathlib.Path(folder, "log").read_text())
        names = json.loads(counted.stdout)
        # one for each step; the last one, without a number, is of the end
        dumps = pathlib.Path(folder).glob("counts.*")
        counts = {int(dump.suffix[1:]): _total(dump) for dump in dumps}
    if len(counts) != len(names):
        raise SystemExit(f"This Python has no function {OPERATOR} to be seen.")
    series = collections.defaultdict(list)
    for name, number in zip(names, sorted(counts), strict=True):
        series[name].append(counts[number])
    return {name: statistics.median(each) for name, each in series.items()}


def _environment(seed, build):
    """Return what a process needs, for more of it moves all in memory."""
    needed = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    if build is not None:
        kept["PYTHONPATH"] = str(pathlib.Path(build).resolve())
    return kept | {"PYTHONHASHSEED": str(seed)}


def _total(dump):
    """Return what callgrind has counted."""
    lines = dump.read_text().splitlines()
    total = next(line for line in lines if line.startswith("totals: "))
    return int(total.removeprefix("totals: "))


def print_counts(counts, before=None):
    """Print them as they are, and in bare commits.

    Args:
        counts: the instructions of this build, by what was done.
        before: those of another build, to print the ratios to them as well.
    """
    rows, others = _with_sums(counts), _with_sums(before or {})
    print(f"{pathlib.Path(pyramid_zodb_async.__file__).parent}")
    print(
        "thousand instructions / bare commits"
        + (" / those of before" if before else "")
    )
    for name, instructions in rows.items():
        multiple = instructions / counts[BARE]
        line = f"{instructions / 1000:7.1f} / {multiple:5.2f}"
        if before:
            line += f" / {instructions / others[name]:4.2f}"
        print(f"{line}  {name}")


def _with_sums(counts):
    """Return counts with the sums of those of a job."""
    if not counts:
        return {}
    run = counts[lone.SCHEDULE] + counts[lone.RUN]
    in_batch = counts[lone.SCHEDULE] + counts[RUN_BATCH] / BATCH
    return {
        **counts,
        "schedule and run": run,
        "a job: schedule, run, fetch": sum(counts[step] for step in JOB),
        "a job: schedule, run, view and remove": run + counts[REMOVE],
        "a job of ten that wait: the same": in_batch + counts[REMOVE],
    }


def main():
    """Count, and print it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--processes", type=int, default=6, help="how many (%(default)s)"
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=20,
        help="after how many lives the interpreter has adapted its code to"
        " what it does (%(default)s)",
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=7,
        help="how many lives count in each process (%(default)s)",
    )
    parser.add_argument(
        "--many",
        type=int,
        default=100,
        help="how many jobs one request schedules besides (%(default)s)",
    )
    parser.add_argument(
        "--before", help="the folder of another build, to be counted as well"
    )
    parser.add_argument(
        "--counted", action="store_true", help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if given.counted:
        be_counted(given.warm_up, given.repetitions, given.many)
    elif valgrind is None:
        print("There is no valgrind to count with: apt-get install valgrind")
    else:
        lives = (
            f"--warm-up={given.warm_up}",
            f"--repetitions={given.repetitions}",
            f"--many={given.many}",
        )
        before = [given.before] if given.before else []
        counted = count(
            valgrind, given.processes, lives, builds=[None, *before]
        )
        print_counts(*counted)


if __name__ == "__main__":
    main()
