"""What is known of a commit that has raised, and what it tells."""

import pytest
import transaction
from ZODB.DB import DB

from pyramid_zodb_async.database.commits import (
    LONGEST_NOTE,
    cut_notes,
    may_have_committed,
)


class Participant:
    """Takes part in a transaction, and raises at one step."""

    def __init__(self, key, step=None):
        self._key = key
        if step is not None:
            setattr(self, step, self._raise)

    def _raise(self, _transaction):
        raise OSError(self._key)

    def sortKey(self):
        return self._key

    def tpc_begin(self, transaction):
        """Have nothing to do."""

    commit = tpc_vote = tpc_finish = tpc_abort = abort = tpc_begin


@pytest.fixture
def committed():
    """Commit with participants; give the transaction when it has raised."""

    def commit(*participants):
        manager = transaction.TransactionManager(explicit=True)
        current = manager.begin()
        for participant in participants:
            current.join(participant)
        with pytest.raises(OSError, match=r"[a-e]"):
            current.commit()
        return current

    return commit


@pytest.mark.parametrize("step", ["tpc_begin", "commit", "tpc_vote"])
def test_a_commit_has_failed_if_one_raises_before_the_last_vote(
    committed, step
):
    others = Participant("a"), Participant("c")

    assert not may_have_committed(committed(*others, Participant("b", step)))


@pytest.mark.parametrize("key", ["a", "c", "e"])
def test_it_may_have_succeeded_if_one_raises_after_that(committed, key):
    others = Participant("b"), Participant("d")

    assert may_have_committed(
        committed(*others, Participant(key, "tpc_finish"))
    )


def test_a_transaction_that_is_open_has_not_committed():
    manager = transaction.TransactionManager(explicit=True)
    current = manager.begin()
    assert not may_have_committed(current)

    current.join(Participant("a"))
    assert not may_have_committed(current)
    current.abort()


def test_nor_has_one_whose_savepoint_has_failed():
    db = DB(None)
    manager = transaction.TransactionManager(explicit=True)
    current = manager.begin()
    connection = db.open(manager)
    connection.root()["function"] = lambda: None
    with pytest.raises(Exception, match="pickle"):
        current.savepoint()

    assert not may_have_committed(current)
    current.abort()
    connection.close()
    db.close()


def test_what_a_transaction_tells_is_cut_only_if_it_is_very_long():
    manager = transaction.TransactionManager(explicit=True)
    current = manager.begin()
    current.note("count")
    current.user = "ann"
    cut_notes(current)
    assert (current.description, current.user) == ("count", "ann")

    current.note("c" * LONGEST_NOTE)
    current.user = "u" * 2 * LONGEST_NOTE
    cut_notes(current)
    assert current.description == "count\n" + "c" * (LONGEST_NOTE - 7) + "…"
    assert current.user == "u" * (LONGEST_NOTE - 1) + "…"
    current.abort()
