"""The end of a pause is known by both clocks."""

import time

from pyramid_zodb_async.concurrency.moments import EndOfPause


def test_the_end_of_a_pause_is_a_moment_by_both_clocks():
    before = time.time(), time.monotonic()
    end = EndOfPause.after(5)
    after = time.time(), time.monotonic()

    assert before[0] + 5 <= end <= after[0] + 5
    assert before[1] + 5 <= end.counted <= after[1] + 5
    assert type(float(end)) is float
