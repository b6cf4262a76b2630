"""Errors of a storage are told from those of a job."""

import pytest
import transaction
from ZODB.DB import DB
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError
from ZODB.utils import z64

from pyramid_zodb_async.database.storages import storage_failed


class DriverError(Exception):
    """What a driver raises; no class of the ZODB."""


class Storage(MappingStorage):
    """A storage that raises what it is told to."""

    error = None

    def raise_if_told(self):
        if self.error:
            raise self.error

    def tpc_vote(self, transaction):
        self.raise_if_told()
        return super().tpc_vote(transaction)


def raised_by(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        function()
    return caught.value


@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (DriverError(), True),
        (OSError(28, "No space left on device"), True),
        (ConflictError(), False),
        (POSKeyError(z64), False),
        (ReadOnlyError(), False),
    ],
)
def test_what_a_storage_raises_is_its_failure_unless_it_is_an_answer(
    error, failed
):
    storage = Storage()
    connection = DB(storage).open()
    connection.root()["x"] = 1
    storage.error = error
    caught = raised_by(transaction.commit)
    transaction.abort()
    assert caught is error
    assert storage_failed(caught) == failed


def test_an_error_that_a_job_raises_by_itself_is_no_failure_of_a_storage():
    def job():
        raise DriverError

    assert not storage_failed(raised_by(job))
    assert not storage_failed(DriverError())


def test_relstorage_raises_from_objects_that_are_no_storages():
    code = "def load(self): raise DriverError"
    module = {
        "__name__": "relstorage.storage.load",
        "DriverError": DriverError,
    }
    exec(code, module)
    assert storage_failed(raised_by(lambda: module["load"](object())))
