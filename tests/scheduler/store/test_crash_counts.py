"""How often a job has ended its process, as far as that is known."""

import pytest
from hand_driven import page_of

from pyramid_zodb_async.scheduler.records import Store
from pyramid_zodb_async.scheduler.store.crash_counts import (
    MOST_SILENCES,
    MOST_SURVIVALS,
    CrashCounts,
    Death,
    counts_of,
    leases_of_silence,
    too_many,
    with_death,
)

NONE = CrashCounts(0, (), 0)


def record_of(counts=NONE, **values):
    """Give the record of a suspect that runs."""
    values = {"begun": True} | counts._asdict() | values
    return page_of(**values)


@pytest.fixture
def store():
    """Give a store with two processes that have given signs of life."""
    made = Store()
    for incarnation in ("a", "b"):
        made.beat_of(incarnation).sign(30)
    return made


def test_the_end_of_a_silent_process_counts_until_it_gives_a_sign(store):
    counts = with_death(NONE, Death("a", 1))
    counts = with_death(counts, Death("b", 1))
    record = record_of(counts)
    assert counts_of(store, record).crashes == 2
    store.beat_of("a").sign(30)

    assert counts_of(store, record) == CrashCounts(1, (("b", 1),), 1)


def test_a_process_that_had_given_no_sign_before_is_heard_too(store):
    record = record_of(with_death(NONE, Death("c", 0)))
    assert counts_of(store, record).crashes == 1
    store.beat_of("c").sign(30)

    assert counts_of(store, record) == CrashCounts(0, (), 1)


def test_a_process_whose_beat_was_removed_has_ended(store):
    record = record_of(with_death(NONE, Death("a", 1)))
    del store.runners["a"]

    assert counts_of(store, record).crashes == 1


def test_the_end_of_a_process_that_nobody_can_doubt_is_no_silence():
    assert with_death(NONE, Death("a", None)) == CrashCounts(1, (), 0)


def test_no_more_silences_are_stored_than_may_turn_out_to_be_none():
    counts = NONE
    for number in range(MOST_SILENCES + 5):
        counts = with_death(counts, Death(f"process {number}", 1))

    assert counts.crashes == MOST_SILENCES + 5
    assert len(counts.silences) == MOST_SILENCES
    assert counts.silences[-1] == (f"process {MOST_SILENCES + 4}", 1)


def test_a_build_that_knows_only_crashes_may_have_set_them_back(store):
    record = record_of(with_death(NONE, Death("a", 1)), crashes=0)
    store.beat_of("a").sign(30)

    assert counts_of(store, record) == CrashCounts(0, (), 1)


def test_a_job_fails_after_as_many_crashes_as_it_has_attempts():
    assert not too_many(CrashCounts(3, (), 0), failures=0, attempts=4)
    assert too_many(CrashCounts(3, (), 0), failures=1, attempts=4)
    # it has failed before, which is not for this to decide
    assert not too_many(NONE, failures=4, attempts=4)


def test_it_fails_when_many_processes_were_silent_though_all_of_them_live():
    assert not too_many(CrashCounts(0, (), MOST_SURVIVALS - 1), 0, 4)
    assert too_many(CrashCounts(0, (), MOST_SURVIVALS), 0, 4)


@pytest.mark.parametrize(
    ("values", "attempts", "leases"),
    [
        ({}, 4, 1),
        ({"crashes": 1}, 4, 2),
        ({"crashes": 2}, 40, 4),
        # no longer, since so many may be the job's fault
        ({"crashes": 20}, 40, 4),
        # the last one cannot be taken back
        ({"crashes": 3}, 4, 4),
        ({}, 1, 4),
        ({"failures": 3}, 4, 4),
        # the job keeps its processes silent, and longer than this
        ({"survivals": 1}, 4, 2),
        ({"survivals": 4, "crashes": 1}, 4, 32),
        ({"survivals": 7, "crashes": 2}, 4, 64),
        # it did not run
        ({"survivals": 7, "crashes": 2, "begun": False}, 4, 1),
    ],
)
def test_the_more_often_a_job_was_taken_over_the_more_silence_it_takes(
    values, attempts, leases
):
    assert leases_of_silence(record_of(**values), attempts) == leases
