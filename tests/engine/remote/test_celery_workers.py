"""Jobs that workers of Celery run, in processes of their own."""

import base64
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import time

import brokers
import pytest
import redis
import shop
import storages
import ZEO
from celery_site import record_of
from folders import PYTHONPATH
from hand_driven import look_of
from workers import Site

from pyramid_zodb_async import IScheduler
from pyramid_zodb_async.engine.celery import Sender
from pyramid_zodb_async.engine.remote.messages import Message
from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.process import bulk_intake

POOLS = [
    ("solo", ["-c", "1"]),
    ("threads", ["-c", "2"]),
    ("prefork", ["-c", "2"]),
]

#: Processes take their time on a machine that has much to do.
wait_until = functools.partial(shop.wait_until, seconds=90)

# a server of ZEO in this process leaves the sockets of killed clients open
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore::ResourceWarning",
)

on_each_pool = pytest.mark.parametrize(("pool", "arguments"), POOLS)


@pytest.fixture
def broker():
    """The URL of the broker; a test may say another one."""
    return brokers.require("redis")


@pytest.fixture
def queue(broker):
    """Give a queue that is the test's alone."""
    with brokers.queue_of(broker) as name:
        yield name


@pytest.fixture
def make_site(tmp_path):
    """Make applications on a database in a ZEO server."""
    made = []
    with storages.zeo(tmp_path) as uri:

        def make(broker, **settings):
            folder = tmp_path / f"site{len(made)}"
            folder.mkdir()
            made.append(Site(folder, uri, broker, **settings))
            return made[-1]

        yield make
        for site in made:
            site.stop()
    gc.collect()  # so that no other test is blamed for them


@on_each_pool
def test_a_job_runs_once_in_another_process(
    make_site, broker, queue, pool, arguments
):
    site = make_site(broker)
    site.work("-Q", queue, *arguments, pool=pool)
    paths = [site.begin("count", "jobs", queue=queue) for _ in range(10)]
    ends = [site.end_of(path) for path in paths]

    assert {end["state"] for end in ends} == {"succeeded"}
    assert os.getpid() not in {end["result"] for end in ends}
    assert site.counts() == {"jobs": 10}


def test_many_jobs_at_once_run_once_in_other_processes(
    make_site, broker, queue
):
    site = make_site(broker)
    params = {"name": "jobs", "number": 120, "queue": queue}
    sids = site.app.post("/many", params).json
    single = site.begin("count", "single", queue=queue)
    site.work("-Q", queue)
    ends = [site.end_of(path) for path in [f"/jobs/{sids[-1]}", single]]
    wait_until(lambda: site.counts() == {"jobs": 120, "single": 1})

    assert {end["state"] for end in ends} == {"succeeded"}


@pytest.fixture
def small_windows(monkeypatch):
    """Have messages be sent for tens of the jobs of a bulk."""
    monkeypatch.setattr(bulk_intake, "WINDOW", 10)
    monkeypatch.setattr(bulk_claims, "ENOUGH", 10)


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_bulk_is_run_once_though_processes_are_killed_in_its_middle(
    make_site, small_windows, kind
):
    """A worker, and the process that sends messages for a window."""
    url = brokers.require(kind)
    with brokers.queue_of(url) as queue:
        site = make_site(url, lease=1)
        params = {"name": "jobs", "number": 60, "queue": queue}
        sids = site.app.post("/many", params).json
        worker = site.work("-Q", queue)
        wait_until(lambda: site.counts().get("jobs", 0) > 5)
        worker.kill()
        # nothing more is sent by this one
        registry = site.app.app.registry
        registry.getUtility(IScheduler).process.dispatcher.runs_jobs = False
        site.app = site.serve()
        site.work("-Q", queue)
        site.work("-Q", queue, "-c", "2", pool="threads")
        for sid in sids:
            assert site.end_of(f"/jobs/{sid}")["state"] == "succeeded"

        assert site.counts() == {"jobs": 60}
        assert site.app.app.registry.getUtility(IScheduler).unfinished() == []


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_first_messages_bring_jobs_that_need_no_claim(make_site, kind):
    """One alone, one after a savepoint, and many that share messages."""
    url = brokers.require(kind)
    with brokers.queue_of(url) as queue:
        site = make_site(url, lease=60)
        site.work("-Q", queue, "-c", "2", pool="prefork")
        params = {"name": "many", "number": 150, "queue": queue}
        sids = site.app.post("/many", params).json
        paths = [f"/jobs/{sid}" for sid in sids]
        paths += [
            *(site.begin("count", "alone", queue=queue) for _ in range(3)),
            site.begin("count", "saved", queue=queue, savepoint=1),
        ]
        ends = [site.end_of(path) for path in paths]
        counts = site.counts()
        written = [record_of(site, path) for path in paths]

    assert {end["state"] for end in ends} == {"succeeded"}
    assert counts == {"many": 150, "alone": 3, "saved": 1}
    # nobody has claimed them
    assert [
        path
        for path, record in zip(paths, written, strict=True)
        if "run_number" in record
    ] == []


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_message_that_comes_back_from_a_killed_child_is_no_first_one(
    make_site, kind, tmp_path
):
    """The broker says so, and the job is claimed, long before the lease."""
    url = brokers.require(kind)
    here, go = tmp_path / "here", tmp_path / "go"
    with brokers.queue_of(url) as queue:
        site = make_site(url, lease=60)
        site.work("-Q", queue, "-c", "1", pool="prefork")
        # a process gives a sign of life with its first job
        site.end_of(site.begin("count", "first", queue=queue))
        path = site.begin("count_when", "jobs", here, go, queue=queue)
        wait_until(lambda: runs_of(here))
        unclaimed = record_of(site, path)
        os.kill(int(runs_of(here)[0]), signal.SIGKILL)
        shop.wait_until(lambda: len(runs_of(here)) == 2, 30)
        claimed = record_of(site, path)
        go.touch()
        end = site.end_of(path)
        counts = site.counts()

    assert {"runner", "run_number"}.isdisjoint(unclaimed)
    assert (claimed["run_number"], claimed["begun"]) == (1, True)
    assert end["state"] == "succeeded"
    assert counts == {"first": 1, "jobs": 1}


def test_rabbitmq_brings_jobs_as_well(make_site):
    url = brokers.require("rabbitmq")
    with brokers.queue_of(url) as queue:
        site = make_site(url, lease=60)
        site.work("-Q", queue, "-c", "2", pool="prefork")
        paths = [
            site.begin("count", "jobs", queue=queue, priority=priority)
            for priority in range(-6, 6)
        ]
        site.begin("count", "late", queue=queue, delay=1)
        ends = [site.end_of(path) for path in paths]
        wait_until(lambda: site.counts().get("late"))

        assert {end["state"] for end in ends} == {"succeeded"}
        assert site.counts() == {"jobs": 12, "late": 1}


def test_a_worker_that_gets_a_message_of_another_application_says_so(
    make_site, broker, queue
):
    """They share the database and the broker, which they should not do."""
    site = make_site(broker, store="site.jobs")
    admin = make_site(broker)
    stranger = admin.work("-Q", queue, "-c", "1")
    path = site.begin("count", "jobs", queue=queue)
    wait_until(lambda: "another application's" in stranger.log.read_text())
    stranger.kill()
    site.work("-Q", queue, "-c", "1")

    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}
    told = stranger.log.read_text()
    assert "pyramid_zodb_async.run:site.jobs" in told
    assert "zodb_async.store = pyramid_zodb_async" in told


def messages_of(broker, queue):
    """Give the messages that wait in Redis, with the first to go last."""
    connection = redis.Redis.from_url(broker)
    keys = [f"{queue}\x06\x16{step}" for step in range(9, 0, -1)] + [queue]
    found = []
    for key in keys:
        found += map(json.loads, connection.lrange(key, 0, -1))
    connection.close()
    return found


def test_a_message_is_the_sid_as_json_and_nothing_else(
    make_site, broker, queue
):
    site = make_site(broker, lease=60)
    path = site.begin("count", "secret", queue=queue)
    wait_until(lambda: messages_of(broker, queue))
    (message,) = messages_of(broker, queue)
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))

    assert message["content-type"] == "application/json"
    assert (args, kwargs) == ([path.rpartition("/")[2]], {})
    assert "secret" not in json.dumps(message)


def test_what_is_urgent_goes_first(make_site, broker, queue):
    site = make_site(broker, lease=60)
    wanted = []
    for priority in (0, -3, 7, 1, 0):
        path = site.begin("count", "jobs", queue=queue, priority=priority)
        wanted.append((-priority, len(wanted), path.rpartition("/")[2]))
    wait_until(lambda: len(messages_of(broker, queue)) == 5)
    waiting = messages_of(broker, queue)[::-1]
    by_level = sorted(
        range(5), key=lambda at: waiting[at]["properties"]["priority"]
    )

    assert [waiting[at]["headers"]["id"] for at in by_level] == [
        sid for _, _, sid in sorted(wanted)
    ]


def test_messages_that_come_more_than_once_have_one_effect(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker, lease=60)
    here, go = tmp_path / "here", tmp_path / "go"
    site.work("-Q", queue, "-c", "4", pool="threads")
    path = site.begin("count_when", "jobs", here, go, queue=queue)
    wait_until(lambda: runs_of(here))
    for _ in range(5):
        send_again(site, path, queue)
    wait_until(lambda: not messages_of(broker, queue))
    go.touch()
    end = site.end_of(path)
    for _ in range(5):
        send_again(site, path, queue)
    wait_until(lambda: not messages_of(broker, queue))
    last = site.begin("count", "last", queue=queue)
    site.end_of(last)

    assert end["attempt"] == 1
    assert len(runs_of(here)) == 1
    assert site.counts() == {"jobs": 1, "last": 1}


def runs_of(here):
    """List the processes of the runs that have told that they are there."""
    return here.read_text().splitlines() if here.exists() else []


def send_again(site, path, queue):
    sid = path.rpartition("/")[2]
    sender = Sender(site.broker)
    sender(Message(sid, 0, queue))
    sender.close()


@on_each_pool
def test_a_job_whose_worker_is_killed_runs_again_once(
    make_site, broker, queue, tmp_path, pool, arguments
):
    site = make_site(broker)
    here, go = tmp_path / "here", tmp_path / "go"
    killed = site.work("-Q", queue, *arguments, pool=pool)
    path = site.begin("count_when", "jobs", here, go, queue=queue)
    wait_until(lambda: runs_of(here))
    killed.kill()
    site.work("-Q", queue, *arguments, pool=pool)
    # with so short a lease a slow worker may be taken for dead as well
    wait_until(lambda: len(runs_of(here)) >= 2)
    go.touch()
    end = site.end_of(path)

    assert end["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


def test_a_job_whose_child_is_killed_runs_again_in_the_same_worker(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker)
    here, go = tmp_path / "here", tmp_path / "go"
    site.work("-Q", queue, "-c", "2", pool="prefork")
    path = site.begin("count_when", "jobs", here, go, queue=queue)
    wait_until(lambda: runs_of(here))
    os.kill(int(runs_of(here)[0]), signal.SIGKILL)
    go.touch()
    end = site.end_of(path)

    assert end["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}
    assert len(runs_of(here)) >= 2


def test_a_job_that_ends_its_process_does_so_no_more_than_it_may(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker)
    here = tmp_path / "here"
    site.work("-Q", queue, "-c", "2", pool="prefork")
    path = site.begin("end_process", here, queue=queue, attempts=2)
    end = site.end_of(path)

    assert end["state"] == "failed"
    assert end["error"]["type"] == "JobCrashed"
    # nobody knows of the first one, which was not claimed
    assert len(runs_of(here)) == 3


def test_a_worker_that_stops_lets_its_job_end(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker, lease=60)
    here, go = tmp_path / "here", tmp_path / "go"
    worker = site.work("-Q", queue, "-c", "1", pool="prefork")
    path = site.begin("count_when", "jobs", here, go, queue=queue)
    wait_until(lambda: runs_of(here))
    worker.signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.log.read_text())
    go.touch()

    assert worker.wait() == 0
    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


@pytest.mark.parametrize("pool", ["solo", "prefork"])
def test_a_worker_that_stops_at_once_leaves_its_job_to_others(
    make_site, broker, queue, tmp_path, pool
):
    site = make_site(broker, lease=60)
    here, go = tmp_path / "here", tmp_path / "go"
    worker = site.work("-Q", queue, "-c", "1", pool=pool)
    path = site.begin("count_when", "jobs", here, go, queue=queue, attempts=1)
    wait_until(lambda: runs_of(here))
    worker.signal(signal.SIGQUIT)
    wait_until(lambda: "is left to others" in worker.log.read_text())
    worker.wait()
    go.touch()
    site.work("-Q", queue)

    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}
    assert len(runs_of(here)) == 2


def test_a_job_that_is_cancelled_stops_in_its_worker(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker, lease=60)
    here = tmp_path / "here"
    site.work("-Q", queue)
    ended = tmp_path / "here ended"

    def seconds():
        here.unlink(missing_ok=True)
        ended.unlink(missing_ok=True)
        path = site.begin("check", here, queue=queue)
        wait_until(lambda: runs_of(here))
        site.app.delete(path, status=202)
        began = time.monotonic()
        wait_until(ended.exists)
        took = time.monotonic() - began
        assert site.end_of(path)["state"] == "cancelled"
        return took

    shop.at_last(lambda: seconds() < 2)


def test_progress_of_a_worker_is_told(make_site, broker, queue, tmp_path):
    site = make_site(broker, lease=60)
    here, go = tmp_path / "here", tmp_path / "go"
    site.work("-Q", queue)
    path = site.begin("report", here, go, queue=queue)
    wait_until(lambda: site.app.get(path).json["progress"])
    seen = site.app.get(path).json
    go.touch()

    assert seen["state"] == "running"
    assert seen["progress"] == {"done": 2, "total": 5, "message": "half way"}
    assert site.end_of(path)["result"] == "reported"


def test_a_job_that_fails_is_tried_again_elsewhere(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker, lease=60)
    here = tmp_path / "here"
    site.work("-Q", queue, "-c", "2", pool="prefork")
    path = site.begin("fail_once", "jobs", here, queue=queue, retry=0.5)
    end = site.end_of(path)

    assert (end["state"], end["attempt"]) == ("succeeded", 2)
    assert site.counts() == {"jobs": 1}


def test_a_failed_job_is_tried_again_by_request(
    make_site, broker, queue, tmp_path
):
    site = make_site(broker, lease=60)
    here = tmp_path / "here"
    site.work("-Q", queue)
    path = site.begin("fail_once", "jobs", here, queue=queue)
    failed = site.end_of(path)
    site.app.post(f"{path}/retry", status=202)
    end = site.end_of(path)

    assert failed["state"] == "failed"
    assert (end["state"], end["attempt"]) == ("succeeded", 2)


def test_a_job_that_takes_too_long_fails(make_site, broker, queue, tmp_path):
    site = make_site(broker, lease=60)
    site.work("-Q", queue)
    path = site.begin("check", tmp_path / "here", queue=queue, time_limit=1)
    end = site.end_of(path)

    assert end["state"] == "failed"
    assert end["error"]["type"] == "JobTimeout"
    wait_until((tmp_path / "here ended").exists)


@pytest.mark.parametrize("lease", [60, 1])
def test_a_delayed_job_waits_for_its_time(make_site, broker, queue, lease):
    site = make_site(broker, lease=lease)
    site.work("-Q", queue)
    took = []

    def is_in_time():
        began = time.time()
        # with the shorter lease it is too far to be kept in memory
        path = site.begin("count", "jobs", queue=queue, delay=3)
        assert site.end_of(path)["state"] == "succeeded"
        took.append(time.time() - began)
        assert took[-1] >= 3
        return took[-1] < 5

    shop.at_last(is_in_time)
    assert site.counts() == {"jobs": len(took)}


def test_jobs_go_to_the_workers_of_their_queue(make_site, tmp_path):
    redis_server = brokers.PrivateRedis(tmp_path)
    redis_server.start()
    try:
        site = make_site(redis_server.url, lease=60)
        site.work()
        first = site.begin("count", "jobs")
        default = site.end_of(first)
        report = site.begin("write_report", "report")
        site.end_of(site.begin("count", "jobs"))
        waiting = site.app.get(report).json["state"]
        site.work("-Q", "reports")
        written = site.end_of(report)
    finally:
        site.stop()
        redis_server.stop()

    assert waiting == "pending"
    assert default["result"] != written["result"]
    assert site.last_counts == {"jobs": 2, "report": 1}


def test_a_process_that_serves_may_run_some_queues_itself(
    make_site, broker, queue
):
    site = make_site(broker, queues="default", lease=60)
    other = site.serve()
    site.work("-Q", queue)
    own = [site.begin("count", "own", app=app) for app in (site.app, other)]
    others = site.begin("count", "others", queue=queue)

    assert {site.end_of(path)["result"] for path in own} == {os.getpid()}
    assert site.end_of(others)["result"] != os.getpid()


def test_a_worker_leaves_what_processes_that_serve_run_to_them(
    make_site, broker, queue
):
    site = make_site(broker, queues="default", lease=1)
    site.work("-Q", queue)
    path = site.begin("schedule_another", "jobs", "default", queue=queue)
    sid = site.end_of(path)["result"]

    assert site.end_of(f"/jobs/{sid}")["result"] == os.getpid()


def test_a_job_of_a_job_goes_to_a_worker(make_site, broker, queue):
    site = make_site(broker, lease=60)
    site.work("-Q", queue, "-c", "2", pool="prefork")
    path = site.begin("schedule_another", "jobs", queue, queue=queue)
    sid = site.end_of(path)["result"]

    assert site.end_of(f"/jobs/{sid}")["state"] == "succeeded"


SCRIPT = """
import sys
from pyramid.paster import bootstrap
import celery_shop
with bootstrap(sys.argv[1]) as env, env["request"].tm:
    request = env["request"]
    schedule = request.schedule.with_options(queue=sys.argv[2])
    print(schedule(celery_shop.count, "script"))
"""


def test_a_script_may_end_right_after_it_has_scheduled(
    make_site, broker, queue
):
    site = make_site(broker, lease=60)
    site.work("-Q", queue)
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(site.ini), queue],
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert site.end_of(f"/jobs/{said.stdout.strip()}")["state"] == "succeeded"


def refuse(port):
    """There is nothing at that port."""


@pytest.mark.parametrize("broken", [refuse, brokers.Mute])
def test_a_request_does_not_wait_for_a_broker_that_is_away(
    make_site, tmp_path, broken
):
    redis_server = brokers.PrivateRedis(tmp_path)
    mute = broken(redis_server.port)
    site = make_site(redis_server.url, lease=60)
    site.counts()  # the first request starts what later ones need not
    paths, took = [], []

    def begin_one():
        began = time.monotonic()
        paths.append(site.begin("count", "jobs"))
        took.append(time.monotonic() - began)

    for _ in range(3):
        begin_one()
    time.sleep(3)  # long enough for attempts that fail
    for _ in range(3):
        begin_one()
    if mute is not None:
        mute.stop()
    redis_server.start()
    try:
        site.work()
        ends = [site.end_of(path) for path in paths]
    finally:
        site.stop()
        redis_server.stop()

    # the machine may be slow once
    assert min(took[:3]) < 1.5
    assert min(took[3:]) < 1.5
    assert [end["state"] for end in ends] == ["succeeded"] * 6
    assert site.last_counts == {"jobs": 6}


def test_word_that_a_broker_has_lost_is_sent_again(make_site, broker, queue):
    site = make_site(broker, lease=1)
    path = site.begin("count", "jobs", queue=queue)
    wait_until(lambda: messages_of(broker, queue))
    connection = redis.Redis.from_url(broker)
    connection.delete(*connection.keys(f"{queue}*"))
    connection.close()
    site.work("-Q", queue)

    assert site.end_of(path)["state"] == "succeeded"
    assert site.counts() == {"jobs": 1}


def test_a_worker_tells_why_it_does_not_start_with_another_pool(
    make_site, broker, queue, monkeypatch
):
    pool = "celery.concurrency.base:BasePool"
    monkeypatch.setenv("CELERY_CUSTOM_WORKER_POOL", pool)
    site = make_site(broker)
    worker = site.work("-Q", queue, pool="custom", wait=False)

    assert worker.wait() == 1
    said = worker.log.read_text()
    assert "cannot have the pool celery.concurrency.base" in said


@pytest.mark.parametrize(("pool", "arguments"), POOLS[1:])
def test_a_worker_goes_on_and_ends_in_order_although_its_line_is_cut(
    make_site, tmp_path, pool, arguments
):
    broker = brokers.require("rabbitmq")
    with brokers.queue_of(broker) as queue, brokers.Line(broker) as line:
        site = make_site(broker, lease=1)
        worker = site.work("-Q", queue, *arguments, pool=pool, broker=line.url)
        for number in range(10):
            here, go = tmp_path / f"here{number}", tmp_path / f"go{number}"
            paths = [
                site.begin("report", here, go, queue=queue) for _ in range(6)
            ]
            wait_until(lambda here=here: runs_of(here))
            line.cut()
            go.touch()
            ends = [site.end_of(path)["state"] for path in paths]
            assert ends == ["succeeded"] * 6
        worker.signal(signal.SIGTERM)

        assert worker.wait() == 0


def test_not_each_process_sends_word_again_that_the_broker_has(
    make_site, broker, queue
):
    site = make_site(broker, lease=1)
    looks = []
    for app in (site.app, site.serve(), site.serve()):
        scheduler = app.app.registry.getUtility(IScheduler)
        chore = look_of(scheduler._maintenance._housekeeper)
        chore.do = functools.partial(note_look, looks, chore.do)
    for _ in range(40):
        site.begin("count", "jobs", queue=queue)
    wait_until(
        lambda: [looks.count(do) > 9 for do in set(looks)] == [True] * 3
    )
    found = len(messages_of(broker, queue))

    # one in a look, for those that are of no use
    assert 40 <= found <= 40 + len(looks)


def note_look(looks, do):
    looks.append(do)
    do()


def test_a_record_that_cannot_be_seen_yet_is_looked_for_again(
    tmp_path, broker, queue
):
    address, stop = ZEO.server(str(tmp_path / "Server.fs"))
    uri = f"zeo://127.0.0.1:{address[1]}?connection_pool_size=20"
    site = Site(tmp_path, uri, broker, lease=60)
    try:
        site.work("-Q", queue, "-c", "2", pool="threads")
        paths = [site.begin("count", "jobs", queue=queue) for _ in range(50)]
        ends = [site.end_of(path) for path in paths]
    finally:
        site.stop()
        stop()

    # the next sweep would be too late for them
    assert [end["state"] for end in ends] == ["succeeded"] * 50
