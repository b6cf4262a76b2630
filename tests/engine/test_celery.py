"""The parts of the engine for Celery, in the process of the test."""

import sys
import time

import brokers
import pytest
import redis
import shop
import storages
from celery.concurrency.thread import TaskPool
from celery_site import NOBODY, record_of
from pyramid.exceptions import ConfigurationError
from shop import scheduler_of, sid_of
from workers import Site
from zope.interface.verify import verifyObject

import pyramid_zodb_async.engine.celery as module
from pyramid_zodb_async import IEngine
from pyramid_zodb_async.engine.celery import Sender, make_worker_app
from pyramid_zodb_async.engine.remote import worker as worker_module
from pyramid_zodb_async.engine.remote.messages import Message
from pyramid_zodb_async.engine.remote.worker import Worker
from pyramid_zodb_async.interfaces import IRemoteEngine
from pyramid_zodb_async.settings import parse_settings

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
    assert scheduler_of(site.app).backlog() == 1
    assert sid_of(path) not in scheduler_of(site.app).process.assigned_jobs


def test_a_cancelled_job_is_not_sent(site):
    path = site.begin("count", "jobs", delay=50)
    engine = site.app.app.registry.getUtility(IEngine)
    engine.withdraw(sid_of(path))

    assert scheduler_of(site.app).backlog() == 0


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


@pytest.mark.parametrize("number", [2, 200])
def test_word_of_many_jobs_keeps_nobody_from_scheduling(tmp_path, number):
    with storages.sqlite(tmp_path) as uri:
        site = Site(tmp_path, uri, NOBODY, lease=60, max_pending=3)
        sids = site.app.post("/many", {"name": "jobs", "number": number}).json
        site.begin("count", "jobs")
        publisher = site.app.app.registry.getUtility(IEngine).publisher
        waits = publisher.wait(0.1)
        site.stop()

    assert len(set(sids)) == number
    assert not waits


def test_many_jobs_that_are_due_later_are_sent_when_they_are(tmp_path):
    with storages.sqlite(tmp_path) as uri:
        site = Site(tmp_path, uri, NOBODY, lease=60)
        params = {"name": "jobs", "number": 200, "delay": 50}
        site.app.post("/many", params)
        engine = site.app.app.registry.getUtility(IEngine)
        unsent = engine.unsent()
        site.stop()

    assert unsent == 200


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


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("file://{}/Data.fs", r"FileStorage"),
        (
            "file://{}/Data.fs?blobstorage_dir={}/blobs",
            r"BlobStorage\(FileStorage\)",
        ),
        (
            "demo:(sqlite://?data_dir={})/(memory://)",
            r"DemoStorage\(RelStorage, MappingStorage\)",
        ),
    ],
)
def test_a_storage_that_workers_would_not_see_is_refused(
    uri, named, make_app, tmp_path
):
    with pytest.raises(ConfigurationError, match=f"to this {named} is seen"):
        make_app(
            zodbconn__uri=uri.replace("{}", str(tmp_path)),
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


# -- Celery -------------------------------------------------------------------


def test_the_task_of_a_worker_runs_the_job(site):
    celery = make_worker_app(str(site.ini))
    path = site.begin("count", "jobs")
    celery.tasks[module.TASK](sid_of(path))
    module.signals.worker_shutdown.send(sender=None)

    assert site.end_of(path)["state"] == "succeeded"


def test_tasks_of_others_in_the_worker_are_no_concern(site, caplog):
    make_worker_app(str(site.ini))
    for name in ["shop.tasks.tidy", f"{module.TASK}:admin"]:
        module.signals.task_unknown.send(sender=None, name=name, id="a")

    # also by those that other tests have made
    told = {
        (record.action, record.task)
        for record in caplog.records
        if hasattr(record, "task")
    }
    assert told == {("message_of_another_application", f"{module.TASK}:admin")}


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
            sender(Message("a"))
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
            sender(Message("a"))
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
        sender(Message("a", 0, queue))
        sender.close()
        sender(Message("b", 3, queue))
        sender(Message("c", -3, queue))
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
        sender(Message("a", 0, queue))
        sender(Message("b", 3, queue))
        found = sender.count(queue)
        sender.close()

    assert (before, found) == (0, 2)


@pytest.mark.parametrize(
    "broker", [brokers.PrivateRedis, brokers.PrivateRabbitMQ]
)
def test_a_sender_does_not_wait_long_for_a_count(broker, tmp_path):
    def seconds():
        began = time.monotonic()
        with pytest.raises((TimeoutError, redis.TimeoutError)):
            sender.count("default")
        return time.monotonic() - began

    private = broker(tmp_path)
    sender = Sender(private.url)
    try:
        private.start()
        # one that has just begun to listen may be slow with the first message
        shop.at_last(lambda: is_sent(sender), 30)
        private.suspend()
        shop.at_last(lambda: seconds() < 5)
    finally:
        sender.close()
        private.stop()


def is_sent(sender):
    try:
        sender(Message("a"))
    except Exception:  # noqa: BLE001 - of any library
        return False
    return True
