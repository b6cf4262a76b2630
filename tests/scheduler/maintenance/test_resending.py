"""Messages of jobs that wait are sent again, and lost claims are freed."""

import itertools
import time

import pytest
import shop
import storages
from celery_site import NOBODY, change, record_of
from hand_driven import takeover_of
from shop import scheduler_of, sid_of
from workers import Site

from pyramid_zodb_async import IEngine, IScheduler
from pyramid_zodb_async.engine.remote.worker import Worker
from pyramid_zodb_async.scheduler.maintenance import resending


def take_for(site, path, runner):
    """Take a job for another process, as a worker does."""

    def do(store):
        fence = store.locate(sid_of(path)).fence
        store.change(
            sid_of(path), fence, runner=runner, run_number=1, begun=True
        )

    scheduler_of(site.app).process.location.write(do, note="another worker")


def test_a_claim_that_nobody_noticed_is_freed_after_two_looks(
    site, make_worker
):
    worker = make_worker()
    scheduler, engine = worker.load()
    takeover = takeover_of(scheduler)
    path = site.begin("count", "jobs")
    take_for(site, path, scheduler.process.incarnation)
    takeover.take_over_lost()
    seen = record_of(site, path)
    takeover.take_over_lost()

    assert seen["runner"] == scheduler.process.incarnation
    assert "runner" not in record_of(site, path)
    # this process lives, so the job has ended none
    assert {"crashes", "suspect", "begun"}.isdisjoint(record_of(site, path))
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
    takeover._resender._lease = 0.05
    site.begin("count", "jobs")
    sent = []
    scheduler.process.dispatcher.remote.count = lambda queue, tell: tell(0)
    scheduler.process.dispatcher.send = lambda job: sent.append(
        time.monotonic()
    )
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
    sort = takeover.search._sort

    def note(found, store, job, now):
        looked.append(job.sid)
        sort(found, store, job, now)

    monkeypatch.setattr(takeover.search, "_sort", note)
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

    assert set(takeover._resender._seen) == {
        sid_of(path) for path in paths[7:]
    }


def test_word_is_sent_first_of_those_that_were_forgotten(site, monkeypatch):
    monkeypatch.setattr(resending, "MOST", 3)
    scheduler = site.serve().app.registry.getUtility(IScheduler)
    takeover = takeover_of(scheduler)
    paths = [site.begin("count", "jobs") for _ in range(9)]
    takeover.take_over_lost()
    seen = takeover._resender._seen
    forgotten = list(seen)[4:8]
    for sid in forgotten:
        seen[sid].again = 0.0
    sent = []
    monkeypatch.setattr(
        scheduler.process.dispatcher.remote, "count", lambda _, tell: tell(0)
    )
    monkeypatch.setattr(
        scheduler.process.dispatcher, "send", lambda job: sent.append(job.sid)
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
    seen = takeover._resender._seen
    for again, sid in enumerate(seen):
        seen[sid].again = float(again)
    site.begin("count", "jobs", delay=30)
    wanted = list(seen)[:missing]
    sent = []
    monkeypatch.setattr(
        scheduler.process.dispatcher.remote,
        "count",
        lambda _, tell: tell(messages),
    )
    monkeypatch.setattr(
        scheduler.process.dispatcher, "send", lambda job: sent.append(job.sid)
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
    takeover._liveness._lease = 1e-9
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
