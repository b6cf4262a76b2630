"""Jobs that earlier versions have left in Zope are found, and run."""

import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shop
import stored_names
import stored_shelves
import transaction
import Zope2
from Acquisition import aq_base, aq_parent
from stored_jobs import DATA
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from pyramid_zodb_async import JobState, zope2

FILE = DATA / "format_1_in_zope.fs"

#: All that pickles of Zope's databases may name beside what others name, and
#: the same by the name that people import; or ``None`` if they do not.
STORED = {
    "pyramid_zodb_async.acquisition:MethodInContext": None,
    "pyramid_zodb_async.acquisition:in_context": None,
    "pyramid_zodb_async.zope2:PersistentContext": zope2.PersistentContext,
    "pyramid_zodb_async.zope2:PersistentTransactionalScheduler": (
        zope2.PersistentTransactionalScheduler
    ),
}

#: What others name that is in this file as well.
STORED_ANYWHERE = {
    "pyramid_zodb_async.references:SharedDatabase",
    "pyramid_zodb_async.scheduler.records:Outcome",
    "pyramid_zodb_async.scheduler.records:Slice",
}

#: What the first version has stored jobs as, and what later ones do.
EARLIER = {
    "pyramid_zodb_async.scheduler.records:Record",
    "pyramid_zodb_async.scheduler.records:StoredCall",
}
LATER = {
    "pyramid_zodb_async.references:part",
    "pyramid_zodb_async.scheduler.records:Cell",
    "pyramid_zodb_async.scheduler.records:Page",
    "pyramid_zodb_async.scheduler.records:Shard",
    "pyramid_zodb_async.scheduler.records:StoredEnvelope",
}

#: What people import.
IMPORTED = [
    "PersistentContext",
    "PersistentTransactionalScheduler",
    "TransactionManager",
    "TransactionalScheduler",
    "transactional",
]

SHELF = "/site/hall/shelf"

#: The effects of the jobs that wait, with the colour that they acquire.
EFFECTS = {
    "argument": ("argument", SHELF, "green"),
    "method": ("method", "green"),
    "partial": ("partial", 1, "green"),
    "nested": ("nested", SHELF, "hello", "green"),
    "bare": ("bare", "shelf", True, "green"),
    "context": ("context", "/site/hall", 1, "green"),
    "weak": ("weak", "shelf", "green"),
    "owned": ("owned", "site bob", "green"),
    "transactional": ("transactional", "green"),
    "failed": ("failed", "green"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Have this version write such a database."""
    path = tmp_path_factory.mktemp("written") / "Data.fs"
    script = Path(__file__).with_name("stored_jobs_in_zope.py")
    subprocess.run([sys.executable, str(script), str(path)], check=True)
    return path


@pytest.fixture(params=["committed", "written"])
def path(request, written):
    """Give the database of the first version, and that of this one."""
    return FILE if request.param == "committed" else written


@pytest.fixture
def site(path, wsgi_app, tmp_path, monkeypatch):
    """Give the site of a copy, where the database of Zope would be."""
    shutil.copy(path, tmp_path / "Data.fs")
    storage = FileStorage(str(tmp_path / "Data.fs"))
    db = DB(storage, database_name=Zope2.DB.database_name)
    db.classFactory = Zope2.DB.classFactory
    monkeypatch.setattr(Zope2, "DB", db)
    connection = db.open()
    site = connection.root()["Application"].site
    yield site
    transaction.abort()
    site.scheduler.stop(60)
    connection.close()
    db.close()


@pytest.fixture
def ran(site):
    """Have all the jobs run."""
    assert site.scheduler.retry(site.jobs["failed"])
    transaction.commit()
    stored_shelves.mended.set()
    site.scheduler.start()
    ended = site.scheduler.wait(timeout=shop.PATIENCE)
    stored_shelves.mended.clear()
    assert ended
    transaction.begin()


def loaded(path):
    """Load what a pickle names."""
    module, _, name = path.partition(":")
    return pickle.loads(f"c{module}\n{name}\n.".encode())


@pytest.mark.parametrize("stored", STORED)
def test_what_is_stored_is_found_by_its_path(stored):
    found = loaded(stored)

    assert f"{found.__module__}:{found.__qualname__}" == stored
    if STORED[stored] is not None:
        assert found is STORED[stored]


def test_a_database_names_no_others(path):
    names = stored_names.globals_in(path)

    assert names - EARLIER - LATER == STORED.keys() | STORED_ANYWHERE
    assert names >= EARLIER or names >= LATER
    assert stored_names.texts_in(path) == set()


@pytest.mark.parametrize("name", IMPORTED)
def test_the_module_has_what_people_import(name):
    assert name in zope2.__all__
    assert getattr(zope2, name).__module__ == "pyramid_zodb_async.zope2"


def test_each_job_is_known_to_these_tests(site):
    assert set(site.jobs) == {*EFFECTS, "given", "given bare", "bare method"}


def test_a_result_is_in_its_context(site):
    (shelf,) = site.scheduler.get(site.jobs["given"]).result

    assert stored_shelves.tell(shelf) == SHELF
    assert aq_base(shelf) is aq_base(site.hall.shelf)
    bare = site.scheduler.get(site.jobs["given bare"]).result
    assert aq_parent(bare) is None


def test_a_failed_job_has_its_exception(site):
    sid = site.jobs["failed"]
    view = site.scheduler.get(sid)
    value, error = site.scheduler.get_result(sid)

    assert view.failure.type == "OutOfBooks"
    assert view.owner == "site bob"
    assert value is None
    assert type(error) is stored_shelves.OutOfBooks


def test_a_context_still_knows_its_objects(site):
    context = site.context
    context.set_root_connection(site._p_jar)

    assert type(context) is zope2.PersistentContext
    assert stored_shelves.tell(context[0]) == SHELF
    assert stored_shelves.tell(context["hall"]) == "/site/hall"


def test_waiting_jobs_run_once_in_their_context(site, ran):
    for sid in site.jobs.values():
        assert site.scheduler.get(sid).state is JobState.SUCCEEDED
    effects = site.hall.shelf.notes

    assert sorted(effects) == sorted(EFFECTS.values())
    bare = site.scheduler.get(site.jobs["bare method"])
    assert bare.result == "shelf"
