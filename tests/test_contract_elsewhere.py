"""What a process is told of jobs that another one runs."""

import random
import time

import pytest
import shop
from shop import PATIENCE, begin, scheduler_of, waiting

from pyramid_zodb_async import Progress, current_job
from pyramid_zodb_async.database.application import databases_of
from pyramid_zodb_async.jobs.model import make_version
from pyramid_zodb_async.testing import drain, wait_for

SHARED = [("zodb", kind) for kind in ("zeo", "sqlite", "postgres")]

pytestmark = pytest.mark.parametrize(("kept_in", "storage"), SHARED)


def start(request):
    name = request.params["function"]
    function = globals().get(name) or getattr(shop, name)
    arguments = request.params.getall("argument")
    return request.accepted(request.schedule(function, *arguments))


@pytest.fixture
def apps(make_app):
    """Give two processes, as far as the database can tell."""
    made = [
        make_app({"/start": start}, zodb_async__max_wait=PATIENCE)
        for _ in range(2)
    ]
    for app in made:
        app.get("/jobs/unknown", status=404)  # it serves
    return made


def wait_for_message(app, path, message):
    """Wait for what a job tells last: each may be written by itself."""

    def has_come():
        progress = app.get(path).json["progress"]
        return progress and progress["message"] == message

    shop.wait_until(has_come)


def test_progress_is_seen_elsewhere(apps, gate):
    here, there = apps
    path = begin(here, "report_at", "gate", "first", "second")
    gate.wait_for_job()
    wait_for_message(there, path, "second")
    seen, known = there.get(path), here.get(path)
    gate.open()
    drain(here)

    assert seen.json == known.json
    assert seen.headers["ETag"] == known.headers["ETag"]
    assert seen.json["state"] == "running"
    assert seen.json["progress"]["message"] == "second"
    assert there.get(path).json["result"] == "went on"


def test_progress_is_written_at_most_once_a_second(apps, gate):
    here, _ = apps
    path = begin(here, "report_at", "gate", "first")
    gate.wait_for_job()
    scheduler = scheduler_of(here)
    held = scheduler.process.assigned_jobs.get(path.rpartition("/")[2])

    def beats():
        return scheduler.process.location.read(
            lambda store: (
                scheduler.process.incarnation in store.runners
                and store.runners[scheduler.process.incarnation].count
            ),
            0,
        )

    shop.wait_until(beats)
    begin_of_reports, before = time.monotonic(), beats()
    while time.monotonic() - begin_of_reports < 2.5:
        scheduler.process.assigned_jobs.report(held, Progress(done=1))
        time.sleep(0.01)
    count = beats() - before
    seconds = time.monotonic() - begin_of_reports

    assert count <= seconds + 2
    shop.wait_until(lambda: beats() > before)


def check_until_cancelled(gate):
    """Work on until somebody does not want it any more."""
    shop.gates[gate].entered.set()
    end = time.monotonic() + PATIENCE
    try:
        while time.monotonic() < end:
            current_job().check()
            time.sleep(0.01)
    finally:
        shop.gates["stopped at"] = time.monotonic()


def test_a_cancel_elsewhere_reaches_the_job_within_a_second(apps, gate):
    here, there = apps

    def seconds():
        shop.gates["gate"] = gate = shop.Gate()
        path = begin(here, "check_until_cancelled", "gate")
        gate.wait_for_job()
        time.sleep(random.random())
        answer = there.delete(path, status=202)
        cancelled_at = time.monotonic()
        drain(here)
        assert here.get(path).json["state"] == "cancelled"
        assert answer.json["state"] == "cancelled"
        return shop.gates["stopped at"] - cancelled_at

    shop.at_last(lambda: seconds() < 1)


def test_a_cancel_elsewhere_tells_how_far_the_run_had_come(apps, gate):
    here, there = apps
    path = begin(here, "report_at", "gate", "first", "second")
    gate.wait_for_job()
    wait_for_message(there, path, "second")
    document = there.delete(path, status=202).json

    assert document["attempt"] == 1
    assert document["started"]
    assert document["progress"]["message"] == "second"


def test_a_waiting_job_that_was_cancelled_elsewhere_shows_so_soon(apps, gate):
    here, there = apps
    for _ in range(2):  # as many as run at a time
        begin(here, "wait_at", "gate")

    def seconds():
        path = begin(here, "add", "effect")
        there.delete(path, status=202)
        cancelled_at = time.monotonic()
        shop.wait_until(lambda: here.get(path).json["state"] == "cancelled")
        return time.monotonic() - cancelled_at

    shop.at_last(lambda: seconds() < 2)
    gate.open()
    drain(here)

    assert shop.effects(here) == []


def test_a_request_waits_for_a_job_that_runs_elsewhere(apps, gate):
    here, there = apps
    path = begin(here, "wait_at", "gate")
    gate.wait_for_job()
    answer = shop.Answer(
        there.get, path, headers={"Prefer": f"wait={PATIENCE}"}
    )
    shop.wait_until(lambda: waiting(scheduler_of(there).waiters))
    answer.join(0.2)
    assert not answer.has_come
    gate.open()

    assert answer.get().json["result"] == "gate"
    assert answer.seconds < PATIENCE / 2


def test_many_that_wait_make_one_look_at_the_storage(make_app, gate):
    here = make_app({"/start": start})
    there = make_app(
        {"/start": start},
        zodb_async__max_waiting=10,
        zodb_async__max_wait=PATIENCE,
    )
    there.get("/jobs/unknown", status=404)
    paths = [begin(here, "wait_at", "gate") for _ in range(10)]
    db = databases_of(there.app.registry)[""]
    answers = [
        shop.Answer(there.get, path, headers={"Prefer": f"wait={PATIENCE}"})
        for path in paths
    ]
    watches = scheduler_of(there).waiters
    shop.wait_until(lambda: len(waiting(watches)) == 10)
    most = 0
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        most = max(most, shop.count_open(db))
    gate.open()

    assert most <= 1
    assert all(answer.get().json["done"] for answer in answers)


def test_a_job_that_failed_elsewhere_is_tried_again_here(apps):
    here, there = apps
    shop.luck[:] = [False, True]
    path = begin(here, "try_luck", "value")
    drain(here)
    assert there.get(path).json["state"] == "failed"
    there.post(f"{path}/retry", status=202)
    drain(there)

    assert there.get(path).json["result"] == "value"
    assert here.get(path).json["attempt"] == 2
    scheduler = scheduler_of(there)
    view = wait_for(there, path.rpartition("/")[2])
    assert view.version == make_version(1, done=True)
    assert scheduler.process.location.read(
        lambda store: store.find(view.sid).runner, None
    ) == (scheduler.process.incarnation)


@pytest.mark.parametrize("waits", [False, True])
def test_who_asks_two_processes_in_turn_keeps_the_pace_and_goes_not_back(
    apps, gate, waits
):
    path = begin(apps[0], "report_slowly", "gate")
    gate.wait_for_job()
    etag, seen, asked = None, [], 0
    begin_of_questions = time.monotonic()
    while len(seen) < 2 or time.monotonic() < begin_of_questions + 4:
        asked += 1
        headers = {"If-None-Match": etag} if etag else {}
        if waits:
            headers["Prefer"] = "wait=2"
        answer = apps[asked % 2].get(path, headers=headers)
        if answer.status_code == 200:
            etag = answer.headers["ETag"]
            seen.append(answer.json)
        pause = float(answer.headers.get("Retry-After", 0))
        time.sleep(max(0.2, pause))  # as jobs.js does
        assert time.monotonic() < begin_of_questions + PATIENCE
        if seen[-1]["done"]:
            break
    seconds = time.monotonic() - begin_of_questions
    gate.open()
    order = [
        (job["state"] != "pending", (job["progress"] or {"done": 0})["done"])
        for job in seen
    ]

    assert asked <= seconds / 0.4
    assert order == sorted(order)


def report_slowly(gate):
    """Tell of progress some times a second, until the test is over."""
    shop.gates[gate].entered.set()
    done = 0
    while not shop.gates[gate].opened.wait(0.1):
        done += 1
        current_job().progress(done)
