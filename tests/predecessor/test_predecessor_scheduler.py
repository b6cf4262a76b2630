"""What dm.zodb.asynchronous 2.3 shows of its scheduler holds here too.

First come the examples of its README, then what docstrings and the history of
changes promise beside them, and the cases of its own tests.
"""

import threading

import pytest
import shop
import transaction

from pyramid_zodb_async import PersistentContext, transactional
from pyramid_zodb_async.scheduler import TransactionalScheduler

#: What the jobs of this file noted when they ran.
shown = []


@pytest.fixture(autouse=True)
def _nothing_shown():
    shown.clear()


def show(*args, **kw):
    """Note the arguments."""
    shown.append((args, kw))
    return "ok"


def exc():
    """Fail."""
    raise Exception("on purpose")  # noqa: TRY002 - as in the example


def ran(scheduler, function, *args, **kw):
    """Schedule, commit, and wait for the job; give its sid."""
    sid = scheduler.schedule(function, *args, **kw)
    transaction.commit()
    # not for the sid, which may be forgotten by now
    assert scheduler.wait(timeout=60)
    return sid


# the example of the scheduler


def test_a_new_schedule_is_known_but_not_complete(scheduler):
    sid = scheduler.schedule(show, 1, 2, a="a")

    assert scheduler.get_result(sid) is False
    assert scheduler.completed(sid) is False
    assert shown == []


def test_an_abort_deletes_the_schedule(scheduler):
    sid = scheduler.schedule(show, 1, 2, a="a")
    transaction.abort()

    assert scheduler.get_result(sid) is None
    assert scheduler.completed(sid) is None
    assert shown == []


def test_a_commit_has_the_function_called(scheduler):
    ran(scheduler, show, 1, 2, a="a")

    assert shown == [((1, 2), {"a": "a"})]


def test_the_result_outlives_an_abort_but_no_commit(scheduler):
    sid = ran(scheduler, show, 1, 2, a="a")
    assert scheduler.get_result(sid) == ("ok", None)
    transaction.abort()
    assert scheduler.get_result(sid) == ("ok", None)
    transaction.commit()

    assert scheduler.get_result(sid) is None
    assert len(shown) == 1


def test_an_exception_is_logged_and_is_the_second_of_the_pair(
    scheduler, caplog
):
    sid = ran(scheduler, exc)
    assert scheduler.engine.idle(10)
    result, error = scheduler.get_result(sid)

    assert result is None
    assert type(error) is Exception
    assert error.args == ("on purpose",)
    assert error.__traceback__ is None
    (record,) = [found for found in caplog.records if found.exc_info]
    assert record.levelname == "ERROR"
    assert "exc" in record.getMessage()


# the typical usage example


@transactional
def read_the_parameter(context):
    """Read an object in both ways."""
    return context["param"].x, context[0].x


@transactional
def write_and_fail(context):
    """Leave a change that must not be stored."""
    context[0].x = "changed"
    raise ValueError("on purpose")


@pytest.fixture
def app(connection):
    """Give an object that requests and jobs work with."""
    app = connection.root()["app"] = shop.Product("app")
    app.x = 0
    transaction.commit()
    return app


def test_a_job_sees_what_its_request_wrote_after_scheduling(scheduler, app):
    context = PersistentContext(app, param=app)
    sid = scheduler.schedule(read_the_parameter, context)
    app.x = 1
    transaction.commit()
    assert scheduler.wait(sid, 60)

    assert scheduler.get_result(sid) == ((1, 1), None)
    transaction.commit()
    assert scheduler.get_result(sid) is None


def test_a_job_of_an_aborted_request_does_not_run(scheduler, app):
    sid = scheduler.schedule(read_the_parameter, PersistentContext(app))
    app.x = 1
    transaction.abort()

    assert scheduler.get_result(sid) is None
    assert scheduler.unfinished() == []


def test_a_job_that_fails_is_no_failure_of_the_request_that_asks(
    scheduler, app
):
    sid = ran(scheduler, write_and_fail, PersistentContext(app))
    value, error = scheduler.get_result(sid)
    assert value is None
    assert isinstance(error, ValueError)
    transaction.commit()

    assert app.x == 0
    assert scheduler.get_result(sid) is None


# what docstrings say


def test_completed_tells_the_three_cases(scheduler, gate):
    assert scheduler.completed("lost") is None
    sid = scheduler.schedule(shop.wait_at, "gate")
    transaction.commit()
    gate.wait_for_job()
    assert scheduler.completed(sid) is False
    assert scheduler.get_result(sid) is False
    gate.open()
    assert scheduler.wait(sid, 60)

    assert scheduler.completed(sid) is True


def test_completed_removes_nothing(scheduler):
    sid = ran(scheduler, show)
    for _ in range(2):
        assert scheduler.completed(sid) is True
        transaction.commit()

    assert scheduler.get_result(sid) == ("ok", None)


def test_a_result_can_be_removed_without_a_commit(scheduler):
    sid = ran(scheduler, show)
    scheduler.remove(sid)
    transaction.abort()

    assert scheduler.get_result(sid) is None


def test_a_schedule_can_be_removed_before_it_is_committed(scheduler):
    sid = scheduler.schedule(show)
    scheduler.remove(sid)

    assert scheduler.get_result(sid) is None


def test_removing_the_unknown_is_no_error(scheduler):
    scheduler.remove("lost")


def test_a_commit_that_fails_deletes_the_schedule(scheduler):
    sid = scheduler.schedule(show)
    transaction.get().join(Refusal())
    with pytest.raises(ZeroDivisionError):
        transaction.commit()
    transaction.abort()

    assert scheduler.get_result(sid) is None
    assert shown == []


def test_a_commit_that_fails_keeps_the_result(scheduler):
    sid = ran(scheduler, show)
    assert scheduler.get_result(sid) == ("ok", None)
    transaction.get().join(Refusal())
    with pytest.raises(ZeroDivisionError):
        transaction.commit()
    transaction.abort()

    assert scheduler.get_result(sid) == ("ok", None)


class Refusal:
    """A participant that lets no transaction commit."""

    transaction_manager = None

    def sortKey(self):
        return ""

    def tpc_vote(self, txn):
        raise ZeroDivisionError

    def tpc_begin(self, txn):
        pass

    abort = commit = tpc_abort = tpc_begin


def test_a_result_that_nobody_fetches_is_deleted_after_the_timeout():
    scheduler = TransactionalScheduler(timeout=0)
    sid = ran(scheduler, show)
    ran(scheduler, show)  # the predecessor looks at the time only then

    assert scheduler.get_result(sid) is None
    assert scheduler.completed(sid) is None
    scheduler.engine.stop()


def test_the_timeout_is_an_hour_unless_a_class_or_a_call_says_otherwise():
    class Forgetful(TransactionalScheduler):
        timeout = 60

    assert TransactionalScheduler.timeout == 3600
    assert Forgetful().timeout == 60
    assert Forgetful(5).timeout == 5


def test_another_thread_of_the_process_can_fetch_the_result(scheduler):
    sid = ran(scheduler, show)
    fetched = []

    def fetch():
        with transaction.manager:
            fetched.append(scheduler.get_result(sid))

    thread = threading.Thread(target=fetch)
    thread.start()
    thread.join()

    assert fetched == [("ok", None)]
    assert scheduler.get_result(sid) is None


def test_a_transaction_can_schedule_many(scheduler):
    sids = [scheduler.schedule(show, number) for number in range(10)]
    assert len(set(sids)) == 10
    transaction.commit()
    assert scheduler.wait(timeout=60)

    assert sorted(args for args, _ in shown) == [(n,) for n in range(10)]


# the history: version 2.3 made completions safe against other threads


def test_jobs_may_complete_while_others_are_scheduled_and_fetched():
    scheduler = TransactionalScheduler(workers=4)
    outcomes = []

    def work():
        for number in range(50):
            with transaction.manager:
                sid = scheduler.schedule(show, number)
            assert scheduler.wait(sid, 60)
            with transaction.manager:
                outcomes.append(scheduler.get_result(sid))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    scheduler.engine.stop()

    assert outcomes == [("ok", None)] * 200
    assert len(shown) == 200
