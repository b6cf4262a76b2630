"""Servers, and workers of Celery that run the jobs."""

import contextlib
import json
import os
import random
import signal
import sys
import uuid
from pathlib import Path

from cluster import Cluster
from kombu import Connection
from processes import HERE, Process, wait_until

from pyramid_zodb_async.engine.celery import PRIORITIES
from pyramid_zodb_async.jobs.options import DEFAULT_QUEUE

#: The pools of the workers, one each.
POOLS = ("prefork", "threads")

#: How many jobs may be unfinished before there are enough.
ENOUGH = 30

SETTINGS = {
    "zodb_async__engine": "celery",
    # each kill of a worker may count as an attempt of a job
    "zodb_async__attempts": "30",
}


class Worker(Process):
    """A worker of Celery, with its children.

    Args:
        ini: the file of settings.
        pool: how it runs jobs.
        log: the file for its output.
    """

    def __init__(self, ini, pool, log):
        self.pool = pool
        self._begin = 0
        super().__init__(
            [
                *(sys.executable, str(HERE / "worker.py")),
                *("-A", "pyramid_zodb_async.engine.celery:app", "worker"),
                *("--loglevel", "INFO", "-P", pool, "-c", "2"),
                *("-n", f"{uuid.uuid4().hex}@%h"),
            ],
            log,
            PYRAMID_INI=str(ini),
        )

    def start(self):
        if self.log.exists():
            self._begin = self.log.stat().st_size
        super().start()

    def is_ready(self):
        with self.log.open("rb") as log:
            log.seek(self._begin)
            return b" ready." in log.read()

    def processes(self):
        """Give the processes that run jobs, as far as they have begun."""
        for path in self.log.parent.glob("*.has"):
            parent = parent_of(path.stem)
            if parent is not None and self.pid in {parent, int(path.stem)}:
                yield path

    def has_nothing(self):
        """Tell whether each of its processes is done with all jobs."""
        return not any(
            any(json.loads(path.read_text()).values())
            for path in self.processes()
        )

    def any_child(self):
        """Give one of the processes that run jobs, not that of the worker."""
        children = [
            int(path.stem)
            for path in self.processes()
            if int(path.stem) != self.pid
        ]
        return random.choice(children) if children else None

    def end(self):
        """Have it end in order; give its exit code."""
        if self.has_ended():  # by itself, just now
            self.kill()
            self.start()
            wait_until(self.is_ready, "a worker is ready", 60)
        os.kill(self.pid, signal.SIGTERM)
        wait_until(self.has_ended, "a worker ends", 60)
        return self.exit_code


def parent_of(pid):
    """Give the parent of a process, or ``None`` if that has ended."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, parent = told.rpartition(")")[2].split()[:2]
    return int(parent) if state not in "ZX" else None


class CeleryCluster(Cluster):
    """Servers on a storage, a broker, and workers.

    Args:
        storage: one of :mod:`databases`.
        broker: a private one.
        folder: for logs.
        settings: of the application.
    """

    def __init__(self, storage, broker, folder, **settings):
        self.broker = broker
        #: How many workers have ended that nobody killed.
        self.deaths = 0
        super().__init__(
            storage,
            folder,
            **{**SETTINGS, **settings},
            zodb_async__celery_broker=broker.url,
        )
        ini = folder / "worker.ini"
        lines = [f"{name} = {self.settings[name]}" for name in self.settings]
        lines = ["[app:main]", "use = call:worker:make_noting_app", *lines]
        ini.write_text("\n".join(lines))
        self.workers = [
            Worker(ini, pool, folder / f"worker-{pool}.log") for pool in POOLS
        ]

    def start(self):
        super().start()
        for worker in self.workers:
            worker.start()
        self.wait_until_ready()

    def stop(self):
        for worker in self.workers:
            worker.kill()
        super().stop()

    def restart_ended(self):
        super().restart_ended()
        self._restart_workers()

    def watch(self):
        """Start workers again that have ended by themselves, and count."""
        self.deaths += self._restart_workers()

    def _restart_workers(self):
        ended = [worker for worker in self.workers if worker.has_ended()]
        for worker in ended:
            worker.kill()
            worker.start()
        return len(ended)

    def wait_until_ready(self):
        super().wait_until_ready()
        wait_until(self._work, "the workers are ready", 60)

    def _work(self):
        self.watch()
        return all(worker.is_ready() for worker in self.workers)

    def kill_child(self):
        """Kill a process that runs jobs, and has a worker to notice it."""
        child = wait_until(self._any_child, "a worker has children", 60)
        os.kill(child, signal.SIGKILL)

    def _any_child(self):
        self.watch()
        return self.workers[0].any_child()

    def has_enough(self):
        """Tell whether so many jobs wait that more would not end in time.

        A worker has nothing else to do while it waits to repeat a job that
        met a conflict, and all jobs count in one place.
        """
        found = self.answer(random.choice(self.servers), "/show_unfinished")
        return found is not None and found["all"] > ENOUGH

    def is_drained(self):
        self.watch()
        return (
            super().is_drained()
            and all(worker.has_nothing() for worker in self.workers)
            and not self.messages()
        )

    def messages(self):
        """Count the messages that wait in the broker."""
        options = {}
        if self.broker.url.startswith("redis"):
            options["priority_steps"] = list(range(PRIORITIES))
        with (
            Connection(self.broker.url, transport_options=options) as broker,
            # in Redis there is no queue that is empty
            contextlib.suppress(*broker.channel_errors),
        ):
            found = broker.channel().queue_declare(DEFAULT_QUEUE, passive=True)
            return found.message_count
        return 0

    def processes(self):
        return [*self.servers, *self.workers]
