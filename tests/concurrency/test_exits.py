"""What is called when a process ends in order, however it was started."""

import subprocess
import sys
import threading

import pytest
from folders import PYTHONPATH, TESTS

from pyramid_zodb_async.concurrency import exits

HERE = ["first here", "third here"]


def said_by(script, *arguments):
    ended = subprocess.run(
        [sys.executable, TESTS / "scripts" / script, *map(str, arguments)],
        check=False,
        capture_output=True,
        env={"PYTHONPATH": PYTHONPATH},
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout.splitlines()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_waits_for_its_jobs(method, tmp_path):
    path = tmp_path / "Data.fs"

    assert said_by("exit_of_child.py", method, path) == ["the job has ended"]


@pytest.mark.parametrize("name", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_job_may_use_executors_and_threads_until_it_has_ended(name):
    # the interpreter closes and joins them before it calls atexit
    said = said_by("exit_of_executor.py", name)

    assert said == ["executed 1", "in time"]


def test_the_last_is_called_first_and_each_is_called_once():
    assert said_by("exits.py", "register") == HERE


def test_a_forked_child_calls_nothing_of_its_parent():
    assert said_by("exits.py", "fork") == HERE


def test_a_forked_child_calls_what_it_has_registered_itself():
    said = said_by("exits.py", "fork_and_register")

    assert said == ["second in a child", *HERE]


def test_a_forked_child_of_multiprocessing_calls_its_own():
    in_child = ["first in a child", "third in a child"]

    assert said_by("exits.py", "children", "fork") == in_child + HERE


def test_a_child_that_ends_in_both_ways_calls_each_once():
    # a spawned child has a PROCESS of its own
    assert said_by("exits.py", "children", "spawn") == HERE + HERE


def test_what_is_called_early_is_not_called_again(monkeypatch):
    called = []
    # what other tests have left running stays so
    monkeypatch.setattr(exits, "_exits", {})
    monkeypatch.setattr(exits, "_exiting", threading.Event())

    def first():
        called.append(1)

    def second():
        called.append(2)

    exits.call_at_exit(first)
    exits.call_at_exit(second)
    exits.call_exits()
    exits.call_exits()
    exits.forget_at_exit(first)
    exits.forget_at_exit(second)

    assert called == [2, 1]
    assert exits.exit_has_begun()


def test_what_the_interpreter_is_calling_is_waited_for(monkeypatch):
    monkeypatch.setattr(exits, "_exits", {})
    for name in ("_exiting", "_shutdown_begun", "_shutdown_ended"):
        monkeypatch.setattr(exits, name, threading.Event())
    said = []
    others = threading.Thread(
        target=lambda: (exits.call_exits(), said.append("no more to call"))
    )

    def stop():
        others.start()
        others.join(0.1)  # it would have ended if it did not wait
        said.append("stopped")

    exits.call_at_exit(stop)
    exits._call_at_shutdown()
    others.join(30)
    exits.forget_at_exit(stop)

    assert said == ["stopped", "no more to call"]
