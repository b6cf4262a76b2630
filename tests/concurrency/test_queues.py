"""What several threads take from a queue is taken once."""

import itertools
import sys
import threading
from collections import deque

import pytest

from pyramid_zodb_async.concurrency.queues import drained


@pytest.fixture
def switching():
    """Have threads interrupt each other as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_each_item_goes_to_one_of_those_who_take_them(switching):
    queue, taken = deque(range(20_000)), []
    threads = [
        threading.Thread(target=lambda: taken.append(list(drained(queue))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(taken) == len(threads)
    assert sorted(itertools.chain(*taken)) == list(range(20_000))


def test_what_is_added_meanwhile_is_taken_as_well():
    queue = deque([3])
    taken = []
    for number in drained(queue):
        taken.append(number)
        if number:
            queue.append(number - 1)

    assert taken == [3, 2, 1, 0]
