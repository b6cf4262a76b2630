"""Requests that schedule very many jobs hinder no others, nor each other."""

import os
import threading
import time

import pytest
import shop
from pyramid.response import Response
from pyramid_retry import IBeforeRetry
from shop import scheduler_of
from webtest import TestApp

from pyramid_zodb_async.scheduler.maintenance import bulk_claims
from pyramid_zodb_async.scheduler.process import bulk_intake

#: How many jobs a large request schedules; 10 000 if somebody says so.
LARGE = int(os.environ.get("LARGE", "400"))

#: For how many seconds small requests go on after the large ones.
SECONDS = LARGE / 400

#: How many threads make small requests, and how often each does in a second.
CLIENTS, RATE = 10, 4

PLACES = [("zodb", storage) for storage in ("file", "zeo", "postgres")]


def start(request):
    """Schedule some jobs that do nothing."""
    count = int(request.params["count"])
    if count == 1:
        return request.accepted(request.schedule(shop.nothing))
    sids = request.schedule.many(shop.nothing, [()] * count)
    return Response(sids[-1])


class Clients:
    """Threads that make small requests, each of one job."""

    def __init__(self, apps):
        self.statuses, self.over = [], threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=[TestApp(app.app)])
            for _ in range(CLIENTS // len(apps))
            for app in apps
        ]
        for thread in self._threads:
            thread.start()

    def _ask(self, app):
        following = time.monotonic()
        while not self.over.wait(following - time.monotonic()):
            following += 1 / RATE
            answer = app.post("/start", {"count": 1}, expect_errors=True)
            self.statuses.append(answer.status_int)

    def stop(self):
        self.over.set()
        for thread in self._threads:
            thread.join(shop.PATIENCE)


@pytest.mark.parametrize(("kept_in", "storage"), PLACES)
def test_no_conflict_reaches_a_request_beside_very_large_ones(
    make_app, storage, monkeypatch, say
):
    if LARGE < 1000:
        monkeypatch.setattr(bulk_intake, "WINDOW", 50)
        monkeypatch.setattr(bulk_claims, "ENOUGH", 50)
    retries = []

    def configure(config):
        config.add_subscriber(retries.append, IBeforeRetry)

    apps = [
        make_app({"/start": start}, configure=configure)
        for _ in range(1 if storage == "file" else 2)
    ]
    for app in apps:
        app.get("/jobs/unknown", status=404)  # it serves
    clients = Clients(apps)
    try:
        shop.wait_until(lambda: len(clients.statuses) > CLIENTS)
        began = time.monotonic()
        for _ in range(2):
            apps[0].post("/start", {"count": LARGE}, status=200)
        large = time.monotonic() - began
        clients.over.wait(SECONDS)
    finally:
        clients.stop()
    seconds = time.monotonic() - began
    left = len(scheduler_of(apps[0]).unfinished())
    say(
        f"{storage}: two requests of {LARGE} in {large:.1f} s, beside"
        f" {len(clients.statuses)} small ones in {seconds:.0f} s:"
        f" {len(retries)} retries, {left} jobs left"
    )

    assert set(clients.statuses) == {202}
