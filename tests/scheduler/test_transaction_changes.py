"""Changes that follow the fate of a transaction."""

import pytest
import transaction
from transaction.interfaces import (
    IDataManagerSavepoint,
    ISavepointDataManager,
)
from zope.interface.verify import verifyObject

from pyramid_zodb_async import TransactionRequired
from pyramid_zodb_async.scheduler.transaction_changes import Changes


class Note:
    """A change that notes what becomes of it."""

    pending_jobs = 1

    def __init__(self, name, log, error=None):
        self.name = name
        self.log = log
        self.error = error

    def prepare(self):
        self.log.append(f"{self.name} prepared")
        if self.error:
            raise self.error

    def apply(self):
        self.log.append(f"{self.name} applied")

    def abandon(self):
        self.log.append(f"{self.name} abandoned")


class Participant:
    """Another participant of the transaction, with a key as late as any."""

    transaction_manager = None

    def __init__(self, log):
        self.log = log

    def sortKey(self):
        return "~" * 100

    def tpc_begin(self, txn):
        pass

    def commit(self, txn):
        self.log.append("other stored")

    def tpc_vote(self, txn):
        self.log.append("other voted")

    def tpc_finish(self, txn):
        self.log.append("other finished")

    abort = tpc_abort = tpc_begin


@pytest.fixture
def log():
    return []


@pytest.fixture
def changes(log):
    return Changes(transaction.get(), lambda: log.append("after"))


def test_they_keep_the_contracts_of_a_participant(changes):
    assert verifyObject(ISavepointDataManager, changes)
    assert verifyObject(IDataManagerSavepoint, changes.savepoint())


def test_they_are_prepared_when_all_others_have_stored_and_none_has_voted(
    changes, log
):
    changes.add(Note("change", log))
    transaction.get().join(Participant(log))
    transaction.commit()

    assert log == [
        "other stored",
        "change prepared",
        "other voted",
        "other finished",
        "change applied",
        "after",
    ]


def test_one_that_cannot_be_prepared_aborts_the_transaction(changes, log):
    changes.add(Note("bad", log, ZeroDivisionError()))
    changes.add(Note("good", log))
    with pytest.raises(ZeroDivisionError):
        transaction.commit()
    transaction.abort()

    assert log == ["bad prepared", "bad abandoned", "good abandoned"]
    assert len(changes) == 0


def test_an_abort_drops_them_and_tells_them(changes, log):
    changes.add(Note("change", log))
    transaction.abort()
    transaction.commit()

    assert log == ["change abandoned"]


def test_a_rollback_drops_the_later_ones(changes, log):
    changes.add(Note("first", log))
    savepoint = transaction.savepoint()
    changes.add(Note("second", log))
    savepoint.rollback()
    changes.add(Note("third", log))
    transaction.commit()

    assert [change for change in log if "applied" in change] == [
        "first applied",
        "third applied",
    ]
    assert log.count("after") == 1


def test_a_rollback_drops_the_later_ones_after_an_earlier_was_taken_back(
    changes, log
):
    first = Note("first", log)
    changes.add(first)
    changes.add(Note("second", log))
    savepoint = transaction.savepoint()
    changes.discard(first)
    changes.add(Note("third", log))
    assert changes.pending_jobs == 2
    savepoint.rollback()
    assert changes.pending_jobs == 1
    transaction.commit()

    assert [change for change in log if "applied" in change] == [
        "second applied"
    ]
    assert changes.pending_jobs == 0


def test_one_that_comes_after_the_commit_is_refused(changes, log):
    refusals = []

    def hook(committed):
        with pytest.raises(TransactionRequired, match="is being committed"):
            changes.add(Note("late", log))
        refusals.append(None)

    changes.add(Note("change", log))
    transaction.get().addAfterCommitHook(hook)
    transaction.commit()

    assert len(refusals) == 1
    assert log == ["change prepared", "change applied", "after"]
    assert changes.pending_jobs == 0


def test_a_change_can_be_taken_back(changes, log):
    changes.add(Note("change", log))
    changes.discard(next(iter(changes)))
    transaction.commit()

    assert log == ["after"]
