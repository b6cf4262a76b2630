"""Runs benchmarks that count instructions, each as a program."""

import os
import shutil
import signal
import subprocess
import sys

from folders import REPOSITORY
from needed import missing

#: How many seconds a count may take; valgrind takes its time, and others may
#: use the machine.
PATIENCE = 900


def need_valgrind():
    if shutil.which("valgrind") is None:
        missing("there is no valgrind: apt-get install valgrind")


def count(script, *arguments, **environment):
    """Give what a benchmark returns, and what it prints."""
    process = subprocess.Popen(
        [
            *(sys.executable, REPOSITORY / "benchmarks" / script),
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
    return process.returncode, printed
