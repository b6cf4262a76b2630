"""Things are found at their times."""

import random

from pyramid_zodb_async.concurrency.deadlines import MOST_OLD, Deadlines


def test_things_come_in_the_order_of_their_times():
    deadlines = Deadlines()
    for thing, when in [("b", 2.0), ("a", 1.0), ("c", 3.0)]:
        deadlines.set(thing, when)

    assert deadlines.first() == 1.0
    assert deadlines.pop(0.5) is None
    assert [deadlines.pop(2.0) for _ in range(3)] == ["a", "b", None]
    assert "c" in deadlines
    assert "a" not in deadlines


def test_a_time_that_was_changed_counts_no_more():
    deadlines = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.set("a", 5.0)
    deadlines.set("b", 3.0)

    assert deadlines.pop(1.0) is None
    assert deadlines.pop(9.0) == "b"
    assert deadlines.pop(9.0) == "a"
    assert deadlines.first() is None


def test_what_was_discarded_never_comes():
    deadlines = Deadlines()
    deadlines.set("a", 1.0)
    deadlines.discard("a")
    deadlines.discard("unknown")

    assert deadlines.first() is None
    assert deadlines.pop(9.0) is None


def test_of_what_was_discarded_little_stays():
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set(number, random.random())
        if number >= 10:
            deadlines.discard(number)

    assert len(deadlines._heap) <= MOST_OLD + 2 * 10 + 2
    found = [deadlines.pop(1.0) for _ in range(11)]
    assert set(found) == {*range(10), None}
