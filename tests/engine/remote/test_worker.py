"""A worker of Celery, as far as this package is concerned."""

import logging
import signal
import threading
import time

import celery_shop
import pyramid.paster
import pytest
import shop
import transaction
from celery_site import change, record_of
from shop import scheduler_of, sid_of

from pyramid_zodb_async.engine.remote import worker as worker_module
from pyramid_zodb_async.scheduler import records
from pyramid_zodb_async.scheduler.records import FORMAT, Store


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
    place, looks = scheduler.process.location, []
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
    place = scheduler.process.location
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
        patch.setattr(scheduler.process.location, "write", refuse)
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
    shop.wait_until(
        lambda: scheduler.process.assigned_jobs.get(sid_of(waiting[0]))
    )
    scheduler.process.assigned_jobs.drop(sid_of(waiting[0]))
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
    place = scheduler_of(site.app).process.location

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
    size = scheduler_of(site.app).process.location.db.getPoolSize()
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
