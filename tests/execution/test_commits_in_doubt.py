"""A commit that raises after the vote may have succeeded nevertheless."""

import pytest
import shop
from transaction.interfaces import TransientError
from ZODB.FileStorage import FileStorage

pytestmark = pytest.mark.kept_in("memory", "zodb")


class ConnectionLost(TransientError):
    """What a client of a storage raises when its server does not answer."""


@pytest.fixture
def lose_answers(monkeypatch):
    """Let the storage raise these when it has, or has not, committed."""
    finish = FileStorage.tpc_finish
    to_raise = []

    def tpc_finish(self, transaction, f=None):
        if b", attempt " not in transaction.description or not to_raise:
            return finish(self, transaction, f)
        error, has_committed = to_raise.pop()
        if has_committed:
            finish(self, transaction, f)
        raise error

    monkeypatch.setattr(FileStorage, "tpc_finish", tpc_finish)
    return lambda error, *, has_committed=True: to_raise.append(
        (error, has_committed)
    )


errors = pytest.mark.parametrize(
    "error", [ConnectionLost(), OSError("reset by peer"), SystemExit(1)]
)


@errors
def test_a_job_whose_commit_raises_when_it_is_done_is_not_repeated(
    run, lose_answers, error
):
    lose_answers(error)
    run(shop.add, "word")

    assert shop.effects(run.app) == ["word"]
