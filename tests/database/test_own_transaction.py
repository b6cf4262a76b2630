"""Transactions of the package's own."""

import pytest
import shop
import transaction
from ZODB.POSException import ConflictError

from pyramid_zodb_async.database import own_transaction
from pyramid_zodb_async.database.own_transaction import (
    TRIES,
    in_own_transaction,
)


def test_work_is_committed_with_a_note(db):
    def work(connection):
        connection.root()["product"] = shop.Product("book")
        return "done"

    assert in_own_transaction(db, work, "stores a book") == "done"
    with db.transaction() as connection:
        assert connection.root()["product"].name == "book"
    assert "stores a book" in db.history(b"\0" * 8)[0]["description"]
    assert shop.count_open(db) == 0


def test_without_a_note_nothing_is_written(db):
    def work(connection):
        connection.root()["product"] = shop.Product("book")

    in_own_transaction(db, work)
    with db.transaction() as connection:
        assert "product" not in connection.root()


def test_it_is_done_again_after_a_conflict_with_everything_read_anew(db):
    seen = []

    def work(connection):
        root = connection.root()
        seen.append(root.get("count", 0))
        if len(seen) < 3:
            with db.transaction() as other:
                other.root()["count"] = len(seen)
        root["count"] = "by the work"

    in_own_transaction(db, work, "counts")
    assert seen == [0, 1, 2]


def test_it_gives_up_after_some_conflicts(db, monkeypatch):
    monkeypatch.setattr(own_transaction, "LONGEST_WAIT", 0)
    tries = []

    def work(connection):
        tries.append(connection)
        raise ConflictError

    with pytest.raises(ConflictError):
        in_own_transaction(db, work, "conflicts")
    assert len(tries) == TRIES
    assert shop.count_open(db) == 0


def test_other_errors_abort_it(db):
    def work(connection):
        connection.root()["half"] = "done"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        in_own_transaction(db, work, "fails")
    assert shop.count_open(db) == 0
    with db.transaction() as connection:
        assert "half" not in connection.root()


def test_the_threads_transaction_is_left_alone(db, connection):
    current = transaction.begin()
    connection.root()["mine"] = "not committed"
    in_own_transaction(db, lambda own: own.root().get("mine"), "other")

    assert transaction.get() is current
    assert connection.root()["mine"] == "not committed"


@pytest.fixture
def lose_answers(db, monkeypatch):
    """Have commits raise these after they have succeeded."""
    finish = type(db.storage).tpc_finish
    errors = []

    def tpc_finish(self, transaction, f=None):
        done = finish(self, transaction, f)
        if errors:
            raise errors.pop()
        return done

    monkeypatch.setattr(type(db.storage), "tpc_finish", tpc_finish)
    return errors


def test_work_looks_again_after_a_commit_that_may_have_succeeded(
    db, lose_answers, monkeypatch
):
    monkeypatch.setattr(own_transaction, "LONGEST_WAIT", 0)
    lose_answers += [OSError("reset by peer"), ConflictError()]
    seen = []

    def work(connection):
        root = connection.root()
        seen.append(root.get("count", 0))
        root["count"] = seen[-1] + 1

    in_own_transaction(db, work, "counts")
    assert seen == [0, 1, 2]
    assert shop.count_open(db) == 0


def test_it_raises_what_the_last_of_these_commits_has_raised(
    db, lose_answers, monkeypatch
):
    monkeypatch.setattr(own_transaction, "LONGEST_WAIT", 0)
    lose_answers += [OSError("reset by peer")] * TRIES

    def work(connection):
        connection.root()["product"] = "book"

    with pytest.raises(OSError, match="reset by peer"):
        in_own_transaction(db, work, "stores a book")
    assert lose_answers == []
    assert shop.count_open(db) == 0


def test_an_exit_is_not_held_up_by_a_doubt(db, lose_answers):
    lose_answers.append(SystemExit())
    with pytest.raises(SystemExit):
        in_own_transaction(
            db, lambda own: own.root().update(product="book"), "stores a book"
        )
