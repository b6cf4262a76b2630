"""The thread that sends word of jobs."""

import logging
import threading
import time
from collections.abc import Sequence

import pytest
import shop
from exhausted import no_new_threads
from shop import wait_until

from pyramid_zodb_async.engine.remote import publisher as module
from pyramid_zodb_async.engine.remote.messages import Message
from pyramid_zodb_async.engine.remote.publisher import Publisher


class Broker:
    """Takes messages while it is there."""

    def __init__(self):
        self.got = []
        self.ranks = []
        self.firsts = []
        self.sizes = []
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
        self.ranks.append((message.priority, message.queue))
        self.got += [word.sid for word in message.words()]
        self.firsts += [word.sid for word in message.words() if word.serial]
        self.sizes.append(1 + len(message.others))


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
    publisher.put(Message("a"))
    shop.wait_until(lambda: broker.attempts)
    for sid, priority in [("b", 0), ("c", -1), ("d", 5)]:
        publisher.put(Message(sid, priority))
    broker.gate.set()

    assert publisher.wait(shop.PATIENCE)
    assert broker.got == ["a", "d", "b", "c"]
    assert len(publisher) == 0


def test_a_message_is_sent_when_it_is_due(publisher, broker):
    due = time.time() + 0.3
    publisher.put(Message("later"), due + 3600)
    publisher.put(Message("late"), due)
    publisher.put(Message("soon"))
    shop.wait_until(lambda: len(broker.got) == 2)

    assert set(broker.got) == {"soon", "late"}
    assert broker.times["late"] >= due
    assert len(publisher) == 1


def test_word_of_a_job_waits_once(publisher, broker):
    broker.gate.clear()
    publisher.put(Message("a"))
    shop.wait_until(lambda: broker.attempts)
    for _ in range(3):
        publisher.put(Message("a"))
        publisher.put(Message("b"))
    assert len(publisher) == 2
    broker.gate.set()
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_a_withdrawn_message_is_not_sent(publisher, broker):
    publisher.put(Message("a"), time.time() + 60)
    publisher.withdraw("a")
    publisher.withdraw("unknown")
    publisher.put(Message("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["b"]


class Lazy(Sequence):
    """Sids that tell which of them were asked for."""

    def __init__(self, sids):
        self._sids = sids
        self.asked = []

    def __len__(self):
        return len(self._sids)

    def __getitem__(self, index):
        self.asked.append(index)
        return self._sids[index]


def test_messages_for_many_jobs_are_made_when_they_are_sent(publisher, broker):
    broker.gate.clear()
    sids = Lazy([str(number) for number in range(1000)])
    publisher.put_batch(sids, queue="reports", priority=3)
    shop.wait_until(lambda: broker.attempts)

    assert sids.asked == list(range(10))
    assert len(publisher) == 1  # the message that is being sent
    broker.gate.set()
    assert publisher.wait(shop.PATIENCE)
    assert broker.got == list(sids)
    assert set(broker.ranks) == {(3, "reports")}
    assert len(publisher) == 0


def test_a_message_is_for_several_jobs_if_many_wait(publisher, broker):
    sids = [str(number) for number in range(300)]
    publisher.put_batch(sids, queue="default", serial=b"serial")
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == broker.firsts == sids
    assert max(broker.sizes) == broker.sizes[0] == 10
    assert broker.sizes[-10:] == [1] * 10


def test_a_message_for_several_jobs_leaves_out_those_with_their_own(
    publisher, broker
):
    sids = [str(number) for number in range(100)]
    for sid in ["5", "99"]:
        publisher.put(Message(sid), time.time() + 3600)
    publisher.put_batch(sids, queue="default")
    shop.wait_until(lambda: len(broker.got) == 98)

    assert set(sids) - set(broker.got) == {"5", "99"}


@pytest.mark.usefixtures("_short_pauses")
def test_what_could_not_be_sent_is_sent_again_as_no_first_message(
    publisher, broker
):
    """The broker may have it nevertheless."""
    broker.refusals = 1
    sids = [str(number) for number in range(100)]
    publisher.put_batch(sids, queue="default", serial=b"serial")
    publisher.put(Message("single", serial=b"serial"))
    assert publisher.wait(shop.PATIENCE)

    assert sorted(broker.got) == sorted([*sids, "single"])
    assert len(set(broker.got) - set(broker.firsts)) in {1, 10}


def test_a_message_is_taken_back_until_it_is_sent(publisher, broker):
    publisher.put(Message("later"), time.time() + 3600)
    broker.gate.clear()
    publisher.put(Message("now"))
    shop.wait_until(lambda: broker.attempts)
    taken = [publisher.take_back(sid) for sid in ("later", "now", "unknown")]
    broker.gate.set()
    assert publisher.wait(shop.PATIENCE)

    assert taken == [True, False, False]
    assert broker.got == ["now"]


def test_messages_for_many_jobs_hold_up_no_other(publisher, broker):
    broker.gate.clear()
    publisher.put_batch(["a", "b", "c"], queue="default")
    shop.wait_until(lambda: broker.attempts)
    publisher.put(Message("single", -5))
    publisher.put_batch(["d", "single"], queue="default")
    publisher.put_batch([], queue="default")
    publisher.put(Message("later"), time.time() + 3600)
    publisher.put_batch(["later", "e"], queue="default")
    broker.gate.set()
    shop.wait_until(lambda: "e" in broker.got)

    # that of "later" is sent when it is due
    assert broker.got == ["a", "single", "b", "c", "d", "single", "e"]


@pytest.mark.usefixtures("_short_pauses")
def test_messages_for_many_jobs_wait_for_a_broker_that_is_away(
    publisher, broker, caplog
):
    caplog.set_level(logging.INFO)
    broker.is_there = False
    publisher.put_batch(["a", "b", "c"], queue="default")
    wait_until(lambda: broker.attempts > 5)
    broker.is_there = True
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b", "c"]
    said = [record.getMessage() for record in caplog.records]
    assert "; 3 jobs wait for it" in said[0]
    assert "told of 3 jobs" in said[1]


def test_an_end_sends_what_is_left_for_many_jobs(publisher, broker):
    sids = [str(number) for number in range(50)]
    publisher.put_batch(sids, queue="default", serial=b"serial")
    publisher.stop(shop.PATIENCE)

    assert broker.got == sids


def test_an_end_tells_for_how_many_jobs_word_is_left(
    publisher, broker, caplog
):
    broker.gate.clear()
    publisher.put_batch(["a", "b", "c"], queue="default")
    shop.wait_until(lambda: broker.attempts)
    publisher.stop(0.05)

    assert "no word of 2 jobs" in caplog.text


@pytest.mark.usefixtures("_short_pauses")
def test_messages_wait_for_a_broker_that_is_away(publisher, broker, caplog):
    caplog.set_level(logging.INFO)
    broker.is_there = False
    publisher.put(Message("a"))
    publisher.put(Message("b"))
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
    publisher.put(Message("a"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.attempts == 3
    assert caplog.records == []


def test_an_end_waits_for_what_is_due_and_for_nothing_else(publisher, broker):
    broker.gate.clear()
    publisher.put(Message("a"))
    publisher.put(Message("b"))
    publisher.put(Message("late"), time.time() + 60)
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
    publisher.put(Message("due"))
    publisher.put(Message("later"), time.time() + 3600)
    wait_until(lambda: publisher._failures)
    publisher.stop()
    (record,) = caplog.records

    assert record.action == "messages_left"
    assert "no word of 1 job;" in record.getMessage()


def test_a_second_end_tells_no_more_than_the_first(publisher, broker, caplog):
    broker.is_there = False
    publisher.put_batch(["a", "b"], queue="default")
    shop.wait_until(lambda: broker.attempts)
    publisher.stop()
    publisher.stop()  # by the scheduler, which stops its engine as well
    told = [record.getMessage() for record in caplog.records]
    publisher.put(Message("c"))
    publisher.stop()
    told_again = [record.getMessage() for record in caplog.records][1:]

    assert [message.partition(";")[0] for message in told + told_again] == [
        "The broker has no word of 2 jobs",
        "The broker has no word of 3 jobs",
    ]


def test_an_end_does_not_wait_for_a_broker_that_is_away(publisher, broker):
    broker.is_there = False
    publisher.put(Message("a"))
    shop.wait_until(lambda: broker.attempts > 1)
    began = time.monotonic()
    publisher.stop(shop.PATIENCE)

    assert time.monotonic() - began < shop.PATIENCE / 2
    assert len(publisher) == 1


def test_a_publisher_that_was_stopped_goes_on_with_the_next(publisher, broker):
    publisher.stop()
    publisher.put(Message("a"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)
    publisher.put(Message("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_messages_are_counted_when_all_are_sent(publisher, broker):
    broker.gate.clear()
    told = []
    publisher.put(Message("a"))
    shop.wait_until(lambda: broker.attempts)
    publisher.count("default", told.append)
    publisher.put(Message("b"))
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
    publisher.put(Message("a"))
    assert publisher.wait(10)

    assert told == []
    assert broker.got == ["a"]


def test_without_a_thread_the_next_message_tries_again(
    publisher, broker, caplog
):
    with no_new_threads():
        publisher.put(Message("a"))
    assert "cannot be started now" in caplog.text
    publisher.put(Message("b"))
    assert publisher.wait(shop.PATIENCE)

    assert broker.got == ["a", "b"]


def test_without_a_thread_the_same_message_tries_again(publisher, broker):
    with no_new_threads():
        publisher.put(Message("a"))
        publisher.stop()
    assert len(publisher) == 1
    publisher.put(Message("a"))
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
    publisher.put(Message("first"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)
    assert broker.closed == 1
    publisher.put(Message("second"))
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
    publisher.put(Message("sid"))
    assert publisher.wait(shop.PATIENCE)
    publisher.stop(shop.PATIENCE)

    assert broker.got == ["sid"]


def test_nothing_that_a_count_raises_ends_the_publisher(publisher, broker):
    def take(count):
        raise SystemExit

    publisher.count("queue", take)
    wait_until(lambda: not publisher._asked)
    publisher.put(Message("sid"))

    assert publisher.wait(shop.PATIENCE)
    assert broker.got == ["sid"]
