"""Which storages only one process can have open."""

import pytest
import storages
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from zodburi import resolve_uri

from pyramid_zodb_async.database.storages import is_for_one_process


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
