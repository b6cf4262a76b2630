"""``benchmarks/instructions.py`` counts where there is valgrind."""

import os
import re
import shutil
import subprocess
import sys

from folders import REPOSITORY
from needed import missing


def count(*arguments, **environment):
    return subprocess.run(
        [
            *(sys.executable, REPOSITORY / "benchmarks" / "instructions.py"),
            *arguments,
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_without_valgrind_it_says_what_to_install(tmp_path):
    counted = count(PATH=str(tmp_path))

    assert counted.returncode == 0, counted.stderr
    (line,) = counted.stdout.splitlines()
    assert line.endswith("apt-get install valgrind")


def test_each_step_is_counted_and_a_job_is_the_sum_of_three():
    if shutil.which("valgrind") is None:
        missing("there is no valgrind: apt-get install valgrind")

    counted = count("--processes", "1", "--repetitions", "2")

    assert counted.returncode == 0, counted.stderr
    package, _, *lines = counted.stdout.splitlines()
    assert package == str(REPOSITORY / "pyramid_zodb_async")
    rows = [re.fullmatch(r" *(\S+) / +(\S+)  (.+)", row) for row in lines]
    thousands = {row[3]: float(row[1]) for row in rows}
    multiples = {row[3]: float(row[2]) for row in rows}
    parts = ("schedule + commit", "one run", "fetch + commit")
    bare, job = "a bare commit", "a job: schedule, run, fetch"
    # each was rounded by itself
    assert abs(thousands[job] - sum(map(thousands.get, parts))) < 0.3
    assert abs(multiples[job] - thousands[job] / thousands[bare]) < 0.01
    # what goes through the router and commits is more than a bare commit
    assert multiples[bare] == 1 < multiples["DELETE of a running job"]
    assert min(multiples.values()) > 0
