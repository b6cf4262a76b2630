"""A process that forks after the configuration."""

import subprocess
import sys

import pytest
from folders import PYTHONPATH, TESTS

from pyramid_zodb_async.concurrency import forks as forking


@pytest.mark.parametrize("used", ["fresh", "used"])
@pytest.mark.parametrize(
    ("keeper", "outcome"), [("memory", "ran"), ("zodb", "refused")]
)
def test_a_child_runs_jobs_or_says_why_it_cannot(
    keeper, outcome, used, tmp_path
):
    ended = subprocess.run(
        [sys.executable, TESTS / "scripts/fork.py", keeper, used, tmp_path],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": PYTHONPATH},
        text=True,
        timeout=60,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == ["ran"] * (used == "used") + [outcome]


class Forgetful:
    """Something that is told of forks."""

    told = 0

    def forget(self):
        self.told += 1


def test_only_what_still_lives_is_told_of_a_fork():
    before = len(forking._methods)
    living, gone = Forgetful(), Forgetful()
    forking.call_after_fork(living.forget)
    forking.call_after_fork(gone.forget)
    del gone
    forking._call_all()
    assert living.told == 1
    forking.call_after_fork(living.forget)

    assert len(forking._methods) <= before + 2
