"""Benchmarks that measure another build by turns, beside this one."""

import json
import re

import pytest
from counted import PATIENCE, count
from folders import REPOSITORY

#: The most bytes that Python's objects of a waiting job may take, with what
#: the tables have for it.
MOST = 700


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("scheduler", ["memory", "zodb"])
def test_a_waiting_job_takes_little_memory(scheduler):
    status, printed = count(
        "waiting.py",
        "--measure",
        json.dumps({"part": "trace", "scheduler": scheduler, "jobs": 2000}),
    )

    assert status == 0
    assert 100 < json.loads(printed)["memory, traced"] < MOST


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize(
    ("arguments", "figures"),
    [
        (
            ("waiting.py", "--jobs=500", "--part=takeover", "--part=start"),
            ("takeover of a job", "start until it is quiet"),
        ),
        (
            ("waiting.py", "--jobs=500", "--part=memory"),
            ("memory of a waiting job", "a look"),
        ),
        (
            ("bulk.py", "--jobs=100", "--storage=filestorage"),
            ("request", "jobs/s", "bytes per job", "runs repeated"),
        ),
    ],
)
def test_two_builds_are_measured_by_turns(arguments, figures):
    status, printed = count(*arguments, "--rounds=1", f"--before={REPOSITORY}")

    assert status == 0
    for name in figures:
        assert re.search(
            rf"^ +{name}: before \d.*; now \d", printed, re.MULTILINE
        )


@pytest.mark.timeout(PATIENCE + 60)
def test_the_closed_loop_stands_beside_a_skeleton_of_it():
    status, printed = count(
        "closed_loop.py",
        *("--storage=filestorage", "--rounds=1", f"--before={REPOSITORY}"),
        *("--seconds=0.2", "--jobs=100"),
        *("--way=loop", "--way=100 by many()"),
    )

    assert status == 0
    rows = dict(
        re.findall(r"^ +(\S.*?\S) +([\d.]+ +[\d.]+).*$", printed, re.MULTILINE)
    )
    for name in ("loop/s", "100 by many()/s", "skeleton of 2 commits/s"):
        assert min(map(float, rows[name].split())) > 1
    # the request that schedules, and the run
    assert min(map(float, rows[": commits a job"].split())) > 1.9
    assert min(map(float, rows[": skeleton of 2 commits"].split())) > 0
