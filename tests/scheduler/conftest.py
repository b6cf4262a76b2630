"""Processes that run jobs of a database, as far as that can tell."""

import pytest
import shop
import transaction
from hand_driven import Process


@pytest.fixture
def processes(db):
    """Make processes on one database."""
    made = []

    def make(**options):
        made.append(Process(db, **options))
        return made[-1]

    yield make
    transaction.abort()
    for process in made:
        process.stop()


@pytest.fixture
def process(processes):
    """Give a process that runs jobs."""
    return processes()


@pytest.fixture
def other(processes):
    """Give another process on the same database."""
    return processes()


@pytest.fixture
def product(connection):
    """Give a stored product."""
    made = connection.root()["product"] = shop.Product("book")
    transaction.commit()
    return made
