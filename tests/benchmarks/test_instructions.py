"""``benchmarks/instructions.py`` counts where there is valgrind."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from folders import REPOSITORY
from needed import missing

#: How many seconds a count may take; valgrind takes its time, and others may
#: use the machine.
PATIENCE = 900


def count(*arguments, **environment):
    """Give what it returns, and what it prints."""
    process = subprocess.Popen(
        [
            *(sys.executable, REPOSITORY / "benchmarks" / "instructions.py"),
            *arguments,
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=PATIENCE)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)  # with valgrind below it
        process.wait()
        raise
    return process.returncode, printed.splitlines()


def test_without_valgrind_it_says_what_to_install(tmp_path):
    status, (line,) = count(PATH=str(tmp_path))

    assert status == 0
    assert line.endswith("apt-get install valgrind")


@pytest.mark.timeout(PATIENCE + 60)
def test_each_step_is_counted_and_a_job_is_the_sum_of_three():
    if shutil.which("valgrind") is None:
        missing("there is no valgrind: apt-get install valgrind")

    status, printed = count("--processes=1", "--warm-up=1", "--repetitions=2")

    assert status == 0
    package, _, *lines = printed
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
