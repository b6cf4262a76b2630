"""What a message says, and how a worker understands it."""

import json

import pytest

from pyramid_zodb_async.engine.remote.messages import (
    HEADER,
    MOST_TOGETHER,
    SHARE,
    Batch,
    Message,
    Word,
    words_of,
)

SERIAL = b"\x03\xf0\x00\x00\x00\x00\x00\xff"


def sent(message):
    """Give the header as it comes through a broker."""
    return json.loads(json.dumps(message.headers())).get(HEADER)


def test_a_message_that_is_not_the_first_says_no_more_than_the_sid():
    message = Message("a", 3, "reports")

    assert message.headers() == {}
    assert words_of("a", sent(message)) == [Message("a")]


def test_a_first_message_is_understood_as_it_was_meant():
    message = Message("a", -3, "reports", SERIAL)

    assert words_of("a", sent(message)) == [message]


def test_a_message_for_several_is_one_for_each_of_them():
    others = (Word("b", SERIAL), Word("c"))
    message = Message("a", 2, "reports", SERIAL, others)

    assert words_of("a", sent(message)) == [
        Message("a", 2, "reports", SERIAL),
        Message("b", 2, "reports", SERIAL),
        Message("c", 2, "reports"),
    ]


def test_a_message_that_was_delivered_before_is_the_first_of_no_job():
    message = Message("a", 2, "reports", SERIAL, (Word("b", SERIAL),))

    assert words_of("a", sent(message), is_redelivered=True) == [
        Message("a", 2, "reports"),
        Message("b", 2, "reports"),
    ]


@pytest.mark.parametrize(
    "header",
    [
        5,
        "nonsense",
        [],
        [1, 2],
        [0, "default", 7],
        [0, "default", []],
        [0, "default", [["a"]]],
        [0, "default", [["a", "no serial"]]],
        [0, "default", [["a", 5]]],
        ["high", "default", [["a", ""]]],
        [0, "default", [["another", SERIAL.hex()]]],
        {"a": "b"},
    ],
)
def test_a_header_that_makes_no_sense_is_left_aside(header):
    assert words_of("a", header) == [Message("a")]


def test_many_jobs_are_named_some_at_a_time_and_at_last_one_by_one():
    """However many workers there are, each gets some."""
    batch = Batch(list(range(1000)), 3, "reports", SERIAL)
    sizes, found = [], []
    while batch:
        words = batch.take()
        sizes.append(len(words))
        found += [word.sid for word in words]
        assert {word.serial for word in words} == {SERIAL}

    assert found == list(range(1000))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == MOST_TOGETHER
    assert sizes[-SHARE:] == [1] * SHARE
    assert batch.rank == (3, "reports")


def test_few_jobs_are_named_one_by_one():
    batch = Batch("abc", 0, "default", None)

    assert [batch.take() for _ in "abc"] == [[(sid, None)] for sid in "abc"]
