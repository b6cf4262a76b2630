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
        self.settings = {
            **SETTINGS,
            "zodbconn.uri": storage.uri,
            **{name.replace("__", "."): settings[name] for name in settings},
        }
        self.servers = [
            Server(json.dumps(self.settings), folder / f"server{number}.log")
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
            if found is None or any(found.values()):
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
        """Count the jobs that were taken over, as the processes logged it."""
        return sum(
            int(number)
            for process in self.processes()
            for number in re.findall(
                r"Took over (\d+) jobs", process.log_text()
            )
        )

    def processes(self):
        """Give the processes that know of jobs."""
        return self.servers


@dataclass
class Report:
    """What the database has of each committed job, by number."""

    jobs: dict
    shared: int

    def those(self, condition):
        """Give the numbers of the jobs for which it is true."""
        return [name for name, job in self.jobs.items() if condition(job)]

    @property
    def lost(self):
        return self.those(
            lambda job: not job["effects"] and job["state"] != "cancelled"
        )

    @property
    def duplicate(self):
        return self.those(
            lambda job: job["effects"] > (job["state"] != "cancelled")
        )

    @property
    def cancelled(self):
        return self.those(lambda job: job["state"] == "cancelled")

    @property
    def not_succeeded(self):
        """Jobs that neither succeeded nor were cancelled."""
        return self.those(
            lambda job: job["state"] not in {"succeeded", "cancelled"}
        )

    def figures(self):
        """Count the jobs, and what happened to them."""
        return {
            "jobs": len(self.jobs),
            "delayed": len(self.those(lambda job: job["is_delayed"])),
            "retried": len(self.those(lambda job: (job["attempt"] or 0) > 1)),
            "timed_out": len(
                self.those(
                    lambda job: (
                        job["is_limited"]
                        and (job["attempt"] or 0) > job["failures"]
                    )
                )
            ),
            "cancelled": len(self.cancelled),
            "duplicates": len(self.duplicate),
            "losses": len(self.lost),
        }

    def require_each_once(self, answered=(), cancels=None):
        """See that each committed job took effect once, and succeeded.

        But not those that somebody has cancelled in time. *cancels* are the
        answers to those who tried, by number, ``None`` where none came.
        """
        cancels = cancels or {}
        assert sorted(set(answered) - set(self.jobs)) == []
        # a cancel that finds the job ended forgets it
        forgotten = set(self.not_succeeded)
        assert {
            name: self.jobs[name]
            for name in forgotten
            if self.jobs[name]["state"] is not None
            or cancels.get(name, 0) not in {204, None}
        } == {}
        told = {name for name in cancels if cancels[name] == 202}
        gone = {name for name in cancels if cancels[name] == 204}
        assert told <= set(self.cancelled) <= set(cancels)
        assert gone <= forgotten
        assert not self.lost
        assert not self.duplicate
        assert self.shared == len(self.jobs) - len(self.cancelled)
        # no attempt that was to fail was left out, unless the watchdog came
        # after the commit of one that was to be late
        assert not self.those(
            lambda job: (
                job["state"] == "succeeded"
                and job["attempt"] + job["is_limited"] <= job["failures"]
            )
        )
