"""Servers on one database, and what came of their jobs in the end."""

import contextlib
import json
import re
from dataclasses import dataclass

from processes import UNREACHABLE, Server, wait_until

SETTINGS = {
    "zodb_async.autostart": "true",
    "zodb_async.lease": "1",
    "zodb_async.workers": "2",
    "retry.attempts": "10",
}


class Cluster:
    """As many servers on a storage as it can have.

    Args:
        storage: one of :mod:`databases`.
        folder: for logs.
        settings: of the application.
    """

    def __init__(self, storage, folder, **settings):
        self.storage = storage
        settings = {
            **SETTINGS,
            "zodbconn.uri": storage.uri,
            **{name.replace("__", "."): settings[name] for name in settings},
        }
        self.servers = [
            Server(json.dumps(settings), folder / f"server{number}.log")
            for number in range(storage.processes)
        ]

    def start(self):
        """Start all servers, and make what they need in the database."""
        for server in self.servers:
            server.start()
            # two at once cannot make a new database: in the ZODB one meets a
            # conflict over the root, in RelStorage an error over the tables
            wait_until(server.is_ready, "a server is ready")
        status, _ = self.servers[0].ask("/prepare", "POST")
        assert status == 200

    def stop(self):
        for server in self.servers:
            server.kill()

    def restart_ended(self):
        for server in self.servers:
            if server.has_ended():
                server.kill()
                server.start()

    def wait_until_ready(self):
        for server in self.servers:
            wait_until(server.is_ready, "a server is ready")

    def drain(self, deadline=60):
        """Wait until no job is unfinished."""
        wait_until(self.is_drained, "all jobs have ended", deadline)

    def is_drained(self):
        for server in self.servers:
            found = self.answer(server, "/show_unfinished")
            if found is None or found["all"] or found["held"]:
                return False
        return True

    def answer(self, server, path):
        """Give what a server answers, unless it cannot now."""
        with contextlib.suppress(*UNREACHABLE):
            status, body = server.ask(path)
            if status == 200:
                return json.loads(body)
        return None

    def report(self):
        """Tell what is in the database, as a new process sees it."""
        server = self.servers[0]
        server.kill()
        server.start()
        wait_until(server.is_ready, "a server is ready")
        found = wait_until(
            lambda: self.answer(server, "/show_report"), "a report"
        )
        return Report(**found)

    def taken_over(self):
        """Count the jobs that were taken over, as the servers logged it."""
        return sum(
            int(number)
            for server in self.servers
            for number in re.findall(
                r"Took over (\d+) jobs", server.log_text()
            )
        )


@dataclass
class Report:
    """What the database has of each committed job, by number."""

    jobs: dict
    shared: int

    @property
    def lost(self):
        return [name for name, job in self.jobs.items() if not job["effects"]]

    @property
    def duplicate(self):
        return [name for name in self.jobs if self.jobs[name]["effects"] > 1]

    @property
    def not_succeeded(self):
        return {
            name: job
            for name, job in self.jobs.items()
            if job["state"] != "succeeded"
        }

    def require_each_once(self, answered=()):
        """See that each committed job took effect once, and succeeded."""
        assert sorted(set(answered) - set(self.jobs)) == []
        assert not self.not_succeeded
        assert not self.lost
        assert not self.duplicate
        assert self.shared == len(self.jobs)
