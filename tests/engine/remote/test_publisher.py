"""The thread that sends word of jobs."""

import logging
import threading
import time

import pytest
import shop
from exhausted import no_new_threads
from shop import wait_until

from pyramid_zodb_async.engine.queue import Entry
from pyramid_zodb_async.engine.remote import publisher as module
from pyramid_zodb_async.engine.remote.publisher import Publisher


class Broker:
    """Takes messages while it is there."""

    def __init__(self):
        self.got = []
        self.times = {}
        self.is_there = True
        self.refusals = 0
        self.attempts = 0
        self.gate = threading.Event()
        self.gate.set()
        self.closed = 0

    def close(self):
        self.closed += 1

    def count(self, queue):
        assert self.gate.wait(10)
        if not self.is_there:
            raise OSError("nobody there")
        return len(self.got)

    def __call__(self, message):
        self.attempts += 1
        assert self.gate.wait(shop.PATIENCE)
        self.refusals -= 1
        if not self.is_there or self.refusals >= 0:
            raise OSError("nobody there")
        self.times[message.sid] = time.time()
        self.got.append(message.sid)


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def publisher(broker):
    made = Publisher(broker, broker.close, broker.count)
    yield made
    broker.gate.set()
    made.stop(5)


@pytest.fixture
def _short_pauses(monkeypatch):
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.01, 0.01))


def test_messages_are_sent_in_their_order(publisher, broker):
    broker.gate.clear()
    publisher.put(Entry("a"))
    shop.wait_until(lambda: broker.attempts)
    for sid, priority in [("b", 0), ("c", -1), ("d", 5)]:
        publisher.put(Entry(sid, priority))
    broker.gate.set()

    assert publisher.wait(shop.PATIENCE)
    assert broker.got == ["a", "d", "b", "c"]
    assert len(publisher) == 0


def test_a_message_is_sent_when_it_is_due(publisher, broker):
    due = time.time() + 0.3
    publisher.put(Entry("later"), due + 3600)
    publisher.put(Entry("late"), due)
    publisher.put(Entry("soon"))
    shop.wait_until(lambda: len(broker.got) == 2)

    assert set(broker.got) == {"soon", "late"}
    assert broker.times["late"] >= due
    assert len(publisher) == 1


def test_word_of_a_job_waits_once(publisher, broker):
    broker.gate.clear()
    publisher.put(Entry("a"))
    shop.wait_until(lambda: broker.attempts)
    for _ in range(3):
        publisher.put(Entry("a"))
        publisher.put(Entry("b"))
    assert len(publisher) == 2
    broker.gate.set()
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_a_withdrawn_message_is_not_sent(publisher, broker):
    publisher.put(Entry("a"), time.time() + 60)
    publisher.withdraw("a")
    publisher.withdraw("unknown")
    publisher.put(Entry("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["b"]


@pytest.mark.usefixtures("_short_pauses")
def test_messages_wait_for_a_broker_that_is_away(publisher, broker, caplog):
    caplog.set_level(logging.INFO)
    broker.is_there = False
    publisher.put(Entry("a"))
    publisher.put(Entry("b"))
    shop.wait_until(lambda: broker.attempts > 6)
    assert not publisher.wait(0.01)
    broker.is_there = True
    assert publisher.wait(shop.PATIENCE)
    publisher.stop()
    actions = [
        record.action for record in caplog.records if hasattr(record, "action")
    ]

    assert sorted(broker.got) == ["a", "b"]
    assert actions == ["broker_away", "broker_back"]


def test_a_short_outage_is_not_worth_a_line(publisher, broker, caplog):
    caplog.set_level(logging.INFO)
    broker.refusals = 2
    publisher.put(Entry("a"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.attempts == 3
    assert caplog.records == []


def test_an_end_waits_for_what_is_due_and_for_nothing_else(publisher, broker):
    broker.gate.clear()
    publisher.put(Entry("a"))
    publisher.put(Entry("b"))
    publisher.put(Entry("late"), time.time() + 60)
    shop.wait_until(lambda: broker.attempts)
    threading.Timer(0.1, broker.gate.set).start()
    publisher.stop(shop.PATIENCE)

    assert broker.got == ["a", "b"]
    assert broker.closed == 1
    assert len(publisher) == 1


def test_an_end_tells_what_the_broker_has_no_word_of(
    publisher, broker, caplog
):
    broker.is_there = False
    publisher.put(Entry("due"))
    publisher.put(Entry("later"), time.time() + 3600)
    wait_until(lambda: publisher._failures)
    publisher.stop()
    (record,) = caplog.records

    assert record.action == "messages_left"
    assert "no word of 1 job;" in record.getMessage()


def test_an_end_does_not_wait_for_a_broker_that_is_away(publisher, broker):
    broker.is_there = False
    publisher.put(Entry("a"))
    shop.wait_until(lambda: broker.attempts > 1)
    began = time.monotonic()
    publisher.stop(shop.PATIENCE)

    assert time.monotonic() - began < shop.PATIENCE / 2
    assert len(publisher) == 1


def test_a_publisher_that_was_stopped_goes_on_with_the_next(publisher, broker):
    publisher.stop()
    publisher.put(Entry("a"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)
    publisher.put(Entry("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_messages_are_counted_when_all_are_sent(publisher, broker):
    broker.gate.clear()
    told = []
    publisher.put(Entry("a"))
    shop.wait_until(lambda: broker.attempts)
    publisher.count("default", told.append)
    publisher.put(Entry("b"))
    broker.gate.set()
    shop.wait_until(lambda: told)

    assert told == [2]


def test_a_count_that_is_not_to_be_had_is_not_told(publisher, broker, caplog):
    caplog.set_level(logging.INFO)
    told = []
    broker.is_there = False
    publisher.count("default", told.append)
    shop.wait_until(lambda: "cannot be counted now" in caplog.text)
    broker.is_there = True
    publisher.put(Entry("a"))
    assert publisher.wait(10)

    assert told == []
    assert broker.got == ["a"]


def test_without_a_thread_the_next_message_tries_again(
    publisher, broker, caplog
):
    with no_new_threads():
        publisher.put(Entry("a"))
    assert "cannot be started now" in caplog.text
    publisher.put(Entry("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_without_a_thread_the_same_message_tries_again(publisher, broker):
    with no_new_threads():
        publisher.put(Entry("a"))
        publisher.stop()
    assert len(publisher) == 1
    publisher.put(Entry("a"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a"]


@pytest.mark.parametrize("error", [OSError, SystemExit])
def test_a_connection_that_cannot_be_closed_ends_no_publisher(
    publisher, broker, error
):
    def close():
        broker.close()
        raise error

    publisher = Publisher(broker, close, broker.count)
    publisher.put(Entry("first"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)
    assert broker.closed == 1
    publisher.put(Entry("second"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)

    assert broker.got == ["first", "second"]


def test_nothing_that_sending_raises_ends_the_publisher(broker):
    raised = [SystemExit, KeyboardInterrupt]

    def send(message):
        if raised:
            raise raised.pop()
        broker(message)

    publisher = Publisher(send, broker.close, broker.count)
    publisher.put(Entry("sid"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)

    assert broker.got == ["sid"]


def test_nothing_that_a_count_raises_ends_the_publisher(publisher, broker):
    def take(count):
        raise SystemExit

    publisher.count("queue", take)
    wait_until(lambda: not publisher._asked)
    publisher.put(Entry("sid"))

    assert publisher.wait(shop.PATIENCE)
    assert broker.got == ["sid"]
