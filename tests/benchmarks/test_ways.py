"""The ways of a job are short, and ``benchmarks/ways.py`` counts them."""

import importlib
import os
import re
import subprocess
import sys

import pytest
from folders import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"

#: How many modules of the package each step of a job's life may enter at
#: most, and how many calls may go from one of them to another. Who makes a
#: way longer says so here, and why in the change; ``benchmarks/ways.py
#: --calls`` lists the calls. Who makes one shorter writes the new figures.
#:
#: Blocks that set a variable are classes of a module of their own: 8 calls of
#: a run, in place of more work that is done elsewhere and not seen here. Pages
#: and sids with signatures have modules that records alone did not need. A job
#: in memory has a module of its own, beside that of all of them.
LONGEST = {
    "schedule + commit": (25, 45),
    "one run": (29, 60),
    "poll of an ended job": (24, 50),
    "fetch + commit": (18, 30),
    "poll of a pending job": (17, 28),
    "poll of a running job": (17, 28),
    "DELETE of a running job": (32, 66),
    "DELETE of an ended job": (24, 42),
    "one run that fails": (43, 106),
    "retry of a failed job": (35, 80),
    "DELETE of a pending job": (32, 68),
}

#: Two modules: what is in the first calls what is in the second.
BELOW = """
def done(): pass
def told(tell): tell()
"""
ABOVE = """
def do():
    below["done"]()
    below["done"]()
    beside()
    below["told"](beside)
    list(map(below["told"], [beside]))
def beside(): pass
"""


@pytest.fixture
def ways(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("ways")


def listed():
    """Give modules, calls, and the calls one by one, for each step."""
    ran = subprocess.run(
        [sys.executable, BENCHMARKS / "ways.py", "--calls"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    package, _, *lines = ran.stdout.splitlines()
    assert package == str(REPOSITORY / "pyramid_zodb_async")
    steps = {}
    for line in lines:
        if counts := re.fullmatch(r" *(\d+) / +(\d+)  (.+)", line):
            calls = []
            steps[counts[3]] = (int(counts[1]), int(counts[2]), calls)
        else:
            call = re.fullmatch(r"    (\d+) (\S+) -> (\S+)", line)
            calls.append((int(call[1]), call[2], call[3]))
    return steps


def test_a_way_counts_modules_and_the_calls_between_them(ways):
    below = {"__name__": "pyramid_zodb_async.below"}
    above = {"__name__": "pyramid_zodb_async.above", "below": below}
    exec(BELOW, below)
    exec(ABOVE, above)

    with ways.Way() as way:
        above["do"]()
    above["do"]()

    assert way.modules == {above["__name__"], below["__name__"]}
    down = (above["__name__"], below["__name__"])
    assert way.calls == {
        (*down, "done"): 2,
        (*down, "told"): 2,
        (*reversed(down), "beside"): 2,
    }


def test_work_of_other_packages_is_no_part_of_a_way(ways):
    elsewhere = {"__name__": "pyramid_zodb_asynchronous"}
    exec(BELOW, elsewhere)

    with ways.Way() as way:
        elsewhere["done"]()

    assert (way.modules, way.calls) == (set(), {})


def test_the_ways_of_a_job_stay_short():
    steps = listed()

    assert steps.keys() == LONGEST.keys()
    longer = {
        step: (modules, calls)
        for step, (modules, calls, _) in steps.items()
        if modules > LONGEST[step][0] or calls > LONGEST[step][1]
    }
    assert longer == {}


def test_the_calls_that_are_listed_are_those_that_count():
    for _modules, calls, lines in listed().values():
        assert calls == sum(times for times, _caller, _callee in lines) > 0
