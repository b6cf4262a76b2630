"""A real process is told to stop, and another one takes its jobs over."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
import shop
import storages
from folders import PYTHONPATH, TESTS
from hand_driven import Process, leased
from ZODB.DB import DB
from zodburi import resolve_uri

#: How many jobs the process leaves that have not begun.
WAITING = 30


@contextlib.contextmanager
def opened(uri):
    """Open a database, as the next process does."""
    factory, options = resolve_uri(uri)
    options.pop("connection_cache_size", None)
    options.pop("connection_pool_size", None)
    db = DB(factory(), **options)
    try:
        yield db
    finally:
        db.close()


@contextlib.contextmanager
def a_process(uri, log, how):
    """Run a process that has one job running, and end it in some way."""
    command = [sys.executable, TESTS / "scripts" / "stopped_in_order.py"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, uri, str(WAITING)],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": PYTHONPATH},
        )
    try:

        def is_ready():
            assert process.poll() is None, log.read_text()
            return "ready" in log.read_text().splitlines()

        shop.wait_until(is_ready)
        process.send_signal(how)
        process.wait(shop.PATIENCE)
        yield
    finally:
        process.kill()
        process.wait()


def test_a_stop_while_the_interpreter_ends_returns(tmp_path):
    ran = subprocess.run(
        [
            sys.executable,
            TESTS / "scripts" / "stopped_late.py",
            f"file://{tmp_path}/Data.fs",
        ],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        timeout=shop.PATIENCE,
        check=False,
    )

    assert (ran.returncode, ran.stdout) == (0, "stopped"), ran.stderr


def look(db):
    """Have a process look once for lost jobs; give the records of its jobs."""
    process = Process(db)
    if process.scheduler.process.is_shared:
        process.takeover = leased(process, lease=600)
    process.take_over()
    try:
        return {
            assigned.sid: process.record(assigned.sid)
            for assigned in process.scheduler.process.assigned_jobs.all()
        }
    finally:
        process.stop()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("storage", ["file", "zeo", "postgres"])
def test_what_waited_is_taken_over_at_once_and_trusted(storage, how, tmp_path):
    log = tmp_path / "stopped.log"
    with (
        storages.uri_of(storage, tmp_path) as uri,
        a_process(uri, log, how),
        opened(uri) as db,
    ):
        records = look(db)

    waiting = [
        record
        for record in records.values()
        if record["function"] == "shop:give"
    ]
    assert len(waiting) == WAITING, log.read_text()
    assert not any("suspect" in record for record in waiting)
    # what ran may yet end by itself where its process may go on
    others = [record for record in records.values() if record not in waiting]
    assert len(others) == (storage == "file")
    for record in others:
        assert record["suspect"]
        assert "crashes" not in record


@pytest.mark.parametrize("storage", ["file", "zeo", "postgres"])
def test_what_a_kill_leaves_is_suspect(storage, tmp_path):
    log = tmp_path / "killed.log"
    with (
        storages.uri_of(storage, tmp_path) as uri,
        a_process(uri, log, signal.SIGKILL),
        opened(uri) as db,
    ):
        records = look(db)

    # with a lease its silence must last as long
    assert len(records) == (WAITING + 1 if storage == "file" else 0)
    assert all(record["suspect"] for record in records.values())
