"""The instructions of a job's steps, beside those of a bare commit.

A time depends on what else the machine does; the instructions that the
processor carries out for a step hardly do. Valgrind's tool callgrind counts
them: all of the thread that does the step, those of Python, of C and of other
packages, but none of the kernel.

Where things happen to be in memory makes a difference of up to two per cent:
it decides what collides in the caches of the interpreter. So some processes,
each with other hashes and a new FileStorage, take the median of some lives,
and each figure is the mean of theirs.

To compare two builds, run it with the ``PYTHONPATH`` of each.
"""

import argparse
import collections
import concurrent.futures
import functools
import gc
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


def be_counted(warm_up, repetitions):
    """Live under callgrind, and print the names of what was counted."""
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder, _application(folder) as app:
        for do, times in ((lone.do, warm_up), (meter.do, repetitions)):
            for _ in range(times):
                lone.live(app, do)
            _commit(app.db, do, times)
            # the collector would come at any moment
            gc.collect()
            gc.disable()
    print(json.dumps(meter.names))


def _application(folder):
    return lone.application(
        **{
            "zodbconn.uri": f"file://{folder}/Data.fs",
            # the housekeeper is to rest meanwhile
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


def count(valgrind, processes, lives, script=__file__):
    """Return the instructions, by what was done.

    Args:
        valgrind: the program.
        processes: in how many processes to do all of it.
        lives: the options that tell how often each is to do it.
        script: what does it with the option ``--counted``, and prints the
            names of what it has done.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as executor:
        of_processes = list(
            executor.map(
                functools.partial(_count_in_process, valgrind, lives, script),
                range(processes),
            )
        )
    return {
        name: statistics.mean(counts[name] for counts in of_processes)
        for name in of_processes[0]
    }


def _count_in_process(valgrind, lives, script, seed):
    """Return the medians that one process sees, by what was done."""
    with tempfile.TemporaryDirectory() as folder:
        counted = subprocess.run(
            [
                *(valgrind, *VALGRIND, f"--log-file={folder}/log"),
                f"--callgrind-out-file={folder}/counts",
                *(sys.executable, script, "--counted", *lives),
            ],
            env=_environment(seed),
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


def _environment(seed):
    """Return what a process needs, for more of it moves all in memory."""
    needed = ("PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")
    kept = {name: os.environ[name] for name in needed if name in os.environ}
    return kept | {"PYTHONHASHSEED": str(seed)}


def _total(dump):
    """Return what callgrind has counted."""
    lines = dump.read_text().splitlines()
    total = next(line for line in lines if line.startswith("totals: "))
    return int(total.removeprefix("totals: "))


def print_counts(counts):
    """Print them as they are, and in bare commits."""
    rows = {
        **counts,
        "a job: schedule, run, fetch": sum(counts[step] for step in JOB),
    }
    print(f"{pathlib.Path(pyramid_zodb_async.__file__).parent}")
    print("thousand instructions / bare commits")
    for name, instructions in rows.items():
        multiple = instructions / counts[BARE]
        print(f"{instructions / 1000:7.1f} / {multiple:5.2f}  {name}")


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
        "--counted", action="store_true", help=argparse.SUPPRESS
    )
    given = parser.parse_args()
    valgrind = shutil.which("valgrind")
    if given.counted:
        be_counted(given.warm_up, given.repetitions)
    elif valgrind is None:
        print("There is no valgrind to count with: apt-get install valgrind")
    else:
        lives = (
            f"--warm-up={given.warm_up}",
            f"--repetitions={given.repetitions}",
        )
        print_counts(count(valgrind, given.processes, lives))


if __name__ == "__main__":
    main()
