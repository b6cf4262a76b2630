"""Which storages only one process can have open."""

import pytest
import storages
import transaction
from ZODB.DB import DB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError
from ZODB.utils import z64
from zodburi import resolve_uri

from pyramid_zodb_async.database.storages import (
    is_for_one_process,
    storage_failed,
)


class Compressing:
    """A storage around another one."""

    def __init__(self, base):
        self.base = base


@pytest.mark.parametrize("around", [lambda storage: storage, Compressing])
def test_a_file_is_open_in_one_process(tmp_path, around):
    storage = FileStorage(str(tmp_path / "Data.fs"), blob_dir=str(tmp_path))

    assert is_for_one_process(around(storage))
    assert is_for_one_process(DemoStorage(base=storage))
    storage.close()


def test_a_storage_in_memory_is_open_in_one_process():
    assert is_for_one_process(MappingStorage())
    assert is_for_one_process(DemoStorage())


@pytest.mark.parametrize("kind", ["zeo", "sqlite"])
def test_a_storage_with_a_server_or_locks_may_be_open_in_more(kind, tmp_path):
    with getattr(storages, kind)(tmp_path) as uri:
        make_storage, _ = resolve_uri(uri)
        storage = make_storage()

        assert not is_for_one_process(storage)
        demo = DemoStorage(base=storage)
        assert not is_for_one_process(demo)
        assert not is_for_one_process(Compressing(storage))
        storage.close()


def test_nothing_is_known_of_other_storages():
    assert not is_for_one_process(object())


# -- Errors -------------------------------------------------------------------


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
