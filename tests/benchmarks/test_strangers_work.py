"""The work for a 404 tells neither whose a job is nor that there is none."""

import re

import pytest
import shop
from counted import PATIENCE, count, need_valgrind

#: How many per cent the instructions may differ by.
MOST = 5


#: How often it is counted: what other threads do meanwhile counts as well, and
#: once in a while that is more than the difference that is looked for.
TIMES = 3


@pytest.mark.timeout(TIMES * PATIENCE + 60)
@pytest.mark.parametrize("scheduler", ["memory", "zodb"])
def test_an_unknown_job_takes_the_work_of_a_strangers(scheduler):
    need_valgrind()

    def are_alike():
        _, printed = count(
            "strangers.py",
            *(f"--scheduler={scheduler}", "--processes=1", "--repetitions=9"),
        )
        print(printed)  # noqa: T201 - shown if it fails
        found = re.findall(
            r"([-+][0-9.]+) %  (\w+ \w+)$", printed, re.MULTILINE
        )
        assert len(found) == 6, printed
        return all(abs(float(part)) < MOST for part, _ in found)

    shop.at_last(are_alike, TIMES)
