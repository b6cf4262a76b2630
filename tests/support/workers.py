"""Applications whose jobs Celery runs, and workers of Celery."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid

import shop
from folders import PYTHONPATH
from pyramid.paster import get_app
from webtest import TestApp

INI = """
[app:main]
use = call:celery_shop:main
zodbconn.uri = {uri}
retry.attempts = 10
zodb_async.engine = celery
zodb_async.celery_broker = {broker}
zodb_async.lease = {lease}
{more}
"""


class Site:
    """An application, of which there may be several processes.

    Args:
        folder: for its files.
        uri: that of a database.
        broker: that of a broker.
        lease: that of its settings.
        settings: further ones.
    """

    def __init__(self, folder, uri, broker, lease=1, **settings):
        self.folder = folder
        self.broker = broker
        self.ini = folder / "site.ini"
        more = "\n".join(
            f"zodb_async.{name} = {settings[name]}" for name in settings
        )
        self.ini.write_text(
            INI.format(uri=uri, broker=broker, lease=lease, more=more)
        )
        self._apps = []
        self._workers = []
        self.app = self.serve()

    def serve(self):
        """Give a process that serves, as far as the database can tell."""
        app = TestApp(get_app(str(self.ini)))
        self._apps.append(app)
        app.get("/")  # so it has begun to look after jobs
        return app

    def work(self, *arguments, pool="solo", wait=True, broker=None):
        """Start a worker; by default go on when it gets messages.

        It may have an address of its own for the broker.
        """
        number = len(self._workers)
        ini = self.folder / f"worker{number}.ini"
        told = self.ini.read_text()
        ini.write_text(told.replace(self.broker, broker or self.broker))
        worker = WorkerProcess(
            self.folder / f"worker{number}.log",
            {"PYRAMID_INI": str(ini), "PYTHONPATH": PYTHONPATH},
            ["-P", pool, *arguments],
        )
        self._workers.append(worker)
        if wait:
            worker.wait_until_ready()
        return worker

    def begin(self, function, *arguments, app=None, **options):
        """Schedule a job; give its path."""
        params = [("function", function)]
        params += [("argument", str(argument)) for argument in arguments]
        params += [(name, str(options[name])) for name in options]
        answer = (app or self.app).post("/start", params)
        return f"/jobs/{answer.json['sid']}"

    def end_of(self, path, timeout=90):
        """Wait for the end of a job; give what is told of it."""
        shop.wait_until(lambda: self.app.get(path).json["done"], timeout)
        return self.app.get(path).json

    def counts(self):
        return self.app.get("/").json

    def stop(self):
        """End all processes, and keep what they have counted."""
        if self._apps:
            self.last_counts = self.counts()
        for worker in self._workers:
            worker.kill()
        for app in self._apps:
            shop.shut_down(app.app.registry)
        self._apps.clear()


class WorkerProcess:
    """A worker of Celery, with its children."""

    def __init__(self, log, environment, arguments):
        self.log = log
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery"),
                    *("-A", "pyramid_zodb_async.engine.celery:app"),
                    *(
                        "worker",
                        "--loglevel",
                        "INFO",
                        "-n",
                        f"{uuid.uuid4().hex}@%h",
                    ),
                    *("--without-gossip", "--without-mingle"),
                    *("--without-heartbeat", *arguments),
                ],
                env={**os.environ, **environment},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + 90
        while " ready." not in self.log.read_text():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)  # paces the loop; the condition decides

    def signal(self, number):
        """Send a signal to the worker, not to its children."""
        self._process.send_signal(number)

    def wait(self):
        """Wait for its end; give its exit code."""
        return self._process.wait(90)

    def kill(self):
        """End it and its children at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
