"""What dm.zodb.asynchronous 2.3 shows of ``transactional`` holds here too.

Its README tells, in this order, what the functions and the hooks of their
transactions print. Here they note it in a list.
"""

import logging

import pytest
import transaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async.transactional import transactional


@pytest.fixture
def seen():
    """Give the list of what was seen to happen, in order."""
    return []


@pytest.fixture
def watch(seen):
    """Give a function that notes how the current transaction ends."""

    def watch(name):
        def note(_committed, end):
            seen.append(f"{end} of {name}")

        txn = transaction.get()
        txn.addAfterCommitHook(note, ("commit",))
        txn.addAfterAbortHook(note, (False, "abort"))

    return watch


@pytest.fixture
def inner(seen, watch):
    """Give a transactional function."""

    @transactional
    def inner(x):
        watch("inner")
        seen.append(f"inner with {x}")

    return inner


@pytest.fixture
def outer(seen, watch, inner):
    """Give a transactional function that calls the other one."""

    @transactional
    def outer(a=1, b=2):
        watch("outer")
        seen.append(f"outer with {a}, {b}")
        inner(2 * a)
        seen.append("outer goes on")
        return a + b

    return outer


def test_a_function_joins_the_transaction_of_the_one_that_calls_it(
    seen, outer
):
    assert outer() == 3
    assert seen == [
        "outer with 1, 2",
        "inner with 2",
        "outer goes on",
        "commit of outer",
        "commit of inner",
    ]


def test_the_same_function_called_alone_has_its_own_transaction(seen, inner):
    inner(1)

    assert seen == ["inner with 1", "commit of inner"]


def test_an_exception_aborts_the_transaction_and_reaches_the_caller(
    seen, watch
):
    @transactional
    def broken():
        watch("broken")
        seen.append("broken")
        raise ValueError("on purpose")

    with pytest.raises(ValueError, match="on purpose"):
        broken()

    assert seen == ["broken", "abort of broken"]


def test_a_conflict_is_logged_and_the_call_repeated(
    seen, watch, caplog, monkeypatch
):
    monkeypatch.setattr(transactional, "retry_initial_delay", 0)

    class Unlucky:
        """A callable object whose first call meets a conflict."""

        met = False

        @transactional
        def __call__(self):
            """See the class."""
            watch("unlucky")
            if self.met:
                seen.append("second call")
            else:
                self.met = True
                seen.append("first call")
                raise ConflictError

    Unlucky()()

    assert seen == [
        "first call",
        "abort of unlucky",
        "second call",
        "commit of unlucky",
    ]
    (record,) = caplog.records
    assert record.levelno >= logging.WARNING
    assert "__call__" in record.getMessage()
    assert record.exc_info[0] is ConflictError
