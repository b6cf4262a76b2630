"""Storages and servers that are gone when the test has ended."""

import os

import pytest

pytest.register_assert_rewrite("cluster", "processes")

from cluster import Cluster  # noqa: E402 - after the line above
from databases import STORAGES  # noqa: E402


@pytest.fixture
def rounds():
    """How many times something is killed, or goes away."""
    return int(os.environ.get("CHAOS_ROUNDS", "3"))


@pytest.fixture
def make_cluster(tmp_path):
    """Start servers on a storage, by its name in `databases.STORAGES`."""
    made = []

    def make(storage, **settings):
        made.append(STORAGES[storage](tmp_path))
        made.append(Cluster(made[-1], tmp_path, **settings))
        made[-1].start()
        return made[-1]

    yield make
    for thing in reversed(made):
        thing.stop()
    # for a test that failed
    for log in sorted(tmp_path.glob("*.log")):
        print(log, log.read_text()[-5000:], sep="\n")  # noqa: T201


@pytest.fixture
def say(capsys):
    """Print a line that shows, whatever pytest captures."""

    def do(title, **figures):
        text = ", ".join(f"{figures[name]} {name}" for name in figures)
        with capsys.disabled():
            print(f"\n{title}: {text}", flush=True)  # noqa: T201

    return do
