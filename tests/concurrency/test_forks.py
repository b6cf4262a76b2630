"""A process that forks after the configuration."""

import subprocess
import sys

import pytest
import storages
from folders import PYTHONPATH, TESTS

from pyramid_zodb_async.concurrency import forks as forking


def fork(*arguments):
    """Fork, and give what parent and child say, and what is logged."""
    ended = subprocess.run(
        [sys.executable, TESTS / "scripts/fork.py", *arguments],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": PYTHONPATH},
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split(), ended.stderr


@pytest.mark.parametrize("used", ["fresh", "used"])
def test_a_child_runs_jobs_that_are_in_memory(used):
    said, _ = fork("memory", used, "")

    assert said == (["ran"] * 3 if used == "used" else ["ran"])


@pytest.mark.parametrize("used", ["fresh", "used"])
def test_a_child_that_python_was_not_told_of_runs_jobs_too(used):
    said, _ = fork("memory", used, "", "in C")

    assert said == (["ran"] * 3 if used == "used" else ["ran"])


class Part:
    """Something that begins anew in a child."""

    def __init__(self):
        self.begun = 0

    def begin(self):
        self.begun += 1


def test_who_is_first_in_a_child_calls_what_begins_anew_once(monkeypatch):
    # what other tests have left stays as it is
    monkeypatch.setattr(forking, "_methods", [])
    part = Part()
    forking.call_after_fork(part.begin)
    forking.notice_fork()
    assert part.begun == 0
    # as in a child of which Python did not learn
    monkeypatch.setattr(forking, "_known", set())
    forking.notice_fork()
    forking.notice_fork()

    assert part.begun == 1


@pytest.mark.parametrize("storage", ["mapping", "sqlite", "postgres"])
def test_a_child_says_why_it_cannot_schedule(storage, tmp_path):
    with storages.uri_of(storage, tmp_path) as uri:
        said, log = fork("zodb", "fresh", uri)

    assert said == ["refused"]
    assert log.count("CRITICAL") == 1
    assert "uWSGI with lazy-apps = true" in log


@pytest.mark.parametrize("storage", ["mapping", "sqlite"])
def test_a_child_of_one_that_runs_jobs_cannot_schedule(storage, tmp_path):
    with storages.uri_of(storage, tmp_path) as uri:
        said, _ = fork("zodb", "used", uri)

    assert said == ["ran", "refused", "ran"]


@pytest.mark.parametrize("used", ["fresh", "used"])
@pytest.mark.parametrize("keeper", ["memory", "zodb"])
@pytest.mark.parametrize("storage", ["file", "zeo"])
def test_a_child_that_cannot_use_its_database_answers_at_once(
    storage, keeper, used, tmp_path
):
    with storages.uri_of(storage, tmp_path) as uri:
        said, log = fork(keeper, used, uri)

    assert said == (["ran", "503", "ran"] if used == "used" else ["503"])
    assert log.count("CRITICAL") == 1
    assert "gunicorn without --preload" in log


@pytest.mark.parametrize("storage", ["zeo", "mapping"])
def test_a_child_that_opens_the_database_itself_uses_it(storage, tmp_path):
    with storages.uri_of(storage, tmp_path) as uri:
        said, log = fork("zodb", "reopened", uri)

    assert said == ["ran"]
    assert "CRITICAL" not in log


def test_a_child_is_another_process_for_the_database(tmp_path):
    with storages.uri_of("mapping", tmp_path) as uri:
        said, _ = fork("zodb", "identity", uri)

    assert said == ["another"]


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
