"""The parts of the engine for Celery, in the process of the test."""

import itertools
import logging
import signal
import sys
import threading
import time
from contextlib import ExitStack

import brokers
import celery_shop
import pyramid.paster
import pytest
import redis
import shop
import storages
import transaction
from celery.concurrency.thread import TaskPool
from pyramid.exceptions import ConfigurationError
from workers import Site
from zope.interface.verify import verifyObject

import pyramid_zodb_async.engine.celery as module
from pyramid_zodb_async import IEngine, IScheduler
from pyramid_zodb_async.engine.celery import Sender, make_worker_app
from pyramid_zodb_async.engine.queue import Entry
from pyramid_zodb_async.engine.remote import worker as worker_module
from pyramid_zodb_async.engine.remote.worker import Worker
from pyramid_zodb_async.interfaces import IRemoteEngine
from pyramid_zodb_async.scheduler import records
from pyramid_zodb_async.scheduler.maintenance import resending
from pyramid_zodb_async.scheduler.records import FORMAT, Store
from pyramid_zodb_async.settings import parse_settings

#: What nothing answers at.
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def site(tmp_path):
    """Give an application on SQLite, whose messages go nowhere."""
    with ExitStack() as stack:
        uri = stack.enter_context(storages.sqlite(tmp_path))
        made = Site(tmp_path, uri, NOBODY, lease=60)
        stack.callback(made.stop)
        yield made


@pytest.fixture
def make_worker(site):
    """Make workers, as far as the database can tell, in this process."""
    made = []

    def make():
        made.append(Worker(str(site.ini)))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()


def sid_of(path):
    return path.rpartition("/")[2]


def scheduler_of(site):
    return site.app.app.registry.getUtility(IScheduler)


def record_of(site, path):
    """Give what the database has of a job."""
    return scheduler_of(site).location.read(
        lambda store: dict(vars(store.find(sid_of(path)))), {}
    )


def change(site, path, **values):
    """Change the record of a job, as another process may."""

    def do(store):
        fence = store.find(sid_of(path)).fence
        store.change(sid_of(path), fence, **values)

    scheduler_of(site).location.write(do, note="another process")


# -- A process that serves ----------------------------------------------------


def test_the_engine_keeps_the_contract(site):
    engine = site.app.app.registry.getUtility(IEngine)

    assert verifyObject(IRemoteEngine, engine)
    assert not engine.is_worker
    assert engine.idle(0)
    assert engine.workers is None


def test_a_job_belongs_to_nobody_until_a_worker_takes_it(site):
    path = site.begin("count", "jobs")

    assert "runner" not in record_of(site, path)
    assert scheduler_of(site).backlog() == 1
    assert sid_of(path) not in scheduler_of(site).assigned_jobs


def test_a_cancelled_job_is_not_sent(site):
    path = site.begin("count", "jobs", delay=50)
    engine = site.app.app.registry.getUtility(IEngine)
    engine.withdraw(sid_of(path))

    assert scheduler_of(site).backlog() == 0


def test_too_many_jobs_that_cannot_be_sent_are_refused(tmp_path):
    with storages.sqlite(tmp_path) as uri:
        site = Site(tmp_path, uri, NOBODY, lease=60, max_pending=3)
        for _ in range(3):
            site.begin("count", "jobs")
        answer = site.app.post(
            "/start",
            {"function": "count", "argument": "jobs"},
            expect_errors=True,
        )
        site.stop()

    assert answer.status_code == 503


def test_queues_of_ones_own_run_on_threads(tmp_path):
    with storages.sqlite(tmp_path) as uri:
        site = Site(tmp_path, uri, NOBODY, lease=60, queues="default quick")
        try:
            engine = site.app.app.registry.getUtility(IEngine)
            path = site.begin("count", "jobs", queue="quick")
            end = site.end_of(path)
            site.begin("count", "jobs", queue="other")
            idle = engine.idle(10)
        finally:
            site.stop()

    assert end["state"] == "succeeded"
    assert engine.workers == 2
    assert idle
    assert engine.unsent() == 1


# -- What is refused ----------------------------------------------------------


def settings_with(**values):
    settings = {f"zodb_async.{name}": values[name] for name in values}
    return parse_settings({"zodbconn.uri": "memory://", **settings})


def test_an_engine_without_a_broker_is_refused():
    message = r"'zodb_async\.celery_broker'"
    with pytest.raises(ConfigurationError, match=message):
        module.make_engine(None, settings_with(engine="celery"))


def test_an_engine_for_jobs_in_memory_is_refused():
    settings = settings_with(scheduler="memory", celery_broker=NOBODY)
    with pytest.raises(ConfigurationError, match="must be 'zodb'"):
        module.make_engine(None, settings)


def test_a_storage_for_one_process_is_refused(make_app):
    with pytest.raises(ConfigurationError, match="a FileStorage can be open"):
        make_app(
            zodb_async__scheduler="zodb",
            zodb_async__engine="celery",
            zodb_async__celery_broker=NOBODY,
        )


def test_without_celery_the_setting_says_what_to_install(
    make_app, monkeypatch
):
    monkeypatch.delitem(sys.modules, "pyramid_zodb_async.engine.celery")
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(
        ConfigurationError,
        match=r"celery is not installed: pip install"
        r" 'pyramid_zodb_async\[celery\]'",
    ):
        make_app(zodb_async__engine="celery")


@pytest.mark.parametrize("url", ["nonsense://x", "redis://here:port/0"])
def test_a_broker_that_celery_does_not_know_is_refused(url):
    with pytest.raises(ConfigurationError, match="cannot use this one"):
        module.make_engine(None, settings_with(celery_broker=url))


@pytest.mark.parametrize("names", ["a,b", "default -x", "ä"])
def test_a_queue_with_a_wrong_name_is_refused(names):
    with pytest.raises(ConfigurationError, match="names of queues"):
        settings_with(queues=names)


def test_a_worker_of_another_engine_is_refused(site):
    site.ini.write_text(
        site.ini.read_text().replace("engine = celery", "engine = threads")
    )
    with pytest.raises(ConfigurationError, match=r"needs zodb_async\.engine"):
        make_worker_app(str(site.ini))
    with pytest.raises(ConfigurationError, match="does not say"):
        Worker(str(site.ini)).load()


def test_a_worker_must_be_told_its_file_of_settings(monkeypatch, site):
    monkeypatch.delenv("PYRAMID_INI", raising=False)
    with pytest.raises(ConfigurationError, match="PYRAMID_INI must name"):
        module.app  # noqa: B018 - it is made now
    with pytest.raises(AttributeError):
        module.application  # noqa: B018 - there is none
    monkeypatch.setenv("PYRAMID_INI", str(site.ini))
    try:
        assert module.app is module.app
        assert module.TASK in module.app.tasks
    finally:
        module._app.cache_clear()


# -- A worker -----------------------------------------------------------------


def test_a_worker_runs_a_job_once(site, make_worker):
    first, second = make_worker(), make_worker()
    path = site.begin("count", "jobs")

    assert first.run(sid_of(path))
    assert second.run(sid_of(path))
    assert first.run(sid_of(path))
    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


def test_a_job_that_another_process_runs_is_left_to_it(
    site, make_worker, caplog
):
    caplog.set_level(logging.INFO)
    path = site.begin("count", "jobs")
    change(site, path, runner="another")

    assert make_worker().run(sid_of(path))
    assert site.counts() == {}
    assert "another process runs it" in caplog.text


def test_a_job_that_is_not_due_yet_is_not_run(site, make_worker, caplog):
    caplog.set_level(logging.INFO)
    path = site.begin("count", "jobs", delay=50)

    assert make_worker().run(sid_of(path))
    assert site.counts() == {}
    assert "is to run later" in caplog.text


@pytest.mark.parametrize("sid", ["nonsense", "79c59-Bg3z5cjuNAlXE3cCiF001Q"])
def test_a_message_that_names_no_job_is_done_with(
    site, make_worker, sid, caplog
):
    caplog.set_level(logging.INFO)

    assert make_worker().run(sid)
    assert f"{sid} is not to be run" in caplog.text


@pytest.mark.parametrize("sid", [5, None, ["a"], {"a": "b"}])
def test_a_message_that_has_no_sid_at_all_is_done_with(
    make_worker, sid, caplog
):
    assert make_worker().run(sid)
    (record,) = caplog.records
    assert record.action == "message_not_understood"


def test_a_job_is_run_as_soon_as_its_record_can_be_seen(
    site, make_worker, monkeypatch
):
    worker = make_worker()
    scheduler, _ = worker.load()
    path = site.begin("count", "jobs")
    place, looks = scheduler.location, []
    write = place.write

    def write_late(work, note):
        """See what a client sees that has not heard of a commit yet."""
        looks.append(note)
        if len(looks) < 3:
            return write(lambda _store: work(Store()), note)
        return write(work, note)

    monkeypatch.setattr(place, "write", write_late)

    assert worker.run(sid_of(path))
    assert site.end_of(path)["state"] == "succeeded"


def test_a_job_that_somebody_was_faster_to_take_is_left_to_them(
    site, make_worker, monkeypatch
):
    worker = make_worker()
    scheduler, _ = worker.load()
    path = site.begin("count", "jobs")
    place = scheduler.location
    write = place.write

    def write_late(work, note):
        if note.endswith(f"takes job {sid_of(path)}"):
            change(site, path, runner="another")
        return write(work, note)

    monkeypatch.setattr(place, "write", write_late)

    assert worker.run(sid_of(path))
    assert record_of(site, path)["runner"] == "another"


def test_a_message_comes_back_while_the_storage_is_away(
    site, make_worker, monkeypatch, caplog
):
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    worker = make_worker()
    scheduler, _ = worker.load()
    path = site.begin("count", "jobs")

    def refuse(work, note):
        raise OSError("the storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler.location, "write", refuse)
        assert not worker.run(sid_of(path))
    assert "its message is given back" in caplog.text
    assert worker.run(sid_of(path))
    assert site.end_of(path)["state"] == "succeeded"


def test_a_run_counts_as_begun_where_no_other_job_runs(
    site, make_worker, tmp_path
):
    begun = []
    worker = make_worker()

    def run():
        here, go = tmp_path / f"here{len(begun)}", tmp_path / "go"
        path = site.begin("count_when", "jobs", here, go)
        thread = threading.Thread(target=look, args=(path, here, go))
        thread.start()
        worker.run(sid_of(path))
        thread.join()

    def look(path, here, go):
        shop.wait_until(here.exists)
        begun.append(record_of(site, path).get("begun", False))
        go.touch()

    run()
    other = threading.Thread(target=run)
    other.start()
    other.join()

    assert begun == [True, False]


def test_suspects_wait_for_each_other(site, make_worker, tmp_path):
    worker = make_worker()
    worker.load()
    here, go = tmp_path / "here", tmp_path / "go"
    paths = [site.begin("count_when", "jobs", here, go) for _ in range(3)]
    threads = [
        threading.Thread(target=worker.run, args=(sid_of(path),))
        for path in paths
    ]
    for path, thread in zip(paths, threads, strict=True):
        change(site, path, suspect=True)
        thread.start()
    shop.wait_until(here.exists)
    shop.wait_until(lambda: all("runner" in record_of(site, p) for p in paths))
    waiting = [path for path in paths if "begun" not in record_of(site, path)]
    runs = len(here.read_text().splitlines())
    site.app.delete(waiting[0], status=202)
    scheduler = worker.load()[0]
    time.sleep(0.6)  # long enough to ask once whether it is still wanted
    shop.wait_until(lambda: scheduler.assigned_jobs.get(sid_of(waiting[0])))
    scheduler.assigned_jobs.drop(sid_of(waiting[0]))
    go.touch()
    for thread in threads:
        thread.join(shop.PATIENCE)

    assert len(waiting) == 2
    assert runs == 1
    assert site.counts() == {"jobs": 2}
    assert len(here.read_text().splitlines()) == 2


def conflict_once(name, marker):
    """Meet a conflict, but not twice."""
    if not marker.exists():
        marker.touch()
        raise transaction.interfaces.TransientError
    return celery_shop.count(name)


def test_a_job_that_meets_a_conflict_is_repeated_in_place(
    site, make_worker, tmp_path, monkeypatch
):
    monkeypatch.setitem(celery_shop.FUNCTIONS, "conflict", conflict_path)
    worker = make_worker()
    path = site.begin("conflict", "jobs", tmp_path / "met")

    assert worker.run(sid_of(path))
    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


def conflict_path(name, marker):
    from pathlib import Path

    return conflict_once(name, Path(marker))


def test_an_attempt_that_is_far_off_is_left_to_whoever_looks_then(
    site, make_worker
):
    scheduler, engine = make_worker().load()
    path = site.begin("count", "jobs")
    assert scheduler.accept_message(sid_of(path), begun=False)
    run = scheduler.claim(sid_of(path))
    run.retry(time.time() + 1000)
    run.close()

    assert "runner" not in record_of(site, path)
    assert engine.unsent() == 0


def test_a_worker_that_was_stopped_can_load_again(make_worker):
    worker = make_worker()
    worker.stop()
    first = worker.load()
    assert worker.load() == first
    worker.stop()
    worker.stop()

    assert worker.load() != first


def test_a_worker_that_cannot_start_opens_the_database_once(
    site, make_worker, monkeypatch
):
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    loads = []

    def get_app(ini):
        loads.append(ini)
        return pyramid.paster.get_app(ini)

    monkeypatch.setattr(worker_module, "get_app", get_app)
    path = site.begin("count", "jobs")
    place = scheduler_of(site).location

    def set_format(number):
        place.write(lambda store: setattr(store, "format", number), note="-")

    set_format(FORMAT + 1)
    worker = make_worker()
    assert not worker.run(sid_of(path))
    assert not worker.run(sid_of(path))
    monkeypatch.setattr(records, "FORMAT", FORMAT + 1)
    assert worker.run(sid_of(path))

    assert site.end_of(path)["state"] == "succeeded"
    assert loads == [str(site.ini)]


def test_a_pool_that_is_too_small_for_a_worker_is_warned_of(
    site, make_worker, caplog
):
    make_worker().load(threads=6)
    enough = "room for" in caplog.text
    size = scheduler_of(site).location.db.getPoolSize()
    make_worker().load(threads=size)

    assert not enough
    assert f"room for {size} connections" in caplog.text
    assert f"{size} threads of the worker and the housekeeper" in caplog.text
    assert f"connection_pool_size={size + 1}." in caplog.text


def test_a_worker_does_not_touch_signals_of_celery(site, make_worker):
    site.ini.write_text(
        site.ini.read_text()
        + "zodb_async.stop_on_sigterm = true\nzodb_async.autostart = true\n"
    )
    before = signal.getsignal(signal.SIGTERM)
    scheduler, engine = make_worker().load()

    assert signal.getsignal(signal.SIGTERM) is before
    assert engine.is_worker
    assert scheduler.runs_jobs


# -- Takeover -----------------------------------------------------------------


def take_for(site, path, runner):
    """Take a job for another process, as a worker does."""

    def do(store):
        fence = store.find(sid_of(path)).fence
        store.change(
            sid_of(path), fence, runner=runner, run_number=1, begun=True
        )

    scheduler_of(site).location.write(do, note="another worker")


def takeover_of(scheduler):
    """Give what looks for lost jobs, to be asked by hand."""
    chores = scheduler._maintenance._housekeeper._chores
    scheduler._maintenance._housekeeper.stop()
    return chores[1].do.__self__


def test_a_claim_that_nobody_noticed_is_freed_after_two_looks(
    site, make_worker
):
    worker = make_worker()
    scheduler, engine = worker.load()
    takeover = takeover_of(scheduler)
    path = site.begin("count", "jobs")
    take_for(site, path, scheduler.incarnation)
    takeover.take_over_lost()
    seen = record_of(site, path)
    takeover.take_over_lost()

    assert seen["runner"] == scheduler.incarnation
    assert "runner" not in record_of(site, path)
    assert engine.unsent() == 1
    assert worker.run(sid_of(path))
    assert site.counts() == {"jobs": 1}


def test_a_worker_does_not_send_word_ahead(site, make_worker):
    scheduler, engine = make_worker().load()
    site.begin("count", "jobs", delay=30)
    takeover_of(scheduler).take_over_lost()

    assert engine.unsent() == 0


def test_a_process_that_serves_sends_word_ahead(site):
    other = site.serve().app.registry
    scheduler = other.getUtility(IScheduler)
    site.begin("count", "jobs", delay=30)
    site.begin("count", "jobs", delay=1000)
    takeover_of(scheduler).take_over_lost()

    assert other.getUtility(IEngine).unsent() == 1


def test_word_of_a_job_that_waits_is_sent_again_less_and_less_often(site):
    other = site.serve().app.registry
    scheduler = other.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    takeover._sweep._lease = 0.05
    site.begin("count", "jobs")
    sent = []
    scheduler.dispatcher.count = lambda queue, tell: tell(0)
    scheduler.dispatcher.send = lambda job: sent.append(time.monotonic())
    end = time.monotonic() + shop.PATIENCE
    while len(sent) < 4:
        assert time.monotonic() < end
        takeover.take_over_lost()
    pauses = [later - one for one, later in itertools.pairwise(sent)]

    # what is sent may be noted a moment after it was decided
    assert pauses[0] >= 0.08
    assert pauses[1] >= 0.16
    assert pauses[2] >= 0.32


def looks_of(takeover, monkeypatch):
    """Give the sids that looks load the records of, from now on."""
    looked = []
    sort = takeover._sort

    def note(found, store, sid, record, now):
        looked.append(sid)
        sort(found, store, sid, record, now)

    monkeypatch.setattr(takeover, "_sort", note)
    return looked


def test_a_look_is_at_some_of_the_many_that_wait_and_in_turn_at_all(
    site, monkeypatch
):
    monkeypatch.setattr(resending, "MOST", 3)
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    looked = looks_of(takeover, monkeypatch)
    paths = [site.begin("count", "jobs") for _ in range(9)]
    takeover.take_over_lost()
    at_first = len(looked)
    looked.clear()
    paths.append(site.begin("count", "jobs"))
    turns = []
    for _ in range(4):
        takeover.take_over_lost()
        turns.append(len(looked))

    assert at_first == 9
    # the new one, and three of the others
    assert turns == [4, 7, 10, 13]
    assert set(looked) == {sid_of(path) for path in paths}


def test_what_has_ended_of_the_many_is_looked_at_no_more(site, monkeypatch):
    monkeypatch.setattr(resending, "MOST", 3)
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    paths = [site.begin("count", "jobs") for _ in range(9)]
    takeover.take_over_lost()
    for path in paths[:7]:
        site.app.delete(path, status=202)
    takeover.take_over_lost()

    assert set(takeover._sweep._seen) == {sid_of(path) for path in paths[7:]}


def test_word_is_sent_first_of_those_that_were_forgotten(site, monkeypatch):
    monkeypatch.setattr(resending, "MOST", 3)
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    paths = [site.begin("count", "jobs") for _ in range(9)]
    takeover.take_over_lost()
    seen = takeover._sweep._seen
    forgotten = list(seen)[4:8]
    for sid in forgotten:
        seen[sid].again = 0.0
    sent = []
    monkeypatch.setattr(scheduler.dispatcher, "count", lambda _, tell: tell(0))
    monkeypatch.setattr(
        scheduler.dispatcher, "send", lambda job: sent.append(job.sid)
    )
    takeover.take_over_lost()
    at_first = list(sent)
    takeover.take_over_lost()

    assert len(paths) == 9
    assert set(at_first) < set(forgotten)
    assert len(at_first) == 3
    assert sorted(sent) == sorted(forgotten)


@pytest.mark.parametrize(
    ("messages", "missing"), [(0, 8), (5, 3), (8, 1), (1000, 1)]
)
def test_no_more_word_is_sent_again_than_the_broker_misses(
    site, monkeypatch, messages, missing
):
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    for _ in range(8):
        site.begin("count", "jobs")
    takeover.take_over_lost()
    seen = takeover._sweep._seen
    for again, sid in enumerate(seen):
        seen[sid].again = float(again)
    site.begin("count", "jobs", delay=30)
    wanted = list(seen)[:missing]
    sent = []
    monkeypatch.setattr(
        scheduler.dispatcher, "count", lambda _, tell: tell(messages)
    )
    monkeypatch.setattr(
        scheduler.dispatcher, "send", lambda job: sent.append(job.sid)
    )
    takeover.take_over_lost()

    # the one that is due later is sent word of for that
    assert [sid for sid in sent if sid in seen] == wanted


def test_a_job_of_many_whose_worker_is_gone_is_found_in_its_turn(
    site, monkeypatch
):
    monkeypatch.setattr(resending, "MOST", 3)
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    takeover._watch._lease = 1e-9
    paths = [site.begin("count", "jobs") for _ in range(9)]
    takeover.take_over_lost()
    take_for(site, paths[4], "one that is gone")
    for _ in range(10):
        takeover.take_over_lost()
    record = record_of(site, paths[4])

    assert "runner" not in record
    assert record["crashes"] == 1


def test_jobs_of_queues_that_processes_run_themselves_are_left_to_them(
    tmp_path,
):
    with storages.sqlite(tmp_path) as uri:
        site = Site(tmp_path, uri, NOBODY, lease=60, queues="default")
        worker = Worker(str(site.ini))
        try:
            scheduler, engine = worker.load()
            takeover = takeover_of(scheduler)
            path = site.begin("count", "jobs", delay=30)
            change(site, path, due=None, runner=None)
            takeover.take_over_lost()
            left = record_of(site, path)
        finally:
            worker.stop()
            site.stop()

    assert "runner" not in left
    assert engine.unsent() == 0


# -- Celery -------------------------------------------------------------------


def test_the_task_of_a_worker_runs_the_job(site):
    celery = make_worker_app(str(site.ini))
    path = site.begin("count", "jobs")
    celery.tasks[module.TASK](sid_of(path))
    module.signals.worker_shutdown.send(sender=None)

    assert site.end_of(path)["state"] == "succeeded"


def test_a_message_that_cannot_be_dealt_with_now_is_given_back(
    site, monkeypatch
):
    monkeypatch.setattr(worker_module, "PATIENCE", 0.01)
    celery = make_worker_app(str(site.ini))
    site.ini.write_text("")
    with pytest.raises(module.Reject) as caught:
        celery.tasks[module.TASK]("a")

    assert caught.value.requeue


@pytest.mark.parametrize(
    ("kind", "loads"), [(TaskPool, True), (object, False)]
)
def test_the_application_is_loaded_ahead_but_not_before_a_fork(
    site, monkeypatch, kind, loads
):
    loaded = []

    def load(worker, threads=1):
        loaded.append(threads)

    monkeypatch.setattr(Worker, "load", load)
    make_worker_app(str(site.ini))

    class Consumer:
        pool = kind.__new__(kind)

    if loads:
        Consumer.pool.limit = 9

    module.signals.worker_ready.send(sender=Consumer())
    # the signals are the process's: the workers of other tests hear it too
    assert (9 in loaded) == bool(loaded) == loads
    module.signals.worker_process_init.send(sender=None)
    assert loaded


@pytest.mark.parametrize("name", module.POOLS)
def test_a_worker_may_have_each_of_these_pools(site, name):
    make_worker_app(str(site.ini))

    class Consumer:
        pool_cls = name

    module.signals.worker_init.send(sender=Consumer())


def test_a_worker_with_another_pool_does_not_start(site):
    make_worker_app(str(site.ini))

    class Consumer:
        pool_cls = "celery.concurrency.base:BasePool"

    with pytest.raises(SystemExit, match="Use one of -P prefork, threads, so"):
        module.signals.worker_init.send(sender=Consumer())


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_sender_says_when_a_broker_is_not_there(name):
    sender = Sender(brokers.URLS[name].split("://")[0] + "://127.0.0.1:1//")

    def seconds():
        began = time.monotonic()
        with pytest.raises(Exception, match=r"refused|111"):
            sender(Entry("a"))
        return time.monotonic() - began

    shop.at_last(lambda: seconds() < 1.5)
    sender.close()


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_sender_does_not_wait_long_for_a_broker_that_is_mute(name):
    port = brokers.free_port()
    mute = brokers.Mute(port)
    scheme = brokers.URLS[name].split("://")[0]
    sender = Sender(f"{scheme}://127.0.0.1:{port}//")

    def seconds():
        began = time.monotonic()
        with pytest.raises(Exception, match=r"(?i)tim"):
            sender(Entry("a"))
        return time.monotonic() - began

    try:
        shop.at_last(lambda: seconds() < 3)
    finally:
        mute.stop()


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_sender_goes_on_after_its_connection_was_lost(name):
    url = brokers.require(name)
    with brokers.queue_of(url) as queue:
        sender = Sender(url)
        sender(Entry("a", 0, queue))
        sender.close()
        sender(Entry("b", 3, queue))
        sender(Entry("c", -3, queue))
        sender.close()
        with brokers.Connection(url) as connection:
            steps = {"priority_steps": list(range(10))}
            connection.transport_options.update(
                steps if name == "redis" else {}
            )
            channel = connection.channel()
            found = [channel.basic_get(queue, no_ack=True) for _ in "abc"]

    # the more urgent one goes first
    assert [message.headers["id"] for message in found] == ["b", "a", "c"]


@pytest.mark.parametrize("name", ["redis", "rabbitmq"])
def test_a_sender_counts_the_messages_that_wait(name):
    url = brokers.require(name)
    with brokers.queue_of(url) as queue:
        sender = Sender(url)
        before = sender.count(queue)
        sender(Entry("a", 0, queue))
        sender(Entry("b", 3, queue))
        found = sender.count(queue)
        sender.close()

    assert (before, found) == (0, 2)


@pytest.mark.parametrize(
    "broker", [brokers.PrivateRedis, brokers.PrivateRabbitMQ]
)
def test_a_sender_does_not_wait_long_for_a_count(broker, tmp_path):
    private = broker(tmp_path)
    try:
        private.start()
        sender = Sender(private.url)
        sender(Entry("a"))
        private.signal(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises((TimeoutError, redis.TimeoutError)):
            sender.count("default")
        took = time.monotonic() - began
    finally:
        private.stop()

    assert took < 5
