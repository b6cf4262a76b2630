"""The work for a 404 tells neither whose a job is nor that there is none."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from folders import REPOSITORY
from needed import missing

#: How many seconds a count may take; valgrind takes its time.
PATIENCE = 900

#: How many per cent the instructions may differ by.
MOST = 5


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("scheduler", ["memory", "zodb"])
def test_an_unknown_job_takes_the_work_of_a_strangers(scheduler):
    if shutil.which("valgrind") is None:
        missing("there is no valgrind: apt-get install valgrind")
    process = subprocess.Popen(
        [
            *(sys.executable, REPOSITORY / "benchmarks" / "strangers.py"),
            *(f"--scheduler={scheduler}", "--processes=1"),
            "--repetitions=9",
        ],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
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
    found = re.findall(r"([-+][0-9.]+) %  (\w+ \w+)$", printed, re.MULTILINE)

    assert len(found) == 6, printed
    assert all(abs(float(part)) < MOST for part, _ in found), printed
