"""The work for a 404 tells neither whose a job is nor that there is none."""

import re

import pytest
from counted import PATIENCE, count, need_valgrind

#: How many per cent the instructions may differ by.
MOST = 5


@pytest.mark.timeout(PATIENCE + 60)
@pytest.mark.parametrize("scheduler", ["memory", "zodb"])
def test_an_unknown_job_takes_the_work_of_a_strangers(scheduler):
    need_valgrind()
    _, printed = count(
        "strangers.py",
        *(f"--scheduler={scheduler}", "--processes=1", "--repetitions=9"),
    )
    found = re.findall(r"([-+][0-9.]+) %  (\w+ \w+)$", printed, re.MULTILINE)

    assert len(found) == 6, printed
    assert all(abs(float(part)) < MOST for part, _ in found), printed
