"""``benchmarks/instructions.py`` counts where there is valgrind."""

import re

import pytest
from counted import PATIENCE, count, need_valgrind
from folders import REPOSITORY

SCRIPT = "instructions.py"


def test_without_valgrind_it_says_what_to_install(tmp_path):
    status, line = count(SCRIPT, PATH=str(tmp_path))

    assert status == 0
    assert line.endswith("apt-get install valgrind\n")


@pytest.mark.timeout(PATIENCE + 60)
def test_each_step_is_counted_and_a_job_is_the_sum_of_three():
    need_valgrind()

    status, printed = count(
        SCRIPT, "--processes=1", "--warm-up=1", "--repetitions=2", "--many=3"
    )

    assert status == 0
    package, _, *lines = printed.splitlines()
    assert package == str(REPOSITORY / "pyramid_zodb_async")
    rows = [re.fullmatch(r" *(\S+) / +(\S+)  (.+)", row) for row in lines]
    thousands = {row[3]: float(row[1]) for row in rows}
    multiples = {row[3]: float(row[2]) for row in rows}
    parts = ("schedule + commit", "one run", "fetch + commit")
    bare, job = "a bare commit", "a job: schedule, run, fetch"
    # each was rounded by itself
    assert abs(thousands[job] - sum(map(thousands.get, parts))) < 0.3
    assert abs(multiples[job] - thousands[job] / thousands[bare]) < 0.01
    start, end = "schedule + commit", "view + remove + commit"
    run, ten = "one run", "ten runs, in a batch if there are batches"
    for whole, runs in (
        ("a job: schedule, run, view and remove", thousands[run]),
        ("a job of ten that wait: the same", thousands[ten] / 10),
    ):
        parts = thousands[start] + runs + thousands[end]
        assert abs(thousands[whole] - parts) < 0.3
    # what goes through the router and commits is more than a bare commit
    assert multiples[bare] == 1 < multiples["DELETE of a running job"]
    assert min(multiples.values()) > 0
