"""Many calls at once: how they are given, and the sids of their jobs."""

import copy
import itertools
import json
import pickle
from typing import NamedTuple

import pytest

from pyramid_zodb_async import BulkTooLarge
from pyramid_zodb_async.concurrency.moments import EndOfPause
from pyramid_zodb_async.jobs.bulk import Sids, due_times, normalised_calls


class Size(NamedTuple):
    width: int
    height: int


# -- Calls --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ((), ((), {})),
        ((1, 2), ((1, 2), {})),
        (((1, 2), {"x": 3}), ((1, 2), {"x": 3})),
        (((), {"x": 3}), ((), {"x": 3})),
        ((((1, 2), {"x": 3}), {}), (((1, 2), {"x": 3}), {})),
        (((1, 2), {"x": 3}, 4), (((1, 2), {"x": 3}, 4), {})),
        (((1, 2), [3]), (((1, 2), [3]), {})),
        (([1, 2], {"x": 3}), (([1, 2], {"x": 3}), {})),
        (Size(1, 2), ((1, 2), {})),
    ],
)
def test_a_call_is_a_tuple_or_a_pair_of_tuple_and_dict(call, arguments):
    assert list(normalised_calls([call], 1)) == [arguments]
    assert type(next(normalised_calls([call], 1))[0]) is tuple


def test_the_arguments_may_be_changed_for_the_next_call():
    named = {"x": 1}
    (_, first) = next(normalised_calls([((), named)], 1))
    named["x"] = 2

    assert first == {"x": 1}


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        ("word", "is a str; write (value,)"),
        (b"word", "is a bytes; write (value,)"),
        (7, "is an int; write (value,)"),
        (None, "is a NoneType; write (value,)"),
        (
            [1, 2],
            "is a list; write tuple(value), or (value,) if it is one argument",
        ),
        (
            {"x": 1},
            "is a dict; write ((), value), or (value,) if it is one argument",
        ),
    ],
)
def test_what_is_no_call_is_refused_with_its_index(call, advice):
    calls = normalised_calls([(), (), (), call], 10)
    with pytest.raises(TypeError) as caught:
        list(calls)

    assert str(caught.value) == f"call 3 {advice}"


@pytest.mark.parametrize("calls", [None, 7])
def test_what_is_no_iterable_is_refused(calls):
    with pytest.raises(TypeError, match=r"iterable of tuples, and an? "):
        list(normalised_calls(calls, 10))


def test_one_call_more_than_allowed_is_asked_for_and_no_further():
    counted = itertools.count()
    calls = normalised_calls(((number,) for number in counted), 5)
    with pytest.raises(BulkTooLarge, match=r"5 calls.*zodb_async\.max_bulk"):
        list(calls)

    assert next(counted) == 6


def test_as_many_calls_as_allowed_may_come():
    assert len(list(normalised_calls([()] * 5, 5))) == 5


# -- When they are due --------------------------------------------------------


def test_jobs_that_are_not_spread_are_due_together():
    assert list(due_times(None, 0, 3)) == [None] * 3
    assert list(due_times(7.0, 0, 3)) == [7.0] * 3


def test_beginnings_are_spread_evenly_from_a_moment():
    assert list(due_times(100.0, 60, 4)) == [100.0, 115.0, 130.0, 145.0]


def test_beginnings_are_spread_evenly_from_the_end_of_a_pause():
    first = EndOfPause(100.0, 7.0)
    due = list(due_times(first, 60, 4))

    assert due == [100.0, 115.0, 130.0, 145.0]
    assert [moment.counted for moment in due] == [7.0, 22.0, 37.0, 52.0]


def test_beginnings_are_spread_from_now_and_the_first_is_at_once():
    first, *others = due_times(None, 60, 4)
    pauses = [moment.counted for moment in others]

    assert first is None
    assert [pauses[1] - pauses[0], pauses[2] - pauses[1]] == [
        pytest.approx(15),
        pytest.approx(15),
    ]


@pytest.mark.parametrize("spread", [0, 60])
def test_no_jobs_are_due_at_no_time(spread):
    assert list(due_times(None, spread, 0)) == []


# -- Sids ---------------------------------------------------------------------


@pytest.fixture
def sids():
    return Sids(range(10), lambda index: f"sid{index}")


def test_sids_are_a_sequence_that_makes_them_when_asked_for_them():
    made = []

    def make(index):
        made.append(index)
        return f"sid{index}"

    sids = Sids(range(1000), make)
    assert len(sids) == 1000
    assert sids[-1] == "sid999"
    assert list(sids[2:8:3]) == ["sid2", "sid5"]
    assert made == [999, 2, 5]


def test_sids_can_be_used_as_any_sequence(sids):
    assert sids[1:][0] == "sid1"
    assert sids[::-1][0] == "sid9"
    assert next(reversed(sids)) == "sid9"
    assert "sid3" in sids
    assert "sid3" not in sids[4:]
    assert sids.index("sid3") == 3
    assert bool(sids)
    assert not sids[10:]
    with pytest.raises(IndexError):
        sids[10]


def test_sids_equal_what_has_the_same(sids):
    same = [f"sid{index}" for index in range(10)]

    assert sids == same
    assert sids == tuple(same)
    assert tuple(same) == sids
    assert sids == Sids.of(same)
    assert hash(sids) == hash(tuple(same)) == hash(Sids.of(same))
    assert sids != same[1:]
    assert sids != sids[::-1]
    assert sids != "sid0"


def test_sids_cannot_be_changed(sids):
    with pytest.raises(TypeError):
        sids[0] = "other"
    with pytest.raises(AttributeError):
        sids.other = 1


def test_sids_are_shown_in_short(sids):
    assert repr(sids) == "<Sids ['sid0', 'sid1', 'sid2', … and 7 more]>"
    assert repr(sids[:3]) == "<Sids ['sid0', 'sid1', 'sid2']>"
    assert repr(sids[:0]) == "<Sids []>"


def test_sids_are_a_tuple_where_they_are_stored(sids):
    stored = pickle.loads(pickle.dumps(sids))

    assert type(stored) is tuple
    assert stored == sids == copy.deepcopy(sids)
    assert json.dumps(list(sids[:1])) == '["sid0"]'
