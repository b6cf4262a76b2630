"""Storages and servers that are gone when the test has ended."""

import os

import pytest

pytest.register_assert_rewrite("celery_cluster", "cluster", "processes")

from celery_cluster import CeleryCluster  # noqa: E402 - after the line above
from cluster import Cluster  # noqa: E402 - after the line above
from databases import STORAGES  # noqa: E402


@pytest.fixture
def rounds():
    """How many times something is killed, or goes away."""
    return int(os.environ.get("CHAOS_ROUNDS", "3"))


@pytest.fixture
def make_cluster(tmp_path):
    """Start servers on a storage, by its name in `databases.STORAGES`.

    With a broker of :mod:`brokers`, there are workers of Celery as well.
    """
    made = []

    def begin(thing):
        made.append(thing)
        thing.start()
        return thing

    def make(storage, broker=None, **settings):
        place = STORAGES[storage](tmp_path)
        made.append(place)
        if broker is None:
            return begin(Cluster(place, tmp_path, **settings))
        told = begin(broker(tmp_path))
        return begin(CeleryCluster(place, told, tmp_path, **settings))

    yield make
    for thing in reversed(made):
        thing.stop()
    # for a test that failed
    for log in sorted(tmp_path.glob("*.log")):
        print(log, log.read_text()[-5000:], sep="\n")  # noqa: T201


@pytest.fixture
def say(say):
    """Have a line of figures shown at the end."""

    def do(title, **figures):
        text = ", ".join(f"{figures[name]} {name}" for name in figures)
        say(f"{title}: {text}")

    return do
