"""What databases, settings and other programs name stays where they look."""

import importlib
import os
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import shop
import stored_jobs
import stored_names
from pyramid.exceptions import ConfigurationError
from pyramid.path import AssetResolver, DottedNameResolver
from pyramid.response import Response

import pyramid_zodb_async
from pyramid_zodb_async import (
    ArgumentNotTransferable,
    JobError,
    JobTimeout,
    Options,
    context,
    events,
    exceptions,
    settings,
)
from pyramid_zodb_async.jobs import model
from pyramid_zodb_async.testing import drain

pytestmark = pytest.mark.kept_in("zodb")

#: All that pickles may name, and the same by the name that people import; or
#: ``None`` if they do not.
STORED = {
    "pyramid_zodb_async.announcer:_refuse": None,
    "pyramid_zodb_async.context:PersistentContext": (
        pyramid_zodb_async.PersistentContext
    ),
    "pyramid_zodb_async.events:JobEvent": events.JobEvent,
    "pyramid_zodb_async.events:JobExpired": events.JobExpired,
    "pyramid_zodb_async.events:JobFailed": events.JobFailed,
    "pyramid_zodb_async.events:JobRetried": events.JobRetried,
    "pyramid_zodb_async.events:JobScheduled": events.JobScheduled,
    "pyramid_zodb_async.events:JobStarted": events.JobStarted,
    "pyramid_zodb_async.events:JobSucceeded": events.JobSucceeded,
    "pyramid_zodb_async.events:JobWasCancelled": events.JobWasCancelled,
    "pyramid_zodb_async.exceptions:ArgumentNotTransferable": (
        pyramid_zodb_async.ArgumentNotTransferable
    ),
    "pyramid_zodb_async.exceptions:BulkTooLarge": (
        pyramid_zodb_async.BulkTooLarge
    ),
    "pyramid_zodb_async.exceptions:DatabaseForked": (
        pyramid_zodb_async.DatabaseForked
    ),
    "pyramid_zodb_async.exceptions:JobCancelled": (
        pyramid_zodb_async.JobCancelled
    ),
    "pyramid_zodb_async.exceptions:CommitInDoubt": (
        pyramid_zodb_async.CommitInDoubt
    ),
    "pyramid_zodb_async.exceptions:JobCrashed": pyramid_zodb_async.JobCrashed,
    "pyramid_zodb_async.exceptions:JobError": pyramid_zodb_async.JobError,
    "pyramid_zodb_async.exceptions:JobNotLoadable": (
        pyramid_zodb_async.JobNotLoadable
    ),
    "pyramid_zodb_async.exceptions:JobTimeout": pyramid_zodb_async.JobTimeout,
    "pyramid_zodb_async.exceptions:JobUndone": pyramid_zodb_async.JobUndone,
    "pyramid_zodb_async.exceptions:QueueFull": pyramid_zodb_async.QueueFull,
    "pyramid_zodb_async.exceptions:ResultNotRenderable": (
        pyramid_zodb_async.ResultNotRenderable
    ),
    "pyramid_zodb_async.exceptions:ResultNotTransferable": (
        pyramid_zodb_async.ResultNotTransferable
    ),
    "pyramid_zodb_async.exceptions:StoreNotUsable": (
        pyramid_zodb_async.StoreNotUsable
    ),
    "pyramid_zodb_async.exceptions:TransactionRequired": (
        pyramid_zodb_async.TransactionRequired
    ),
    "pyramid_zodb_async.exceptions:UnknownJob": pyramid_zodb_async.UnknownJob,
    "pyramid_zodb_async.job:Failure": pyramid_zodb_async.Failure,
    "pyramid_zodb_async.job:JobState": pyramid_zodb_async.JobState,
    "pyramid_zodb_async.job:JobView": pyramid_zodb_async.JobView,
    "pyramid_zodb_async.job:Progress": pyramid_zodb_async.Progress,
    "pyramid_zodb_async.job:Version": model.Version,
    "pyramid_zodb_async.options:Backoff": pyramid_zodb_async.Backoff,
    "pyramid_zodb_async.options:Options": pyramid_zodb_async.Options,
    "pyramid_zodb_async.references:NotTransferable": None,
    "pyramid_zodb_async.references:SharedDatabase": None,
    "pyramid_zodb_async.references:part": None,
    "pyramid_zodb_async.scheduler.durable:PersistentTransactionalScheduler": (
        pyramid_zodb_async.PersistentTransactionalScheduler
    ),
    "pyramid_zodb_async.scheduler.records:Beat": None,
    "pyramid_zodb_async.scheduler.records:Cell": None,
    "pyramid_zodb_async.scheduler.records:Fence": None,
    "pyramid_zodb_async.scheduler.records:Outcome": None,
    "pyramid_zodb_async.scheduler.records:Page": None,
    "pyramid_zodb_async.scheduler.records:Record": None,
    "pyramid_zodb_async.scheduler.records:Shard": None,
    "pyramid_zodb_async.scheduler.records:Slice": None,
    "pyramid_zodb_async.scheduler.records:Store": None,
    "pyramid_zodb_async.scheduler.records:StoredCall": None,
    "pyramid_zodb_async.scheduler.records:StoredEnvelope": None,
    "pyramid_zodb_async.scheduler.records:TakenOver": None,
    "pyramid_zodb_async.scheduler.view:_nothing": None,
}

#: Where earlier versions have stored what has another name now.
RENAMED = {
    "pyramid_zodb_async.events:JobCancelled": (
        "pyramid_zodb_async.events:JobWasCancelled"
    ),
}

#: What earlier versions may have stored, and is gone.
GONE = {"pyramid_zodb_async.events:JobProgressed"}

#: What earlier versions have stored, and this one only reads.
ONLY_READ = {
    "pyramid_zodb_async.job:Version",
    "pyramid_zodb_async.scheduler.records:Record",
    "pyramid_zodb_async.scheduler.records:StoredCall",
}

#: What the first version did not store: it had no envelopes, and one record
#: for each job.
LATER = {
    "pyramid_zodb_async.references:part",
    "pyramid_zodb_async.scheduler.records:Cell",
    "pyramid_zodb_async.scheduler.records:Page",
    "pyramid_zodb_async.scheduler.records:Shard",
    "pyramid_zodb_async.scheduler.records:StoredEnvelope",
}

#: What nothing in the files names, but may be named in others: the base of
#: events, what is held of a record for a moment, and what the version that
#: wrote them did not know.
IN_NO_FILE = {
    "pyramid_zodb_async.events:JobEvent",
    "pyramid_zodb_async.exceptions:BulkTooLarge",
    "pyramid_zodb_async.exceptions:CommitInDoubt",
    "pyramid_zodb_async.scheduler.records:Fence",
    "pyramid_zodb_async.exceptions:JobUndone",
}


def loaded(path):
    """Load what a pickle names."""
    module, _, name = path.partition(":")
    return pickle.loads(f"c{module}\n{name}\n.".encode())


# -- Databases ----------------------------------------------------------------


@pytest.mark.parametrize("path", STORED)
def test_what_is_stored_is_found_by_its_path(path):
    found = loaded(path)

    assert callable(found)
    if STORED[path] is not None:
        assert found is STORED[path]


@pytest.mark.parametrize("path", STORED)
def test_what_is_stored_is_stored_under_its_path(path):
    """A process of an earlier version would not find it elsewhere."""
    found = loaded(path)

    assert f"{found.__module__}:{found.__qualname__}" == path


@pytest.mark.parametrize("path", RENAMED)
def test_what_was_stored_is_found_by_its_earlier_path(path):
    assert loaded(path) is loaded(RENAMED[path])


@pytest.mark.parametrize("path", GONE)
def test_what_is_gone_is_not_found(path):
    with pytest.raises(AttributeError):
        loaded(path)


def test_all_exceptions_and_events_may_be_stored():
    assert {
        *(f"pyramid_zodb_async.exceptions:{it}" for it in exceptions.__all__),
        *(f"pyramid_zodb_async.events:{it}" for it in events.__all__),
    } <= STORED.keys()


def test_a_database_of_the_first_version_names_no_others():
    names = stored_names.globals_in(stored_jobs.DATA / "format_1.fs")
    known = {RENAMED.get(name, name) for name in names - GONE}

    assert names > GONE | RENAMED.keys()
    assert known == STORED.keys() - IN_NO_FILE - LATER


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Have this version write such a database."""
    path = tmp_path_factory.mktemp("written") / "Data.fs"
    stored_jobs.write(path)
    return path


def test_a_database_of_this_version_names_the_same_and_what_is_new(written):
    names = STORED.keys() - IN_NO_FILE - ONLY_READ

    assert stored_names.globals_in(written) == names


@pytest.mark.parametrize("file", ["committed", "written"])
def test_names_that_are_kept_as_text_are_found(written, file):
    path = written
    if file == "committed":
        path = stored_jobs.DATA / "format_1.fs"
    texts = stored_names.texts_in(path)

    assert "pyramid_zodb_async.exceptions:JobTimeout" in texts
    assert texts == stored_names.texts_in(stored_jobs.DATA / "format_1.fs")
    for text in texts:
        assert callable(pkgutil.resolve_name(text))


def test_what_nobody_imports_is_what_is_in_use(tmp_path):
    with stored_jobs.opened(tmp_path / "Data.fs") as app:
        with stored_jobs.request_of(app) as request:
            sid = request.schedule(shop.give, 1)
            with pytest.raises(ArgumentNotTransferable) as caught:
                request.schedule(shop.give, app)
        with stored_jobs.request_of(app) as request:
            store = shop.root(request)["pyramid_zodb_async"]
            fence = store.job(sid).fence
            made = store.beat_of("somebody")
            with pytest.raises(JobError) as taken:
                store.change(sid, fence._replace(run_number=9))
            shared = context.PersistentContext()._database

    prefix = "pyramid_zodb_async.scheduler.records"
    assert type(fence) is loaded(f"{prefix}:Fence")
    assert type(made) is loaded(f"{prefix}:Beat")
    assert taken.type is loaded(f"{prefix}:TakenOver")
    cause = caught.value.__cause__
    path = "pyramid_zodb_async.references"
    assert type(cause) is loaded(f"{path}:NotTransferable")
    assert type(shared) is loaded(f"{path}:SharedDatabase")


def test_jobs_are_at_their_place_in_the_root(tmp_path):
    with stored_jobs.opened(tmp_path / "Data.fs") as app:
        with stored_jobs.request_of(app) as request:
            sid = request.schedule(shop.give, 1)
        with stored_jobs.request_of(app) as request:
            root = shop.root(request)
            assert list(root["pyramid_zodb_async"].unfinished()) == [sid]
            assert root["pyramid_zodb_async"].format == 2
            assert root["pyramid_zodb_async"].features == ("blocks", "shards")


def test_an_exception_of_the_package_is_covered_by_its_old_name(tmp_path):
    name = "pyramid_zodb_async.exceptions:JobTimeout"
    options = Options(retry_on=(name,))

    assert options.covers(JobTimeout())
    assert not options.covers(JobError())
    with (
        stored_jobs.opened(tmp_path / "Data.fs") as app,
        stored_jobs.request_of(app) as request,
    ):
        schedule = request.schedule.with_options(retry_on=JobTimeout)
        sid = schedule(shop.give, 1)
        assert request.jobs.get(sid).options.retry_on == (name,)


# -- Imports ------------------------------------------------------------------

#: What people import, beside what is in the package itself.
IMPORTED = {
    "context": ["PersistentContext"],
    "events": events.__all__,
    "exceptions": exceptions.__all__,
    "interfaces": [
        "IEngine",
        "IEngineFactory",
        "IJobAccess",
        "IJobWrappers",
        "IRemoteEngine",
        "IScheduler",
    ],
    "scheduler": [
        "PersistentTransactionalScheduler",
        "TransactionalScheduler",
    ],
    "settings": ["ISettings", "Settings", "parse_settings"],
    "testing": [
        "assert_scheduled",
        "conflict_next",
        "crash_next",
        "drain",
        "fail_next",
        "paused",
        "restart",
        "run_next",
        "scheduled",
        "wait_for",
    ],
    "transactional": ["TransactionManager", "transactional"],
}


@pytest.mark.parametrize("module", IMPORTED)
def test_a_module_that_people_import_has_its_names(module):
    for name in IMPORTED[module]:
        found = pkgutil.resolve_name(f"pyramid_zodb_async.{module}:{name}")
        # events have names that exceptions have as well
        if module != "events" and name in pyramid_zodb_async.__all__:
            assert found is getattr(pyramid_zodb_async, name)


@pytest.mark.parametrize("module", sorted(IMPORTED.keys() - {"transactional"}))
def test_such_a_module_is_an_attribute_of_the_package(module):
    path = f"pyramid_zodb_async.{module}"

    assert getattr(pyramid_zodb_async, module) is importlib.import_module(path)


def test_one_attribute_is_what_the_module_of_its_name_has():
    module = importlib.import_module("pyramid_zodb_async.transactional")

    assert pyramid_zodb_async.transactional is module.transactional


# -- Settings and configuration -----------------------------------------------

TWEENS = (
    "pyramid_zodb_async.tween.start_scheduler_factory",
    "pyramid_zodb_async.prefer.wait_for_change_factory",
)


PYRAMID_TM = "pyramid_tm.tm_tween_factory"


def start(request):
    return request.accepted(request.schedule(shop.add, "done"))


@pytest.mark.parametrize("name", TWEENS)
def test_a_tween_is_found_by_its_name(name):
    assert callable(DottedNameResolver().resolve(name))


def test_an_application_may_list_the_tweens_itself(make_app):
    tweens = [
        *TWEENS,
        PYRAMID_TM,
        "pyramid.tweens.excview_tween_factory",
    ]
    app = make_app({"/start": start}, pyramid__tweens="\n".join(tweens))
    path = app.get("/start").location
    drain(app)

    assert shop.effects(app) == ["done"]
    answer = app.get(path, headers={"Prefer": "wait=1"})
    assert answer.json["state"] == "succeeded"
    assert answer.headers["Preference-Applied"] == "wait=1"


#: Whether there was a transaction, each time that the tween below was asked.
seen = []


def look_factory(handler, registry):
    """Make a tween of the application's own."""

    def look_tween(request):
        seen.append("tm.active" in request.environ)
        return handler(request)

    return look_tween


@pytest.fixture
def make_looking_app(make_app):
    """Make applications with that tween, and give what it sees."""

    def make(**place):
        def configure(config):
            config.add_tween(f"{__name__}.look_factory", **place)

        app = make_app({"/start": start}, configure=configure)
        path = app.get("/start").location
        drain(app)
        assert shop.effects(app) == ["done"]
        seen.clear()
        app.get(path, headers={"Prefer": "wait=1"})
        return list(seen)

    return make


def test_a_tween_of_the_application_may_be_under_ours(make_looking_app):
    told = make_looking_app(under=TWEENS[1], over=PYRAMID_TM)

    # if it were over ours, it would have seen the request that waits as well
    assert told == [False]


def test_a_tween_of_the_application_may_be_between_ours(make_looking_app):
    told = make_looking_app(under=TWEENS[0], over=TWEENS[1])

    assert told == [False, False]


def test_a_tween_of_the_application_may_be_over_ours(make_looking_app):
    told = make_looking_app(over=TWEENS[0])

    assert told == [False, False]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("pyramid_zodb_async.jobs", "/jobs"),
        ("pyramid_zodb_async.job", "/jobs/a"),
        ("pyramid_zodb_async.retry", "/jobs/a/retry"),
        ("pyramid_zodb_async.static", "/jobs/static/a/jobs.js"),
    ],
)
def test_a_route_has_its_name(make_app, name, path):
    def view(request):
        subpath = ("a", "jobs.js")
        return Response(request.route_path(name, sid="a", subpath=subpath))

    assert make_app({"/view": view}).get("/view").text == path


def test_the_static_files_are_where_asset_specifications_say():
    folder = Path(
        AssetResolver().resolve("pyramid_zodb_async:static/").abspath()
    )

    assert {path.name for path in folder.iterdir()} >= {
        "job-progress.d.ts",
        "job-progress.js",
        "jobs.d.ts",
        "jobs.js",
        "openapi.json",
    }


@pytest.mark.parametrize("spec", ["static/jobs.js", "static/"])
def test_an_application_may_have_files_of_its_own(make_app, tmp_path, spec):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "jobs.js").write_text("// mine")

    def view(request):
        path = request.static_path("pyramid_zodb_async:static/jobs.js")
        return Response(path)

    def configure(config):
        mine = f"{folder}/{spec.removeprefix('static/')}"
        config.override_asset(f"pyramid_zodb_async:{spec}", mine)

    app = make_app({"/view": view}, configure=configure)

    assert app.get("/jobs/static/jobs.js").text == "// mine"
    assert app.get(app.get("/view").text).text == "// mine"


def test_a_setting_names_exceptions_of_the_package():
    names = {
        "zodb_async.public_errors": "pyramid_zodb_async.exceptions.JobTimeout"
    }

    assert settings.parse_settings(names).public_errors == (JobTimeout,)


# -- Celery -------------------------------------------------------------------

APP = "pyramid_zodb_async.engine.celery:app"

INI = """
[app:main]
use = call:builtins:dict
zodbconn.uri = memory://
zodb_async.engine = celery
zodb_async.celery_broker = redis://127.0.0.1:1/0
"""


def test_a_worker_finds_its_application(monkeypatch):
    monkeypatch.delenv("PYRAMID_INI", raising=False)
    with pytest.raises(ConfigurationError, match="PYRAMID_INI"):
        pkgutil.resolve_name(APP)


def test_a_message_names_the_task_of_a_worker(tmp_path):
    """In a process of its own, for Celery has signals."""
    ini = tmp_path / "celery.ini"
    ini.write_text(INI)
    tell = f"import pkgutil; print(*pkgutil.resolve_name({APP!r}).tasks)"
    said = subprocess.check_output(
        [sys.executable, "-c", tell],
        env={**os.environ, "PYRAMID_INI": str(ini)},
        text=True,
    )

    assert "pyramid_zodb_async.run" in said.split()
