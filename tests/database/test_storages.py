"""Which storages only one process can have open."""

import pytest
import storages
import transaction
from ZODB.blob import Blob, BlobStorage
from ZODB.config import storageFromString
from ZODB.DB import DB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.mvccadapter import MVCCAdapter
from ZODB.POSException import ConflictError, POSKeyError, ReadOnlyError
from ZODB.tests.hexstorage import HexStorage, ServerHexStorage
from ZODB.utils import z64
from zodburi import resolve_uri

from pyramid_zodb_async.database.storages import (
    describe_storage,
    is_for_one_process,
    keeps_its_commits,
    may_not_be_forked,
    storage_failed,
)


class Before:
    """A storage around another one, as zc.beforestorage has it."""

    def __init__(self, storage):
        self.storage = storage


def in_blobs(storage, folder):
    return BlobStorage(str(folder / "blobs"), storage)


def in_hex(storage, folder):
    return HexStorage(storage)


def in_hex_and_blobs(storage, folder):
    return HexStorage(BlobStorage(str(folder / "blobs"), storage))


def in_hex_twice(storage, folder):
    return ServerHexStorage(HexStorage(storage))


def under_changes(storage, folder):
    return DemoStorage(base=storage)


def as_changes(storage, folder):
    return DemoStorage(changes=storage)


def in_hex_under_changes(storage, folder):
    return DemoStorage(base=HexStorage(storage), changes=HexStorage(storage))


def as_of_before(storage, folder):
    return Before(storage)


def in_views(storage, folder):
    return MVCCAdapter(storage)


def in_a_view(storage, folder):
    return MVCCAdapter(storage).new_instance()


WRAPPERS = [
    in_blobs,
    in_hex,
    in_hex_and_blobs,
    in_hex_twice,
    under_changes,
    as_changes,
    in_hex_under_changes,
    as_of_before,
    in_views,
    in_a_view,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize("make", [FileStorage, MappingStorage])
def test_what_is_around_a_storage_of_one_process_is_of_one_process(
    make, wrap, tmp_path
):
    storage = make(str(tmp_path / "Data.fs"))
    wrapped = wrap(storage, tmp_path)

    assert is_for_one_process(storage)
    assert is_for_one_process(wrapped)
    assert keeps_its_commits(wrapped)
    for one in [storage, wrapped]:
        assert may_not_be_forked(one) == (make is FileStorage)
    DB(storage).close()


@pytest.mark.parametrize(
    ("kind", "wrap"),
    [
        ("zeo", in_blobs),
        ("zeo", in_hex),
        ("zeo", in_hex_and_blobs),
        ("zeo", in_hex_twice),
        ("zeo", under_changes),
        ("zeo", in_views),
        ("zeo", in_a_view),
        ("zeo", as_of_before),
        ("sqlite", under_changes),
        ("sqlite", as_of_before),
    ],
)
def test_what_is_around_a_storage_of_more_processes_is_of_more(
    kind, wrap, tmp_path
):
    """Also when they know what is around them, as a ZEO client does."""
    with getattr(storages, kind)(tmp_path) as uri:
        make_storage, _ = resolve_uri(uri)
        storage = make_storage()
        wrapped = wrap(storage, tmp_path)

        for one in [storage, wrapped]:
            assert not is_for_one_process(one)
            assert may_not_be_forked(one) == (kind == "zeo")
        assert not keeps_its_commits(storage)
        assert keeps_its_commits(wrapped) == (wrap is under_changes)
        storage.close()


@pytest.mark.parametrize(
    "uri",
    [
        "file://{}/Data.fs?blobstorage_dir={}/blobs",
        "demo:(file://{}/Data.fs?blobstorage_dir={}/b)/(memory://)",
        "demo:(memory://)/(file://{}/Data.fs?blobstorage_dir={}/b)",
    ],
)
def test_a_uri_of_a_file_is_of_one_process(uri, tmp_path):
    make_storage, _ = resolve_uri(uri.replace("{}", str(tmp_path)))
    storage = make_storage()

    assert is_for_one_process(storage)
    storage.close()


def test_a_demonstration_stays_of_one_process_once_it_has_blobs(tmp_path):
    demo = DemoStorage(base=FileStorage(str(tmp_path / "Data.fs")))
    demo.temporaryDirectory()

    assert type(demo.changes) is BlobStorage
    assert is_for_one_process(demo)
    demo.close()


FILE = "<filestorage>\npath {}/Data.fs\n</filestorage>"
WITH_BLOBS = f"<blobstorage>\nblob-dir {{}}/b\n{FILE}\n</blobstorage>"


@pytest.mark.parametrize(
    "text",
    [FILE, WITH_BLOBS, f"<demostorage>\n{WITH_BLOBS}\n</demostorage>"],
)
def test_a_file_of_a_zconfig_file_is_of_one_process(text, tmp_path):
    storage = storageFromString(text.replace("{}", str(tmp_path)))

    assert is_for_one_process(storage)
    storage.close()


def test_only_one_process_sees_what_is_committed_beside_a_shared_base(
    tmp_path,
):
    with storages.zeo(tmp_path) as uri:
        make_storage, _ = resolve_uri(uri)
        storage = make_storage()
        demo = HexStorage(DemoStorage(base=storage))

        assert not is_for_one_process(demo)
        assert keeps_its_commits(demo)
        storage.close()


def test_nothing_is_known_of_other_storages():
    assert not is_for_one_process(object())
    assert not is_for_one_process(Before("no storage"))


def test_a_storage_is_described_with_those_in_it(tmp_path):
    storage = FileStorage(str(tmp_path / "Data.fs"))

    assert describe_storage(storage) == "FileStorage"
    wrapped = in_hex_and_blobs(storage, tmp_path)
    assert describe_storage(wrapped) == "HexStorage(BlobStorage(FileStorage))"
    assert (
        describe_storage(DemoStorage(base=storage))
        == "DemoStorage(FileStorage, MappingStorage)"
    )
    storage.close()


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


def test_what_a_wrapper_raises_of_its_blobs_is_a_failure_of_a_storage(
    tmp_path,
):
    storage = in_blobs(MappingStorage(), tmp_path)
    connection = DB(storage).open()
    connection.root()["blob"] = Blob(b"x")
    # no folder can be made in it
    (tmp_path / "blobs" / "0x00").write_text("a file in its place")

    assert storage_failed(raised_by(transaction.commit))
    transaction.abort()


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
